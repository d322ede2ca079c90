"""In-context personalization: references handed over, retrieved, verified; batches of replies."""

import random
from dataclasses import replace

import pytest
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import draw_toys, photo_database
from concepts.methods import in_context, protocol
from concepts.methods.finding import (
    ReferenceFinder,
    RetrievalSettings,
    as_reference,
    settings_digest,
)
from concepts.methods.in_context import InContext, InContextSettings
from concepts.methods.prompting import (
    conversation,
    load_templates,
    query_of_row,
    without_pictures,
)
from concepts.methods.protocol import Evidence, Learned, Query, Reference, reference_of
from concepts.methods.verification import presence_row
from data_gen.files.errors import InputError
from data_gen.files.settings import settings_from
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError
from data_gen.rows import ICT, OCT
from data_gen.toybox.curriculum.perception import hard_negative
from data_gen.toybox.scene import compose
from rewards.parsing import yes_or_no
from rl.policy.generation import generate, row_size
from rl.policy.likelihood import yes_probabilities
from rl.policy.loading import load_policy
from tests.concepts.tiny_encoders import save_dinov2
from tests.tiny import save_tiny_policy, tiny_rows

COLOURS = {"bo": "red", "mia": "blue", "kim": "green"}


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_dinov2(tmp_path_factory.mktemp("dinov2")))


@pytest.fixture(scope="module")
def owned(tmp_path_factory):
    """Three plates, and one whose image is damaged."""
    folder, found = tmp_path_factory.mktemp("owned"), {}
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 40), colour).save(folder / f"{name}.png")
        found[name] = Reference(name, folder / f"{name}.png", f"<{name}> is a plate.")
    (folder / "torn.png").write_bytes(b"\x89PNG torn")
    return found | {"torn": Reference("torn", folder / "torn.png")}


@pytest.fixture
def finder(owned, encoder, tmp_path):
    settings = RetrievalSettings(encoder=encoder, regions=None, cache=str(tmp_path / "cache"))
    return ReferenceFinder(owned, settings, SkippedItems())


def write(query, references):
    return conversation(query, references, load_templates())


def must_not_load():
    raise AssertionError("loaded")


def ask(colour, k=2, **changes):
    return Query(
        colour,
        ICT,
        "Describe it.",
        Image.new("RGB", (40, 40), colour),
        references=None,
        k=k,
        **changes,
    )


# ---- what is found ----


def test_references_are_found_once_and_broken_ones_are_named(owned, encoder, finder, tmp_path):
    skipped = SkippedItems()
    settings = RetrievalSettings(encoder=encoder, regions=None, cache=str(tmp_path / "cache"))
    found = ReferenceFinder(owned, settings, skipped)
    assert [
        reason for reason in skipped.counts if reason.startswith("reference that does not open")
    ] and skipped.total == 1
    first = found.find(ask("blue"))
    assert [one.name for one in first][0] == "mia" and len(first) == 2
    assert "torn" not in [one.name for one in found.find(ask("red", k=4))]
    found._retriever = None  # what has been found is not looked for again
    assert found.find(ask("blue")) is first


def test_the_number_is_the_settings_or_the_benchmarks_or_two(owned, encoder, finder, tmp_path):
    assert len(finder.find(ask("red", k=3))) == 3 and len(finder.find(ask("blue", k=None))) == 2
    one = ReferenceFinder(
        owned,
        RetrievalSettings(encoder=encoder, regions=None, k=1, cache=str(tmp_path)),
        SkippedItems(),
    )
    assert len(one.find(ask("red", k=3))) == 1


def test_names_in_the_question_come_first(finder):
    found = finder.find(replace(ask("blue"), text="Is <kim> here?"))
    assert [(one.name, one.similarity is None) for one in found] == [("kim", True), ("mia", False)]


def test_an_image_may_be_a_file_or_not_open(finder, owned, tmp_path):
    query = replace(ask("blue"), image=owned["mia"].image)
    assert finder.find(query)[0].name == "mia"
    with pytest.raises(PhotoError):
        finder.find(Query("torn", ICT, image=owned["torn"].image, references=None))


