"""R2P on the toybox: the shipped base writes fingerprints and reasons, the shipped CLIP retrieves.

Where a test is about one stage's rule, what the policy says there is given, as no policy can be
relied on to disagree with itself.
"""

import json
import random

import pytest
import torch
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import draw_toys, toybox_database
from concepts.methods.learned import LearnedStore, learned_folder
from concepts.methods.protocol import Query, Reference
from concepts.methods.r2p import R2P, method
from concepts.methods.r2p.method import R2PSettings
from data_gen.files.errors import InputError
from data_gen.rows import ICT
from data_gen.toybox.scene import compose
from rl.policy.loading import load_policy
from tests.concepts.tiny_encoders import save_dinov2

TOYS = draw_toys(4, 1)
NAMES = list(TOYS)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return load_policy("toybox_base", dtype="float32")


@pytest.fixture(scope="module")
def learned(policy, tmp_path_factory):
    """A database of four toys with all that R2P learned of them."""
    database = toybox_database(tmp_path_factory.mktemp("toys") / "toys", 4, 1)
    r2p = make(lambda: policy, database)
    return database, r2p, r2p.learn(list(database.concepts().values()))


@pytest.fixture
def database(learned, tmp_path):
    """A copy of its database, to edit, of which nothing has been learned."""
    made = Database(tmp_path / "database.json")
    first = learned[0]
    made.add_all(
        Concept(c.name, tuple(str(first.image_path(i)) for i in c.images), c.info, c.category)
        for c in first.concepts().values()
    )
    return made


def must_not_load():
    raise AssertionError("loaded")


def make(load, database, keep=True, **settings):
    given = {"encoder": "toybox_clip", "prompts": "toybox", "max_new_tokens": 120} | settings
    store = LearnedStore(learned_folder(database.path), "r2p", "policy", "x", root=database.root)
    return R2P(
        load,
        write,
        settings=R2PSettings(**given),
        store=store if keep else None,
        database=database,
    )


def write(query, references):
    parts = [{"type": "image", "text": None}] * (len(references) + (query.image is not None))
    said = " ".join(f"<{r.name}>" for r in references)
    return [{"role": "user", "content": [*parts, {"type": "text", "text": said + query.text}]}]


def pictures():
    rng = random.Random(2)
    return [compose(rng, [toy], 96).image for toy in TOYS.values()]


def says(monkeypatch, reply=None, p=None):
    """The policy's replies and probabilities from here on, and the rows that it was asked."""
    asked = []

    def generate(model, processor, rows, **_):
        asked.extend(rows)
        return [(reply(row) if callable(reply) else reply, 1) for row in rows]

    def yes_probabilities(model, processor, rows, **_):
        asked.extend(rows)
        return [p(row) for row in rows]

    monkeypatch.setattr(method, "generate", generate)
    monkeypatch.setattr(method, "yes_probabilities", yes_probabilities)
    return asked


def spoken(row):
    return "".join(p["text"] or "" for m in row["prompt"] for p in m["content"])


def reasons(answer, **shared):
    return json.dumps({**shared, "Reasoning": "", "Answer": answer})


# ---- learning ----


def test_the_base_writes_fingerprints_that_are_kept_beside_the_database(learned, policy, capsys):
    database, r2p, costs = learned
    assert [cost.name for cost in costs] == NAMES and not any(cost.reused for cost in costs)
    assert r2p.unreadable.counts == {}
    for name, toy in TOYS.items():
        said = r2p.fingerprint(name)
        assert said.problem is None and said.fingerprint.category == toy.kind
        assert said.fingerprint.general == f"{toy.colour} {toy.kind}"
        assert said.images.shape == (1, 128) and said.text is not None
    again = make(must_not_load, database)
    kept = again.learn(list(database.concepts().values()))
    assert [cost.reused for cost in kept] == [True] * 4
    assert [cost.n_bytes for cost in kept] == [cost.n_bytes for cost in costs] and kept[0].n_bytes
    for name in NAMES:
        one, other = again.fingerprint(name), r2p.fingerprint(name)
        assert one.fingerprint == other.fingerprint and (one.images == other.images).all()
        assert (one.text == other.text).all()
    assert "learned again" not in capsys.readouterr().out


