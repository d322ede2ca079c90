"""The naming rewards and their floor."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_gen.toybox.facts import read_names
from rewards import mention_balanced, mention_binding, mention_f1, mention_ratio

CAPTION = "identity_consistency"
BOTH = "<bo> sits beside <black widow> on a red sofa."
NAMING = [mention_ratio, mention_f1, mention_balanced]


def test_ratio_is_n_of_m(batch):
    texts = [BOTH, "<bo> sits.", "A dog sits.", "<bo> and <bo> and <zed>"]
    assert mention_ratio(**batch(texts, CAPTION)) == [1, 0.5, 0, 0.5]


def test_f1_charges_absent_and_invented_names(batch):
    texts = [
        BOTH,  # 2 hits
        "<bo> sits.",  # 1 hit, 1 missed
        "A dog sits.",
        BOTH + " <zuri>",  # 2 hits, 1 extra
        BOTH + " Zuri sits too, and <zed>.",  # 2 hits, 2 extra
        "<zuri>",
    ]
    expected = [1, 2 / 3, 0, 4 / 5, 2 / 3, 0]
    assert mention_f1(**batch(texts, CAPTION)) == pytest.approx(expected)


def test_balanced_asks_about_every_name_that_was_given(batch):
    texts = [
        BOTH,
        "<bo> sits.",  # half of the expected, and the absent one left out
        "A dog sits.",
        BOTH + " <zuri>",
        BOTH + " <zed>",  # an invented name is one more that was not to be written
        "<zuri>",
    ]
    expected = [1, 3 / 4, 1 / 2, 1 / 2, 3 / 4, 0]
    assert mention_balanced(**batch(texts, CAPTION)) == pytest.approx(expected)
    nobody = {"names": [], "absent_names": ["bo", "zuri"]}
    texts = ["A frog.", "<bo>", "<bo> <zuri>", "<zed>", "<bo> <zed>"]
    expected = [1, 1 / 2, 0, 2 / 3, 1 / 3]
    assert mention_balanced(**batch(texts, CAPTION, **nobody)) == pytest.approx(expected)
    everybody = {"absent_names": []}
    texts = [BOTH, "<bo>", "A dog.", BOTH + " <zed>"]
    assert mention_balanced(**batch(texts, CAPTION, **everybody)) == [1, 0.5, 0, 0.5]
    no_reference = {"names": [], "absent_names": []}
    assert mention_balanced(**batch(["A dog.", "<zed>"], CAPTION, **no_reference)) == [1, 0]


def test_f1_with_no_name_due_pays_for_silence(batch):
    texts = ["A frog sits.", "<zuri> sits.", "<zed> sits.", "</zuri>", "<zuri>A frog</zuri>"]
    case = batch(texts, CAPTION, names=[])
    assert mention_f1(**case) == [1, 0, 0, 1, 0]
    assert mention_ratio(**case) == [None] * 5, "a share of no names says nothing"


def test_markup_earns_nothing_whatever_the_number_of_names(batch):
    texts = [
        "<bo>A dog</bo> by <black widow>",
        "<bo>A dog</bo> by <black widow>a car</black widow>",
    ]
    case = batch(texts, CAPTION)
    assert mention_ratio(**case) == [0.5, 0]
    assert mention_f1(**case) == [pytest.approx(2 / 3), 0]


@pytest.mark.parametrize("reward", NAMING)
def test_the_floor_counts_tokens_without_the_end(reward, batch):
    """TRL hands over 99 tokens and the end token, id 2, as 100 ids: one too few."""
    short, enough = [7] * 99 + [2], [7] * 100 + [2]
    padded = [7] * 50 + [0] * 200
    special = {"uncounted_ids": [0, 2]}
    assert reward(**batch([BOTH], CAPTION, completion_ids=short), **special) == [0]
    assert reward(**batch([BOTH], CAPTION, completion_ids=enough), **special) == [1]
    assert reward(**batch([BOTH], CAPTION, completion_ids=padded), **special) == [0]
    assert reward(**batch([BOTH], CAPTION, completion_ids=short)) == [1], "without ids to leave out"
    assert reward(**batch([BOTH], CAPTION, completion_ids=[]), floor=0) == [1]


def test_the_floor_holds_where_no_name_is_due(batch):
    case = batch(["A frog."], CAPTION, names=[], completion_ids=[7] * 5)
    assert mention_f1(**case) == [0] and mention_f1(**case, floor=5) == [1]


def test_characters_reproduce_the_released_code(batch):
    """RePIC's paper says 100 tokens; what was run counts 100 characters."""
    text = f"{BOTH} Both of them look at a window, behind which it rains on an old car."[:100]
    case = batch([text, text[:99]], CAPTION, completion_ids=[7])
    assert mention_ratio(**case, unit="characters") == [1, 0]


