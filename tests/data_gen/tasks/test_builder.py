"""Rows from sources made on the spot: flat-coloured subjects whose identity is their colour."""

import hashlib
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_gen.files.errors import ImageError, SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.images.boxes import absolute
from data_gen.negatives.table import read_neighbours, write_neighbours
from data_gen.rows import ICT, OCT, VLT, check_row, encode_image
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.checks import indexed_rows
from data_gen.tasks.subjects import (
    Scene,
    Source,
    Subject,
    View,
)
from data_gen.tasks.views import Shares

TASKS = (OCT, VLT, ICT)


def colour(i: int) -> tuple[int, int, int]:
    return 40 + 5 * i, 250 - 7 * i, (90 * i) % 256


def close(a, b) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) < 4


def portraits(n: int, views: int = 2, kinds: int = 3) -> Source:
    """Subjects by themselves, two views each, of ``kinds`` categories."""

    def view(i, v):
        return View(f"{i}.{v}", lambda: Image.new("RGB", (40 + 8 * v, 40), colour(i)))

    return Source(
        "made",
        [
            Subject(
                str(i),
                tuple(view(i, v) for v in range(views)),
                f"kind {i % kinds}",
                f"It is number {i}.",
            )
            for i in range(n)
        ],
    )


PLACES = ((0.1, 0.1, 0.35, 0.4), (0.5, 0.15, 0.8, 0.45), (0.3, 0.6, 0.7, 0.9))


def drawn(first: int) -> Image.Image:
    image = Image.new("RGB", (200, 160), "white")
    for k, place in enumerate(PLACES):
        image.paste(colour(first + k), tuple(round(v) for v in absolute(place, (200, 160))))
    return image


def scenes(n: int, described: bool = True) -> Source:
    """Pictures of three subjects each, which nobody sees anywhere else."""

    def subject(i):
        s, k = divmod(i, 3)
        words = (f"number {i}",) if described else ()
        view = View(f"s{s}#{i}", lambda: drawn(3 * s), PLACES[k], words, f"s{s}")
        return Subject(str(i), (view,), f"kind {k}")

    return Source(
        "made",
        [subject(i) for i in range(3 * n)],
        [Scene(f"s{s}", (3 * s, 3 * s + 1, 3 * s + 2)) for s in range(n)],
    )


def indexed_of(source: Source, counts: dict, seed: int = 0, **settings) -> IndexedRows:
    return indexed_rows(SourceRows(source, seed, **settings), counts, SkippedItems(), "")


def rows_of(*args, **settings) -> list[dict]:
    return list(indexed_of(*args, **settings))


def number(where: str) -> int:
    """The subject that a view is of, given as a row's source names it."""
    return int(where.partition("#")[2] or where.split(".")[0])


def views_of(row: dict) -> tuple[list[str], list[str]]:
    shown, seen = row["source"].removeprefix("made: ").split(" (")[0].split(" | ")
    return shown.split(" + "), seen.removeprefix("composite ").split(" + ")


def fingerprint(row: dict) -> str:
    images = [encode_image(image) for image in row["images"]]
    return hashlib.sha256(repr({**row, "images": images}).encode()).hexdigest()


# ---- every source gets every task ----


@pytest.mark.parametrize("source", [portraits(9), scenes(6)], ids=["portraits", "scenes"])
def test_rows_keep_the_contract_and_are_as_many_as_asked(source):
    made = rows_of(source, {OCT: 12, VLT: 8, ICT: 20}, size=64)
    for row in made:
        check_row(row)
        assert max(max(image.size) for image in row["images"]) <= 64
    assert Counter(row["task"] for row in made) == {OCT: 12, VLT: 8, ICT: 20}
    assert len({row["id"] for row in made}) == 40


def test_a_row_is_the_same_alone_in_any_order_and_in_a_larger_set():
    few = rows_of(scenes(6), dict.fromkeys(TASKS, 5), seed=3, size=64)
    many = indexed_of(scenes(6), dict.fromkeys(TASKS, 12), seed=3, size=64)
    backwards = {
        row["id"]: fingerprint(row)
        for row in (many.make(task, i) for i in reversed(range(12)) for task in TASKS)
    }
    assert len(backwards) == 36
    assert {row["id"]: fingerprint(row) for row in few}.items() <= backwards.items()
    alone = SourceRows(scenes(6), 3, size=64).make(ICT, 11)
    assert fingerprint(alone) == backwards[f"made-3-{ICT}-11"]


# ---- object consistency ----


@pytest.mark.parametrize("source", [portraits(9), scenes(3)], ids=["portraits", "scenes"])
def test_yes_and_no_are_true_and_balanced_for_every_subject(source):
    rows = rows_of(source, {OCT: 36}, seed=1, size=200)
    asked, drawn = Counter(), set()
    for row in rows:
        (shown,), (seen,) = views_of(row)
        same = number(shown) == number(seen)
        assert row["answer"] == ("yes" if same else "no")
        asked[number(shown), row["answer"]] += 1
        drawn.add(number(shown))
        reference, query = row["images"]
        colours = {c for _, c in query.getcolors(10**6)}
        assert (colour(number(shown)) in colours) == same
        assert colour(number(shown)) in {c for _, c in reference.getcolors(10**6)}
    assert all(asked[i, "yes"] == asked[i, "no"] for i in drawn) and len(drawn) > 6
    rows = rows_of(source, {OCT: 36}, seed=1, size=32, swapped=False)
    asked = Counter((number(views_of(row)[0][0]), row["answer"]) for row in rows)
    assert asked == {(i, answer): 2 for i in range(9) for answer in ("yes", "no")}