def test_a_fingerprint_that_is_none_is_named_counted_and_the_owners_words(
    policy, database, monkeypatch, capsys
):
    asked = says(monkeypatch, lambda row: "I see a toy." if NAMES[0] in spoken(row) else "{")
    r2p = make(lambda: policy, database, keep=False)
    r2p.learn(list(database.concepts().values()))
    assert len(asked) == 4
    assert r2p.unreadable.counts == {
        "fingerprint: broken JSON": 3,
        "fingerprint: no JSON object": 1,
    }
    known = r2p.fingerprint(NAMES[0])
    toy = TOYS[NAMES[0]]
    assert known.problem == "no JSON object" and toy.colour in known.fingerprint.general
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and f"{NAMES[0]!r} cannot be read (no JSON object)" in "".join(said)


def test_what_a_policy_writes_holds_no_place_of_an_image(policy, database, monkeypatch):
    nested = "<|image_<|image_pad|>pad|>"
    said = {"general": f"{nested} is red", "category": "dog", "distinct features": [nested, "red"]}
    says(monkeypatch, json.dumps(said))
    r2p = make(lambda: policy, database, keep=False)
    r2p.learn(list(database.concepts().values())[:1])
    shown = r2p._known[NAMES[0]].fingerprint
    assert "image_pad" not in shown.general + "".join(shown.features)


def test_a_concept_whose_images_do_not_open_is_named_and_the_others_are_found(
    learned, policy, database
):
    torn = database.image_path(database.concepts()[NAMES[0]].images[0])
    torn.write_bytes(b"\x89PNG torn")
    r2p = make(lambda: policy, database, stages=["text"])
    with pytest.raises(InputError, match=f"no photo of {NAMES[0]!r} can be used"):
        r2p.learn([database.concepts()[NAMES[0]]])
    found = r2p.identify(pictures())
    assert [one.candidate.name for one in found[1:]] == NAMES[1:]
    assert r2p.unreadable.counts == {"concept whose images do not open": 1}


def test_a_concept_that_can_no_longer_be_learned_is_not_found(policy, database):
    r2p = make(lambda: policy, database, stages=["text"])
    assert r2p.identify(pictures())[0].candidate.name == NAMES[0]
    photo = database.root / "new.png"
    Image.new("RGB", (64, 64)).save(photo)
    database.edit(NAMES[0], images=("new.png",))
    photo.write_bytes(b"\x89PNG torn")
    found = r2p.identify(pictures())
    assert NAMES[0] not in {candidate.name for one in found for candidate in one.candidates}


def test_concepts_come_go_and_are_renamed_while_it_answers(policy, database):
    r2p = make(lambda: policy, database, stages=["text"])
    images = pictures()
    assert [one.candidate.name for one in r2p.identify(images)] == NAMES
    gone = database.concepts()[NAMES[0]]
    database.remove(NAMES[0])
    database.rename(NAMES[1], "Zoe")
    assert [one.candidate.name for one in r2p.identify(images)][1:] == ["Zoe", *NAMES[2:]]
    assert NAMES[0] not in [c.name for one in r2p.identify(images) for c in one.candidates]
    database.add(gone)
    assert r2p.identify(images)[0].candidate.name == NAMES[0]
    r2p.forget(NAMES)
    assert set(r2p.store.names()) == {"Zoe"} and set(r2p._known) == {"Zoe"}


# ---- the stages ----


def test_retrieval_finds_the_toys_with_and_without_texts(learned):
    database, *_ = learned
    for stages, normalise in (([], False), (["text"], False), (["text"], True)):
        r2p = make(must_not_load, database, stages=stages, normalise=normalise)
        found = r2p.identify(pictures())
        assert [one.candidate.name for one in found] == NAMES
        assert dict(r2p.decided) == {"retrieval": 4}
        for one in found:
            best = one.candidates[0]
            assert len(one.candidates) == 3 and (best.textual is None) == (stages == [])
            if stages and not normalise:
                assert best.score == pytest.approx((best.visual + best.textual) / 2)
            if not stages:
                assert best.score == best.visual