def test_no_usable_reference_is_an_error(owned, encoder, tmp_path):
    with pytest.raises(InputError, match="no image of the database opens"):
        ReferenceFinder(
            {"torn": owned["torn"]},
            RetrievalSettings(encoder=encoder, cache=str(tmp_path)),
            SkippedItems(),
        )


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"encode": "x"}, "unknown key 'encode'"),
        ({"k": 2}, "retrieval.encoder is missing"),
        ({"encoder": "x", "k": 0}, "not 0"),
        ({"encoder": "x", "verify": 0.5}, "'verify' is 'gate' in the settings of the method now"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, sentence):
    with pytest.raises(InputError, match=sentence):
        settings_from(given, RetrievalSettings, "retrieval")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"encoder": "./nowhere"}, "./nowhere"),
        ({"encoder": "imagenet", "regions": {"kind": "eyes"}}, "no detector is called 'eyes'"),
    ],
)
def test_encoders_and_detectors_that_there_are_not_are_refused(owned, given, sentence):
    with pytest.raises(InputError, match=f"retrieval: .*{sentence}"):
        ReferenceFinder(owned, RetrievalSettings(**given), SkippedItems())


def test_the_digest_of_settings_leaves_the_cache_out():
    one, two = (RetrievalSettings(encoder="x", cache=cache) for cache in "ab")
    assert settings_digest(one) == settings_digest(two) != settings_digest(replace(one, k=3))
    assert settings_digest(None) == ""


# ---- what is asked ----


def test_retrieved_references_stand_in_the_prompt(finder, owned):
    asked = InContext(list, write, finder=finder)
    (row,), (concepts,) = asked.rows([asked.open(ask("blue"))])
    assert [one.name for one in concepts][0] == "mia" and all(one.used for one in concepts)
    assert len(row["images"]) == 3 and row["images"][0].getpixel((0, 0)) == (0, 0, 255)
    words = [part["text"] for part in row["prompt"][1]["content"] if part["type"] == "text"]
    assert "<mia> is a plate." in words[0]


def test_the_size_of_a_query_is_that_of_its_row(finder):
    gated = InContextSettings(gate=0.5)
    asked = InContext(must_not_load, write, finder=finder, settings=gated)
    for row in tiny_rows(3, text_only=1):
        assert asked.query_size(query_of_row(row)) == row_size(row)
    query = ask("blue")
    (row,), _ = InContext(list, write, finder=finder).rows([query])
    assert asked.query_size(query) == row_size(row), "the gate comes later"
    assert row_size(row)[0] == 3


def test_a_query_without_references_needs_retrieval():
    with pytest.raises(InputError, match="query 'red' comes without references; give the system"):
        InContext(list, write).rows([ask("red")])


@pytest.mark.parametrize("threshold", [0, 0.5, 1])
def test_references_that_the_policy_does_not_confirm_are_dropped(finder, monkeypatch, threshold):
    said = {"mia": 0.9, "bo": 0.3, "kim": 0.1}
    asked_of = believes(monkeypatch, said)
    asked = InContext(
        lambda: ("model", "processor"),
        write,
        finder=finder,
        settings=InContextSettings(gate=threshold),
        batch_size=3,
    )
    (row,), (concepts,) = asked.rows([ask("blue", k=3)])
    assert {one.name: one.p for one in concepts} == said
    kept = [one.name for one in concepts if one.used]
    assert kept == [one.name for one in concepts if said[one.name] >= threshold]
    assert len(row["images"]) == len(kept) + 1
    assert asked_of == [((0, 0, 255), one.name) for one in concepts]
    assert all(isinstance(one, Evidence) and one.similarity is not None for one in concepts)


def believes(monkeypatch, said):
    """A policy that says yes to each name with this probability; returns what it was asked."""
    asked = []

    def probabilities(model, processor, rows, *, batch_size):
        names = [query_of_row(row).references[0].name for row in rows]
        asked.extend(
            (row["images"][-1].getpixel((0, 0)), n) for row, n in zip(rows, names, strict=True)
        )
        return [said[name] for name in names]

    monkeypatch.setattr(in_context, "yes_probabilities", probabilities)
    return asked


