"""The two naming rewards and their floor."""

import pytest

from rewards import mention_balanced, mention_f1, mention_ratio

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