def test_subjects_of_one_label_are_never_negatives_of_each_other():
    source = portraits(8)
    source.subjects = [
        Subject(t.key, t.views, t.category, label="the same" if i < 5 else None)
        for i, t in enumerate(source.subjects)
    ]
    for row in rows_of(source, {OCT: 80, ICT: 80}, seed=1, size=32):
        shown, seen = views_of(row)
        if row["answer"] == "no" or row["task"] == ICT:
            involved = {number(where) for where in shown + seen}
            assert len(involved & set(range(5))) <= 1


def test_nearest_neighbours_come_from_the_table(tmp_path):
    source = portraits(6, kinds=6)
    write_neighbours(
        tmp_path / "table.parquet",
        {"0": ["3", "9"], "1": ["3", "2"], "2": ["5"], "3": ["0"], "4": ["1"], "5": []},
    )
    skipped = SkippedItems()
    nearest = read_neighbours(tmp_path / "table.parquet", source.subjects, skipped)
    assert {k: list(v) for k, v in nearest.items()} == {0: [3], 1: [3, 2], 2: [5], 3: [0], 4: [1]}
    assert skipped.counts == {"a neighbour table's key that the source lacks": 1}
    rows = rows_of(source, {OCT: 48}, shares=Shares(hard=1.0), nearest=nearest, size=32)
    for row in rows:
        shown, seen = (number(*where) for where in views_of(row))
        if row["answer"] == "no" and 5 not in (shown, seen):  # which has no neighbour
            assert seen in nearest[shown] or shown in nearest[seen]
            assert row["source"].endswith("(nearest)")


@pytest.mark.parametrize("content", [None, b"not parquet", {"a": [1]}, {"7": ["8"]}])
def test_a_neighbour_table_that_does_not_fit_is_refused(tmp_path, content):
    path = tmp_path / "table.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == {"a": [1]}:
        pq.write_table(pa.table(content), path)
    elif content:
        write_neighbours(path, content)
    with pytest.raises(SourceError, match="table.parquet (cannot be read|knows none)"):
        read_neighbours(path, portraits(3).subjects)


# ---- localization ----