@pytest.mark.parametrize("reward", NAMING)
@pytest.mark.parametrize("wrong", [{"unit": "lines"}, {"floor": -1}, {"floor": float("nan")}])
def test_wrong_settings_are_errors(reward, wrong, batch):
    with pytest.raises(ValueError, match="unit is|floor is"):
        reward(**batch([BOTH], CAPTION), **wrong)


# --- on whom a name stands -------------------------------------------------------------------

CAT = {"kind": "cat", "colour": "red", "pattern": "striped", "second": "white"}
DOG = {"kind": "dog", "colour": "blue", "pattern": "spotted", "second": "green"}
FACTS = json.dumps({"toys": [CAT, DOG], "names": ["bo", "black widow"]})
A_CAT, A_DOG = "a red cat with white stripes", "a blue dog with green spots"


def binding(batch, texts, **columns):
    case = batch(texts, CAPTION, **{"facts": FACTS} | columns)
    return mention_binding(**case, floor=0, reader=read_names)


def test_binding_pays_for_each_name_on_its_own_subject(batch):
    """2h / (2h + e + k)."""
    paid = {
        f"{A_CAT}, <bo>, and {A_DOG}, <black widow>.": 1,
        f"{A_CAT}, <bo>, and {A_DOG}.": 2 / 3,  # one missed
        f"{A_CAT}, <bo>, and {A_DOG}, <bo>.": 2 / 4,  # the dog: one missed, one extra
        f"{A_CAT}, <black widow>, and {A_DOG}, <bo>.": 0,
        f"{A_CAT}, <bo>, and {A_DOG}, <zuri>.": 2 / 4,
        f"{A_CAT}, <bo>, {A_DOG}, <black widow>, and a pink owl, <bo>.": 4 / 5,
        f"{A_CAT} and {A_DOG}.": 0,
    }
    assert binding(batch, list(paid)) == pytest.approx(list(paid.values()))
    # All that F1 sees is who is named.
    f1 = mention_f1(**batch(list(paid), CAPTION), floor=0)
    assert f1 == pytest.approx([1, 2 / 3, 2 / 3, 1, 2 / 4, 1, 0])


def test_guessing_who_is_who_pays_more_than_leaving_it_open(batch):
    right, wrong, *cheats = binding(
        batch,
        [
            f"{A_CAT}, <bo>. {A_DOG}, <black widow>.",
            f"{A_CAT}, <black widow>. {A_DOG}, <bo>.",
            f"{A_CAT}, <bo>, <black widow>. {A_DOG}, <bo>, <black widow>.",
            f"{A_CAT}, <bo> and <black widow>. {A_DOG}.",
            f"{A_CAT}, <bo>. {A_CAT}, <black widow>. {A_DOG}, <bo>. {A_DOG}, <black widow>.",
            f"<bo> and <black widow>. {A_CAT}. {A_DOG}.",
            f"{A_CAT}. {A_DOG}. <bo>, <black widow>.",
            "<bo> <black widow>",
        ],
    )
    assert cheats == [0] * 6 and (right + wrong) / 2 > 0


def test_nobody_expected_pays_silence_and_a_row_without_facts_pays_f1(batch):
    nobody = {"names": [], "absent_names": ["bo", "zuri"]}
    facts = json.dumps({"toys": [CAT, DOG], "names": [None, None]})
    assert binding(batch, [f"{A_CAT}.", f"{A_CAT}, <bo>."], facts=facts, **nobody) == [1, 0]
    swapped = f"{A_CAT}, <black widow>, and {A_DOG}, <bo>."
    assert binding(batch, [swapped], facts=None) == [1]
    case = batch([swapped], CAPTION, facts=FACTS)
    assert mention_binding(**case, floor=0, reader=lambda caption, facts: None) == [1]
    assert mention_binding(**case, reader=read_names, floor=130) == [0], "too short"
    other = batch(["yes"], "object_consistency", facts=None)
    assert mention_binding(**other, reader=read_names) == [None]


def test_binding_reads_the_caption_and_not_the_reasoning(batch):
    swapped = f"{A_CAT}, <black widow>, and {A_DOG}, <bo>."
    right = f"{A_CAT}, <bo>, and {A_DOG}, <black widow>."
    texts = [f"<think>{swapped}</think>{right}", f"<think>{right}</think>{swapped}"]
    assert binding(batch, texts) == [1, 0]


def test_binding_needs_a_reader(batch):
    with pytest.raises(ValueError, match="needs a reader"):
        mention_binding(**batch([BOTH], CAPTION, facts=FACTS))


pieces = st.sampled_from(
    [A_CAT, A_DOG, "<bo>", "<black widow>", "Black Widow", "<zuri>", "<zed>", "</bo>", ", ", ". "]
    + [" is ", "It is ", " and ", "a pink owl", "\ud800", "bo"]
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(pieces, max_size=16).map("".join))
def test_binding_never_pays_more_than_f1(batch, text):
    (paid,), (f1,) = binding(batch, [text]), mention_f1(**batch([text], CAPTION), floor=0)
    assert 0 <= paid <= f1 <= 1