@pytest.mark.parametrize("written", [False, True], ids=["words to be chosen", "a prompt"])
def test_references_that_are_handed_over_pass_the_gate_or_are_not_shown(
    owned, monkeypatch, written
):
    asked_of = believes(monkeypatch, {"mia": 0.9, "bo": 0.3, "kim": 0.6})
    asked = InContext(lambda: (None, None), write, settings=InContextSettings(gate=0.5))
    given = tuple(owned[name] for name in ("bo", "mia", "kim"))
    queries = [
        replace(ask(colour), references=given, text=text)
        for colour, text in (("blue", "Describe it."), ("red", "Where is <bo>?"))
    ]
    if written:
        queries = [replace(query, prompt=write(query, given)) for query in queries]
    rows, evidence = asked.rows([asked.open(query) for query in queries])
    # Whom the question names is shown without being asked for.
    assert [name for _, name in asked_of] == ["bo", "mia", "kim", "mia", "kim"]
    assert [[(e.name, e.p, e.used) for e in of] for of in evidence] == [
        [("bo", 0.3, False), ("mia", 0.9, True), ("kim", 0.6, True)],
        [("bo", None, True), ("mia", 0.9, True), ("kim", 0.6, True)],
    ]
    for row, query, kept in zip(rows, queries, (given[1:], given), strict=True):
        plain = replace(query, references=kept, prompt=None)
        expected, _ = InContext(list, write).rows([asked.open(plain)])
        assert row["prompt"] == expected[0]["prompt"]
        assert [i.tobytes() for i in row["images"]] == [i.tobytes() for i in expected[0]["images"]]


@pytest.mark.parametrize(
    "photos, p", [(1, 0.1), (2, 0.5), (3, 0.6), (9, 0.6)], ids=["one", "two", "three", "all"]
)
def test_a_gate_takes_the_mean_over_photos_so_that_one_may_be_misread(
    owned, tmp_path, monkeypatch, photos, p
):
    yes = {(255, 0, 0): 0.1, (0, 255, 0): 0.9, (255, 255, 0): 0.8}  # by the photo's colour

    def probabilities(model, processor, rows, *, batch_size):
        return [yes[row["images"][0].getpixel((0, 0))] for row in rows]

    monkeypatch.setattr(in_context, "yes_probabilities", probabilities)
    files = []
    for name in ("red", "lime", "yellow"):
        files.append(tmp_path / f"{name}.png")
        Image.new("RGB", (40, 40), name).save(files[-1])
    torn = owned["torn"].image
    bo = Reference("bo", files[0], others=(files[1], torn, files[2]))
    settings = InContextSettings(gate=0.5, photos=photos)
    asked = InContext(lambda: (None, None), write, settings=settings)
    given = replace(ask("blue"), references=(bo,))
    _, ((evidence,),) = asked.rows([asked.open(given)])
    assert evidence.p == pytest.approx(p) and evidence.used == (p >= 0.5)
    # A photo of its own is no evidence for itself.
    if photos == 3:
        assert asked._seen([(files[1], bo)]) == [pytest.approx(0.45)]
        closer = InContext(lambda: (None, None), write, settings=replace(settings, closer=True))
        monkeypatch.setattr(closer, "_where", lambda pairs: [(0.2, 0.2, 0.6, 0.6) for _ in pairs])
        assert closer._seen([(files[1], bo)]) == [pytest.approx(0.45)], "nor a part of it"


def test_the_other_photos_of_a_concept_come_with_its_reference(tmp_path):
    (tmp_path / "bo").mkdir()
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green")):
        Image.new("RGB", (40, 40), colour).save(tmp_path / "bo" / f"{name}.png")
    database = photo_database(tmp_path)
    concept = database.concepts()["bo"]
    assert [p.name for p in as_reference(database, concept).others] == ["b.png", "c.png"]
    (tmp_path / "bo" / "a.png").write_bytes(b"torn")
    found = reference_of(database, concept)
    assert (found.image.name, [p.name for p in found.others]) == ("b.png", ["c.png"])