def test_a_concept_without_words_is_as_near_by_them_as_the_others_on_average(
    learned, policy, database, monkeypatch
):
    bare = [Concept(c.name, c.images) for c in database.concepts().values()][:1]
    database.remove(NAMES[0])
    database.add_all(bare)
    said = {name: learned[1].fingerprint(name).fingerprint for name in NAMES[1:]}

    def fingerprint(row):
        name = next(n for n in NAMES if f"<{n}>" in spoken(row))
        if name not in said:
            return "no"
        f = said[name]
        return json.dumps(
            {"general": f.general, "category": f.category, "distinct features": f.features}
        )

    says(monkeypatch, fingerprint)
    r2p = make(lambda: policy, database, keep=False, stages=["text"], k=4)
    found = r2p.identify(pictures())
    for one in found:
        textual = {c.name: c.textual for c in one.candidates}
        others = [value for name, value in textual.items() if name != NAMES[0]]
        assert textual[NAMES[0]] == pytest.approx(sum(others) / 3, abs=1e-6)
    asked = says(monkeypatch, reasons("D"))
    r2p.settings = R2PSettings(encoder="toybox_clip", prompts="toybox", k=4)
    again = r2p.identify(pictures())
    assert not asked, "what cannot be described is not reasoned about"
    assert [one.candidate.name for one in again] == [one.candidate.name for one in found]
    assert r2p.decided["retrieval, as words cannot be read"] == 4


def test_the_answer_of_reasoning_counts_and_an_unreadable_one_is_retrievals(
    learned, policy, monkeypatch
):
    database, *_ = learned
    replies = iter([reasons("C"), "so it is B", reasons("D"), reasons("a", A="None")])
    asked = says(monkeypatch, lambda row: next(replies))
    r2p = make(lambda: policy, database, stages=["text", "reasoning"])
    found = r2p.identify(pictures())
    assert [one.option for one in found] == [2, 0, 0, 0]
    assert [one.candidate.name for one in found][1:] == NAMES[1:]
    assert r2p.unreadable.counts == {
        "reasons: no JSON object": 1,
        "reasons: a letter that is no option": 1,
    }
    assert dict(r2p.decided) == {"reasoning": 2, "retrieval, as words cannot be read": 2}
    assert spoken(asked[0]).count("\n") == 3 and len(asked[0]["images"]) == 1
    first = r2p.prompts.describe(r2p.fingerprint(NAMES[1]).fingerprint)
    assert spoken(asked[1]).startswith(f"A. {first}\nB. ")


def test_verification_scores_attributes_and_pairs_decide_where_it_disagrees(
    learned, policy, monkeypatch
):
    database, *_ = learned
    images = pictures()
    toy = TOYS[NAMES[0]]
    true = f"{toy.colour} {toy.kind}"
    wrong = "purple robot" if toy.kind != "robot" else "purple owl"
    says(monkeypatch, reasons("B", A=true, B=wrong))
    verified = make(lambda: policy, database, stages=["text", "reasoning", "verification"])
    (found,) = verified.identify(images[:1])
    a, b, c = found.candidates
    assert a.verified > b.verified and c.verified is None and a.shared == (true,)
    assert found.option == 0 and found.by == "the better retrieved of two"

    p = {name: i / 10 for i, name in enumerate(NAMES, 1)}
    says(
        monkeypatch,
        reasons("B", A=true, B=wrong),
        lambda row: next(value for name, value in p.items() if f"<{name}>" in spoken(row)),
    )
    whole = make(lambda: policy, database)
    (found,) = whole.identify(images[:1])
    assert {c.name: c.p for c in found.candidates} == {c.name: p[c.name] for c in found.candidates}
    assert found.candidate == max(found.candidates, key=lambda one: one.p)
    assert dict(whole.decided) == {"pairs": 1}

    says(monkeypatch, reasons("A", A=true), lambda row: 1 / 0)
    agreed = make(lambda: policy, database)
    assert agreed.identify(images[:1])[0].option == 0 and dict(agreed.decided) == {"agreement": 1}


def test_held_to_its_own_words_the_policy_answers_what_it_saw(learned, policy, monkeypatch):
    database, r2p, _ = learned
    (image,) = pictures()[:1]
    seen = r2p.prompts.describe(r2p.fingerprint(NAMES[0]).fingerprint)
    says(monkeypatch, reasons("C", C=seen))
    options = {}
    for held in (False, True):
        stages = ["text", "reasoning", "verification"]
        r2p = make(lambda: policy, database, stages=stages, consistent=held)
        (options[held],) = r2p.identify([image])
    assert [len(c.shared) for c in options[False].candidates] == [0, 0, 3]
    assert options[False].option == 2 and options[False].candidates[0].verified is None
    first, *others = options[True].candidates
    assert options[True].option == 0 and len(first.shared) == 3 and options[True].by == "agreement"
    assert all(first.verified > c.verified for c in others), "whole descriptions are compared"