def test_a_described_subject_is_boxed_where_it_is():
    shares = Shares(padded=0.5, named=0.5)
    named = 0
    for row in rows_of(scenes(6), {VLT: 60}, seed=0, size=200, shares=shares):
        (image,) = row["images"]
        subject = number(row["source"].removeprefix("made: ").removesuffix(" (told)"))
        x1, y1, x2, y2 = absolute(row["box"], image.size)
        assert close(image.getpixel((int(x1 + x2) // 2, int(y1 + y2) // 2)), colour(subject))
        assert not close(image.getpixel((max(0, int(x1) - 3), int(y1))), colour(subject))
        text = " ".join(part["text"] or "" for part in row["prompt"][0]["content"])
        assert f'"number {subject}"' in text
        named += "<" in text
    assert 20 < named < 40


def test_with_another_view_the_reference_is_that_view():
    source = scenes(4, described=False)
    portrait = portraits(12)
    source.subjects = [
        Subject(t.key, (t.views[0], portrait.subjects[i].views[0]))
        for i, t in enumerate(source.subjects)
    ]
    for row in rows_of(source, {VLT: 30}, seed=0, size=200, shares=Shares(mirrored=0.5)):
        reference, query = row["images"]
        (shown,), (seen,) = views_of(row)
        assert number(shown) == number(seen) and "." in shown
        assert reference.getpixel((5, 5)) == colour(number(shown))
        box = tuple(round(v) for v in absolute(row["box"], query.size))
        middle = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        assert query.getpixel(middle) == colour(number(shown))


def test_views_without_another_image_or_words_are_not_asked_for():
    """Two boxes of one subject in one image, of which only one is described."""
    source = scenes(2)
    first, second = source.subjects[0].views[0], source.subjects[1].views[0]
    undescribed = View("s0#99", second.open, second.box, (), second.image)
    source.subjects[:3] = [Subject("0", (first, undescribed)), Subject("2", (undescribed,))]
    source.scenes = ()
    rows = rows_of(source, {VLT: 40}, size=64)
    asked = {row["source"].removeprefix("made: ").removesuffix(" (told)") for row in rows}
    assert asked == {"s0#0", "s1#3", "s1#4", "s1#5"}


def test_without_boxes_the_box_is_a_panel():
    for row in rows_of(portraits(9), {VLT: 30}, seed=0, size=120):
        (shown,), seen = views_of(row)
        assert number(shown) in map(number, seen) and len(seen) in (2, 3) and shown not in seen
        box = absolute(row["box"], row["images"][1].size)
        panel = row["images"][1].crop(tuple(round(v) for v in box))
        assert [c for _, c in panel.getcolors()] == [colour(number(shown))]


# ---- identity consistency ----


def test_scenes_give_several_references_and_tell_the_truth():
    counts = Counter()
    shares = Shares(absent=0.3, subject_counts={1: 0.4, 3: 0.6}, reference_counts={1: 1, 3: 1})
    for row in rows_of(scenes(6), {ICT: 120}, seed=0, size=200, shares=shares):
        shown, seen = views_of(row)
        assert len(seen) == 1, "a scene needs no composite"
        colours = {c for _, c in row["images"][-1].getcolors(10**6)}
        text = [part["text"] for part in row["prompt"][0]["content"] if part["text"]]
        for where, said in zip(shown, text, strict=False):
            here = colour(number(where)) in colours
            assert sum(f"<{n}>" in said for n in row["names" if here else "absent_names"]) == 1
        counts[len(row["names"])] += 1
    assert set(counts) == {0, 1, 2, 3} and counts[0] / 120 == pytest.approx(0.3, abs=0.12)


# ---- two rows for one query ----


@pytest.mark.parametrize("source", [portraits(12), scenes(8)], ids=["portraits", "scenes"])
def test_rows_of_a_pair_have_one_query_and_differ_in_who_is_asked_about(source):
    shares = Shares(paired_rows=True, subject_counts={1: 0.5, 2: 0.5}, mirrored=0.5)
    rows = rows_of(source, {OCT: 40, ICT: 60}, seed=2, size=96, shares=shares)
    asked = Counter()
    for task, n in ((OCT, 40), (ICT, 60)):
        of_task = [row for row in rows if row["task"] == task]
        assert len({row["pair"] for row in of_task}) == n / 2
        for one, other in zip(of_task[::2], of_task[1::2], strict=True):
            assert one["pair"] == other["pair"]
            assert one["images"][-1].tobytes() == other["images"][-1].tobytes()
            assert len(one["images"]) == len(other["images"])
            (shown, seen), (not_shown, seen_again) = views_of(one), views_of(other)
            assert seen == seen_again and shown != not_shown
            if task == OCT:
                assert {one["answer"], other["answer"]} == {"yes", "no"}
                asked[one["answer"]] += 1
            else:
                assert one["names"] and not other["names"]
                colours = {c for _, c in other["images"][-1].getcolors(10**6)}
                assert not any(colour(number(where)) in colours for where in not_shown)
    assert min(asked.values()) > 4, "the first of two is not always the yes"


def test_a_pair_is_of_one_that_expects_somebody_and_one_that_does_not():
    for told in ({"absent": 0.4}, {"reference_counts": {0: 1}}, {"combinations": {"1/1/1": 1}}):
        with pytest.raises(SourceError, match="paired_rows: of two caption rows one expects"):
            Shares(paired_rows=True, **told)


# ---- images that cannot be used ----


def broken(i: int) -> View:
    def refuse():
        raise ImageError(f"{i}.jpg", "truncated")

    return View(f"{i}.0", refuse)


def test_rows_with_an_unusable_image_are_skipped_for_its_reason():
    source = portraits(10)
    source.subjects[4] = Subject("4", (broken(4), source.subjects[4].views[1]), "kind 1")
    indexed = indexed_of(source, dict.fromkeys(TASKS, 40), size=32)
    made = [indexed.make(task, i) for i in range(40) for task in TASKS]
    rows = [row for row in made if not isinstance(row, Skipped)]
    assert {row for row in made if isinstance(row, Skipped)} == {Skipped("truncated")}
    assert 80 < len(rows) < 120
    assert not any("4.0" in where for row in rows for views in views_of(row) for where in views)


# ---- what is impossible ----


@pytest.mark.parametrize(
    ("source", "counts", "sentence"),
    [
        (portraits(3), {"dance": 1}, "made gives .* there is no 'dance'"),
        (portraits(3), {OCT: -1}, "must be a whole number from 0, not -1"),
        (portraits(3, views=1), {OCT: 1}, "none of 3 subjects can be both reference and query"),
        (portraits(1), {OCT: 1}, "one subject only"),
        (scenes(2, described=False), {VLT: 1}, "no subject with a box has another view, or words"),
    ],
)
def test_what_a_source_cannot_give_is_refused_at_once(source, counts, sentence):
    with pytest.raises(SourceError, match=sentence):
        indexed_of(source, counts)


def test_shares_are_probabilities_and_counts_are_weighted():
    with pytest.raises(SourceError, match="absent_share must be from 0 to 1, not 2"):
        Shares(absent=2)
    with pytest.raises(SourceError, match="reference_counts: must be numbers with weights"):
        Shares(reference_counts=[1, 2])
    with pytest.raises(SourceError, match="combinations: '1-1-1' is not 'references/subjects/exp"):
        Shares(combinations={"1-1-1": 1})