def test_what_is_not_seen_is_located_and_looked_at_closely(owned, monkeypatch):
    image = Image.new("RGB", (80, 80), "blue")
    image.paste("red", (40, 40, 60, 60))
    given = [(image, owned[name]) for name in ("bo", "mia", "kim")]
    asked = []

    answers = iter([[0.9, 0.2, 0.1], [0.7]])

    def probabilities(model, processor, rows, *, batch_size):
        asked.extend((query_of_row(r).references[0].name, r["images"][-1]) for r in rows)
        return next(answers)

    monkeypatch.setattr(in_context, "yes_probabilities", probabilities)
    closer = InContext(
        lambda: (None, None), write, settings=InContextSettings(closer=True, gate=0.5)
    )
    located = []

    def where(pairs):
        located.extend(reference.name for _, reference in pairs)
        return [(0.5, 0.5, 0.75, 0.75), None]

    monkeypatch.setattr(closer, "_where", where)
    # Bo is seen at once; mia in the part where she is located; kim, who has no box, is not.
    assert closer._seen(given) == [0.9, 0.7, 0.1]
    assert located == ["mia", "kim"]
    assert [name for name, _ in asked] == ["bo", "mia", "kim", "mia"]
    part = asked[-1][1]
    assert part.size == (80, 80) and part.getpixel((40, 40)) == (255, 0, 0)
    assert part.getpixel((2, 2)) == (0, 0, 255)  # 32 pixels about a box of 20, enlarged
    with pytest.raises(InputError, match="located by its picture; show is 'text'"):
        InContextSettings(show="text", closer=True)


def test_what_is_small_is_looked_for_through_windows_and_needs_votes(owned, monkeypatch):
    image = Image.new("RGB", (80, 80), "blue")
    small, large = (0.5, 0.5, 0.75, 0.75), (0.1, 0.1, 0.9, 0.9)
    given = [(image, owned[name]) for name in ("bo", "mia", "kim", "bo")]
    through = {}

    def looked(windowed):
        """What three looks say, two of them at the image and the part, of four pairs."""
        answers = iter([[0.9, 0.8, 0.1, 0.2], [0.7, 0.3, 0.4], windowed])

        def probabilities(model, processor, rows, *, batch_size):
            found = next(answers)
            through.setdefault("sizes", []).append(len(rows))
            return found[: len(rows)]

        monkeypatch.setattr(in_context, "yes_probabilities", probabilities)
        method = InContext(
            lambda: (None, None),
            write,
            settings=InContextSettings(closer=True, windows=0.6, gate=0.5),
        )
        monkeypatch.setattr(method, "_where", lambda pairs: [small, small, large, None])
        return method._seen(given)

    # Bo: the image and the part show it, no window is needed. Mia: the image alone, and one window
    # of nine. Kim is large: the larger of two looks. Bo again, located nowhere: no two windows.
    assert looked([0.6] + [0.0] * 8 + [0.7] + [0.1] * 8) == [0.7, 0.6, 0.4, 0.2]
    assert through["sizes"] == [4, 3, 18]
    assert looked([0.0] * 9 + [0.7, 0.6] + [0.1] * 7) == [0.7, 0.3, 0.4, 0.6]
    for wrong in ({"windows": 0.6}, {"windows": 1.5, "closer": True}):
        with pytest.raises(InputError, match="windows must be a share of an image, as 0.6, beside"):
            InContextSettings(**wrong)


@pytest.mark.parametrize("gate", [-0.1, 1.5])
def test_a_gate_is_a_probability(gate):
    with pytest.raises(InputError, match="gate must be a probability"):
        InContextSettings(gate=gate)


def test_controls_show_the_name_alone_or_what_is_anothers(finder, owned):
    names = InContext(must_not_load, write, finder=finder, settings=InContextSettings("names"))
    (row,), _ = names.rows([ask("red")])
    assert len(row["images"]) == 1 and "<bo>" in str(row["prompt"])
    assert "plate" not in str(row["prompt"])

    finder.owned = {name: one for name, one in owned.items() if name != "torn"}
    wrong = InContext(must_not_load, write, finder=finder, settings=InContextSettings("wrong"))
    given = Reference("bo", owned["bo"].image, "<bo> is a plate.")
    (row,), _ = wrong.rows([replace(ask("red"), references=(given,))])
    assert row["images"][0].getpixel((0, 0)) == (0, 0, 255)  # mia's, half of three behind bo
    assert "Name: <bo>. <mia> is a plate." in str(row["prompt"])
    alone = InContext(must_not_load, write, settings=InContextSettings("wrong"))
    with pytest.raises(InputError, match="no other concept to take 'bo' for; give the system"):
        alone.rows([replace(ask("red"), references=(given,))])