def test_the_base_goes_through_all_stages(learned, policy):
    database, *_ = learned
    r2p = make(lambda: policy, database)
    found = r2p.identify(pictures())
    assert sum(r2p.decided.values()) == 4
    for one in found:
        assert one.reply.startswith("{") and 0 <= one.option < 3
        assert (one.by == "pairs") == any(c.p is not None for c in one.candidates)


def test_an_encoder_without_texts_serves_images_alone(learned, policy, tmp_path):
    database, *_ = learned
    encoder = str(save_dinov2(tmp_path / "dinov2"))
    with pytest.raises(InputError, match="reads no texts, which the stages text and verification"):
        make(lambda: policy, database, keep=False, encoder=encoder).identify(pictures())
    alone = make(lambda: policy, database, keep=False, encoder=encoder, stages=[])
    assert len(alone.identify(pictures())) == 4


# ---- what it is asked ----


def test_recognition_is_whether_it_is_the_one_that_is_found(learned, policy, monkeypatch):
    database, *_ = learned
    images = pictures()
    pairs = [(images[0], NAMES[0]), (images[0], NAMES[1]), (images[1], NAMES[1])]
    by_retrieval = make(must_not_load, database, stages=["text"]).recognize(pairs)
    assert [p >= 0.5 for p in by_retrieval] == [True, False, True]
    said = iter([0.3, 1.0, 0.9] * 2)
    says(monkeypatch, None, lambda row: next(said))
    r2p = make(lambda: policy, database, stages=["text"], confirm=0.5)
    assert r2p.recognize(pairs) == pytest.approx([0.15, 0.4999, 0.95])
    with pytest.raises(InputError, match="'nobody' is no concept of the database"):
        r2p.recognize([(images[0], "nobody")])
    assert r2p.recognize([]) == []


def test_the_concept_that_is_found_or_named_stands_in_the_prompt(learned, policy, monkeypatch):
    database, *_ = learned
    images = pictures()
    handed = Reference("mia", Image.new("RGB", (9, 9)))
    queries = [
        Query("found", ICT, "Describe it.", images[1], None),
        Query("named", ICT, f"Is <{NAMES[2]}> here?", images[1], None),
        Query("handed", ICT, "Describe it.", images[1], (handed,)),
    ]
    r2p = make(must_not_load, database, stages=["text"])
    rows, concepts = r2p.rows(queries)
    assert [len(row["images"]) for row in rows] == [2, 2, 2]
    assert spoken(rows[0]).startswith(f"<{NAMES[1]}>")
    assert [(e.name, e.used) for e in concepts[0]][0] == (NAMES[1], True)
    assert len(concepts[0]) == 3 and not any(e.used for e in concepts[0][1:])
    assert spoken(rows[1]).startswith(f"<{NAMES[2]}>") and len(concepts[1]) == 1
    assert spoken(rows[2]).startswith("<mia>") and concepts[2] == ()
    (row,), ((),) = r2p.rows([Query("words", ICT, "Who are you?", None, None)])
    assert row["images"] == []

    says(monkeypatch, None, lambda row: 0.2)
    wary = make(lambda: policy, database, stages=["text"], confirm=0.5)
    (row,), (concept,) = wary.rows(queries[:1])
    assert len(row["images"]) == 1, "nobody is confirmed"
    assert concept[0].p == 0.2 and not any(e.used for e in concept)


def test_it_replies(learned, policy):
    database, *_ = learned
    r2p = make(lambda: policy, database, stages=["text"])
    (reply,) = r2p.reply([r2p.open(Query("1", ICT, "Describe.", pictures()[0], None))], 20)
    assert reply.text and reply.concepts[0].name == NAMES[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stages": ["verification"]}, "add reasoning"),
        ({"k": 0}, "k must be between 1 and 10, not 0"),
        ({"k": 11}, "not 11"),
        ({"images": 0}, "start at 1"),
        ({"confirm": 1.5}, "confirm must be a probability"),
        ({"margin": -0.1}, "margin starts at 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        R2PSettings(**given)