def test_images_are_opened_and_shrunk(owned, tmp_path):
    Image.new("RGB", (200, 100), "red").save(tmp_path / "large.png")
    query = Query("q", ICT, image=tmp_path / "large.png", references=(owned["bo"],))
    opened = InContext(list, write, size=50).open(query)
    assert opened.image.size == (50, 25) and opened.references[0].image.size == (40, 40)
    assert opened.references[0].info == "<bo> is a plate."
    short = InContext(list, write, size=50, side="short").open(query)
    assert short.image.size == (100, 50)
    for torn in (
        replace(query, image=owned["torn"].image),
        replace(query, references=(owned["torn"],)),
        replace(query, image=owned["torn"].image, references=None),
    ):
        with pytest.raises(PhotoError):
            InContext(list, write).open(torn)


# ---- what is answered ----


def test_replies_are_those_of_the_rows(policy):
    rows = tiny_rows(4)
    asked = InContext(lambda: policy, write)
    replies = asked.reply([query_of_row(row) for row in rows], 4)
    assert [(r.text, r.n_tokens) for r in replies] == generate(
        *policy, rows, max_new_tokens=4, batch_size=4
    )
    assert [r.id for r in replies] == [row["id"] for row in rows]
    assert all(r.box_frame is None and r.concepts == () for r in replies)
    framed = asked.reply([query_of_row(row) for row in rows], 1, wants_box=True)
    assert [r.box_frame for r in framed] == [[64.0, 64.0]] * 4
    thousand = InContext(lambda: policy, write, box_convention="thousand")
    assert thousand.reply([query_of_row(rows[0])], 1, True)[0].box_frame == [1000.0, 1000.0]


def test_replies_say_which_concepts_were_used(policy, finder):
    kept, dropped = (
        InContext(lambda: policy, write, finder=finder, settings=InContextSettings(gate=gate))
        for gate in (0, 1)
    )
    alone = InContext(lambda: policy, write)
    query = ask("blue")
    (with_all,), (with_none,) = kept.reply([query], 4), dropped.reply([query], 4)
    assert [one.used for one in with_all.concepts] == [True, True]
    assert [one.used for one in with_none.concepts] == [False, False]
    assert [one.p for one in with_all.concepts] == [one.p for one in with_none.concepts]
    # All dropped: as where no reference is shown.
    (bare,) = alone.reply([replace(query, references=())], 4)
    assert (with_none.text, with_none.n_tokens) == (bare.text, bare.n_tokens)
    found = tuple(finder.owned[one.name] for one in with_all.concepts)
    (given,) = alone.reply([alone.open(replace(query, references=found))], 4)
    assert with_all.text == given.text


def test_likelihoods_of_yes_and_of_options(policy):
    queries = [query_of_row(row) for row in tiny_rows(2)]
    asked = InContext(lambda: policy, write)
    for (p,) in asked.likelihoods(queries):
        assert 0 <= p <= 1
    found = asked.likelihoods([replace(query, options=("yes", "no")) for query in queries])
    assert [len(of) for of in found] == [2, 2] and all(total < 0 for of in found for total, _ in of)


# ---- as a method ----


def test_nothing_is_learned_and_nothing_is_left_to_forget(tmp_path):
    asked = InContext(must_not_load, write)
    (cost,) = asked.learn([Concept("bo", ("bo.png",))])
    assert cost == Learned("bo", 0.0, 0, 0, False)
    asked.forget(["bo", "nobody"])


def test_recognizing_is_the_policys_yes_with_the_concepts_picture(policy, finder, owned):
    asked = InContext(lambda: policy, write, finder=finder)
    image = Image.new("RGB", (40, 40), "blue")
    found = asked.recognize([(image, "mia"), (owned["bo"].image, "bo"), (image, "bo")])
    rows = [presence_row(image, n, Image.open(owned[n].image)) for n in ("mia", "bo")]
    one = yes_probabilities(*policy, rows)
    assert [found[0], found[2]] == pytest.approx(one, abs=1e-5)
    said = InContext(lambda: policy, write, finder=finder, settings=InContextSettings("text"))
    row = presence_row(image, "bo", image, owned["bo"].info)
    (words,) = yes_probabilities(*policy, [without_pictures(row, 1)])
    assert said.recognize([(image, "bo")]) == pytest.approx([words], abs=1e-5)
    with pytest.raises(InputError, match="'who' is no concept with a picture; add it"):
        asked.recognize([(image, "who")])


def test_asked_with_reasons_the_shipped_policy_tells_what_differs_in_one_attribute():
    loaded = load_policy("toybox_base")
    queries, truths = [], []
    for i, (name, toy) in enumerate(draw_toys(10, 3, half="test").items()):
        rng = random.Random(i)
        shown = toy if i % 2 else hard_negative(rng, toy)
        reference = Reference(name, compose(rng, [toy], 64).image)
        image = compose(rng, [shown], 96).image
        queries.append(
            Query(f"{i}", OCT, f"Is <{name}> in this picture? Yes or no.", image, (reference,))
        )
        truths.append("yes" if i % 2 else "no")

    def toybox_write(query, references):
        parts = []
        for one in references:
            parts += [
                {"type": "image", "text": None},
                {"type": "text", "text": f"This is <{one.name}>.\n"},
            ]
        parts += [{"type": "image", "text": None}, {"type": "text", "text": query.text}]
        return [{"role": "user", "content": parts}]

    found = {}
    for reasons in (False, True):
        asked = InContext(lambda: loaded, toybox_write, settings=InContextSettings(reasons=reasons))
        replies = asked.reply(queries, 8)  # reasons need more tokens, and get them
        found[reasons] = [yes_or_no(reply.text) for reply in replies]
        p = [one for (one,) in asked.likelihoods(queries)]
        assert [("no", "yes")[one >= 0.5] for one in p] == found[reasons]
        assert all(("here:" in reply.text) == reasons for reply in replies)
    right = {k: [a == b for a, b in zip(said, truths, strict=True)] for k, said in found.items()}
    assert sum(right[True][::2]) >= 4 > sum(right[False][::2])  # five hard negatives
    assert sum(right[True][1::2]) >= 4
    # Photos of 64 px, smaller than the images in which it was taught: brought to their size.
    small = [replace(q, image=q.image.resize((64, 64), Image.Resampling.BICUBIC)) for q in queries]
    settings = InContextSettings(reasons=True, side=96)
    asked = InContext(lambda: loaded, toybox_write, settings=settings)
    said = [yes_or_no(reply.text) for reply in asked.reply(small, 8)]
    p = asked._asked([(q.image, q.references[0]) for q in small])
    assert [("no", "yes")[one >= 0.5] for one in p] == said, "the gate looks at it alike"
    assert sum(a == b for a, b in zip(said, truths, strict=True)) >= 8

    # A prompt that a benchmark has written is asked as it stands.
    (row,), _ = asked.rows([replace(queries[0], prompt=write(queries[0], queries[0].references))])
    assert "First say" not in row["prompt"][-1]["content"][-1]["text"]


def test_boxes_are_fractions_of_the_image(policy, owned, tmp_path, monkeypatch):
    database = Database(tmp_path / "database.json")
    database.add(Concept("bo", (str(owned["bo"].image),)))
    asked = InContext(lambda: policy, write, database=database, box_convention="thousand")
    said = iter(["[100, 200, 300, 400]", "nowhere", "[500, 0, 1200, 1000]", "[300, 0, 100, 9]"])
    monkeypatch.setattr(
        protocol, "complete", lambda model, processor, rows, limit: [(next(said), 1) for _ in rows]
    )
    image = Image.new("RGB", (64, 64), "red")
    boxes = asked.locate([(image, "bo")] * 4)
    assert boxes[0] == pytest.approx((0.1, 0.2, 0.3, 0.4)) and boxes[1] is None
    assert boxes[2] == pytest.approx((0.5, 0.0, 1.0, 1.0)) and boxes[3] is None
    assert asked.locate([]) == []
