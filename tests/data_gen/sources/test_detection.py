"""Detection sets: what is read, what is skipped for which reason, and what rows claim."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.images.boxes import absolute, area, hidden
from data_gen.rows import ICT, OCT, VLT, check_row
from data_gen.rows.indexed import Skipped
from data_gen.sources.annotations import read_annotations
from data_gen.sources.box_filters import apart
from data_gen.sources.detection import detection_rows

SIZE = 240, 180
PLACES = ((20, 20, 60, 60), (120, 30, 90, 50), (70, 110, 80, 50))
KINDS = ("dog", "cat", "mug")


def colour(box_id: int) -> tuple[int, int, int]:
    return 40 + 8 * box_id, 230 - 6 * box_id, (95 * box_id) % 256


def coco(root: Path, scenes: int = 4, **changes) -> Path:
    """A COCO file and its images: three boxes of three categories in each, box ``i`` of one
    colour."""
    (root / "images").mkdir(parents=True)
    whole = {
        "info": {},
        "images": [],
        "annotations": [],
        "categories": [{"id": 10 + k, "name": name} for k, name in enumerate(KINDS)],
    }
    for p in range(scenes):
        image = Image.new("RGB", SIZE, "white")
        for k, (x, y, w, h) in enumerate(PLACES):
            whole["annotations"].append(
                {
                    "id": 3 * p + k,
                    "image_id": p,
                    "category_id": 10 + k,
                    "bbox": [x, y, w, h],
                    "iscrowd": 0,
                }
            )
            image.paste(colour(3 * p + k), (x, y, x + w, y + h))
        image.save(root / "images" / f"{p}.png")
        whole["images"].append({"id": p, "file_name": f"{p}.png", "width": 240, "height": 180})
    for key, extra in changes.items():
        whole[key] += extra
    (root / "coco.json").write_text(json.dumps(whole))
    return root / "coco.json"


def indexed(path: Path, counts=None, **more):
    more = {"seed": 0, "size": 240, "report": lambda line: None} | more
    return detection_rows(path, path.parent / "images", counts=counts or {VLT: 6}, **more)


def made(*args, **more) -> list[dict]:
    return list(indexed(*args, **more))


def box_id(where: str) -> int:
    return int(where.rpartition("#")[2])


def views_of(row: dict) -> tuple[list[str], list[str]]:
    shown, _, seen = row["source"].partition(": ")[2].partition(" | ")
    return [w.split(" (")[0] for w in shown.split(" + ")], [seen.split(" (")[0]]


def text(row: dict) -> str:
    return " ".join(part["text"] or "" for part in row["prompt"][0]["content"])


def middle(image: Image.Image, box) -> tuple[int, int, int]:
    x1, y1, x2, y2 = absolute(box, image.size)
    return image.getpixel((int(x1 + x2) // 2, int(y1 + y2) // 2))


# ---- rows ----


def test_every_task_from_one_file(tmp_path):
    path = coco(tmp_path)
    rows = made(path, {OCT: 20, VLT: 20, ICT: 20}, size=100)
    for row in rows:
        check_row(row)
        assert max(max(image.size) for image in row["images"]) <= 100
    assert Counter(row["task"] for row in rows) == {OCT: 20, VLT: 20, ICT: 20}


def test_an_only_one_of_its_category_is_asked_for_in_words(tmp_path):
    for row in made(coco(tmp_path), {VLT: 24}):
        (shown,), _ = views_of(row)
        (image,) = row["images"]
        kind = KINDS[box_id(shown) % 3]
        assert f'"the {kind}"' in text(row)
        assert middle(image, row["box"]) == colour(box_id(shown))
        x, y, w, h = PLACES[box_id(shown) % 3]
        assert absolute(row["box"], SIZE) == pytest.approx((x, y, x + w, y + h))


def test_what_is_one_of_several_is_not_asked_for_by_its_category(tmp_path):
    more = [{"id": 90, "image_id": 0, "category_id": 10, "bbox": [2, 2, 10, 10], "iscrowd": 1}]
    rows = made(coco(tmp_path, annotations=more), {VLT: 44})
    assert {box_id(views_of(row)[0][0]) for row in rows} == set(range(1, 12)), "0 has company"


def instance(box_id: int) -> str:
    """Images 0 and 1 show the same three subjects, and so do images 2 and 3."""
    return f"{box_id // 6}.{box_id % 3}"


def test_boxes_of_one_instance_are_views_of_one_subject(tmp_path):
    path = coco(tmp_path)
    whole = json.loads(path.read_text())
    for item in whole["annotations"]:
        item["instance_id"] = instance(item["id"])
    path.write_text(json.dumps(whole))
    for row in made(path, {VLT: 30, OCT: 30}, mirrored_share=0.5):
        (shown,), (seen,) = views_of(row)
        reference, query = row["images"]
        assert colour(box_id(shown)) in {c for _, c in reference.getcolors(10**6)}
        if row["task"] == VLT:
            assert instance(box_id(shown)) == instance(box_id(seen)) and shown != seen
            assert middle(query, row["box"]) == colour(box_id(seen))
        else:
            same = instance(box_id(shown)) == instance(box_id(seen))
            assert row["answer"] == ("yes" if same else "no")


def test_what_is_with_all_others_in_every_picture_cannot_be_told_from_them(tmp_path):
    rows = indexed(coco(tmp_path, scenes=1), {OCT: 12})
    made_rows = [rows.make(OCT, i) for i in range(12)]
    # The rows with a yes go with those with a no, or an answer would be more frequent.
    assert made_rows == [Skipped("no negative available")] * 12


def test_close_ups_are_told_apart_across_images(tmp_path):
    for row in made(coco(tmp_path), {OCT: 48}, mirrored_share=0.5):
        (shown,), (seen,) = views_of(row)
        reference, query = ({c for _, c in image.getcolors(10**6)} for image in row["images"])
        same = shown == seen
        assert row["answer"] == ("yes" if same else "no")
        assert (colour(box_id(shown)) in query) == same
        assert same or shown.split("#")[0] != seen.split("#")[0]


def test_several_of_one_picture_are_captioned_together(tmp_path):
    rows = made(
        coco(tmp_path), {ICT: 60}, subject_counts={2: 1}, reference_counts={2: 1, 3: 1, 4: 1}
    )
    assert {len(row["names"]) for row in rows} >= {0, 1, 2}
    for row in rows:
        shown, (seen,) = views_of(row)
        image = seen.split("#")[0]
        here = [where for where in shown if where.startswith(image)]
        assert len(here) == len(row["names"])
        assert row["images"][-1].size == SIZE and "composite" not in row["source"]
    assert any(row["absent_names"] for row in rows)


# ---- references in words ----


def test_referring_sentences_ask_for_a_box(tmp_path):
    path = coco(tmp_path)
    refs = [
        {"ann_id": i, "sentences": [{"raw": f"thing  number {i}", "sent": "x"}, f"no. {i}"]}
        for i in (1, 4)
    ]
    (tmp_path / "refs.json").write_text(json.dumps({"refs": [*refs, {"ann_id": 99}]}))
    rows = indexed(path, {VLT: 80}, references=tmp_path / "refs.json", named_share=0.5)
    assert rows.skipped.counts == {"reference to no annotation": 1}
    said = Counter()
    for row in rows:
        i = box_id(views_of(row)[0][0])
        if i in (1, 4):
            assert f'"thing number {i}"' in text(row) or f'"no. {i}"' in text(row)
            said["<" in text(row)] += 1
    assert said[True] > 1 and said[False] > 1


@pytest.mark.parametrize("lines", [True, False])
@pytest.mark.parametrize("box_format", ["xywh", "xyxy"])
def test_references_with_boxes_of_their_own(tmp_path, lines, box_format):
    """As on the hub: no COCO file, and the sizes of images are read from the images."""
    coco(tmp_path)
    x, y, w, h = PLACES[1]
    bbox = [x, y, w, h] if box_format == "xywh" else [x, y, x + w, y + h]
    refs = [
        {"ref_id": 3 * p + 1, "file_name": f"{p}.png", "bbox": bbox, "sentences": [f"the {p}th"]}
        for p in range(4)
    ]
    path = tmp_path / "refs.json"
    path.write_text("\n".join(map(json.dumps, refs)) if lines else json.dumps(refs))
    for row in made(path, {VLT: 12}, box_format=box_format):
        i = box_id(views_of(row)[0][0])
        assert f'"the {i // 3}th"' in text(row)
        assert middle(row["images"][0], row["box"]) == colour(i)


# ---- what is skipped ----


def odd(box_id: int, bbox, **more) -> dict:
    return {"id": box_id, "image_id": 0, "category_id": 10, "bbox": bbox, "iscrowd": 0} | more


def test_boxes_that_are_of_no_use_are_counted_by_reason(tmp_path):
    good = list(PLACES[0])
    extra = [
        odd(100, good, iscrowd=1),
        odd(101, good, isfake=1),
        odd(102, good, isreflected=1),
        odd(103, [50, 50, 4, 4]),
        odd(104, [0, 40, 50, 50]),
        odd(105, [200, 40, 40, 50]),
        odd(106, good),
        odd(107, [60, 60, -30, 40]),
        odd(108, [60, 60, 30, 0]),
        odd(109, [200, 40, 90, 50]),
        odd(110, [10, 10, 225, 165]),
        odd(111, [1, 2, "x", 4]),
        odd(112, [1, 2, 3]),
        odd(113, good, image_id=77),
        odd(114, good, category_id=77),
        odd(115, good, image_id=50),
        odd(116, good, image_id=51),
        odd(117, [1, 2, 1e999, 4]),
    ]
    listed = [
        {"id": 50, "file_name": "gone.png", "width": 240, "height": 180},
        {"id": 51, "file_name": "small.png", "width": 0, "height": 180},
    ]
    path, lines = coco(tmp_path, annotations=extra, images=[*listed, "x"]), []
    rows = indexed(path, report=lines.append)
    assert rows.skipped.counts == {
        "crowd": 1,
        "drawn, not real": 1,
        "reflection": 1,
        "tiny": 1,
        "cut off by the image's edge": 2,
        "duplicate": 1,
        "inverted or empty": 2,
        "outside the image": 1,
        "fills the image": 1,
        "bbox is not four numbers": 3,
        "image not listed, or without file_name": 1,
        "image of unknown size": 1,
        "category not listed, or without a name": 1,
        "image missing on disk": 1,
        "entry that is no object": 1,
    }
    assert lines == [lines[0]] and lines[0].startswith(
        "detection: 12 boxes in 4 images used; skipped 19: "
        "3 bbox is not four numbers (111, 112, 117), "
    )


def test_filters_are_settings(tmp_path):
    path = coco(tmp_path, annotations=[odd(100, [0, 5, 50, 60]), odd(101, [1.5, 130, 45, 49.8])])
    assert indexed(path, min_margin=0).skipped.counts == {}
    assert indexed(path, min_margin=0, min_share=0.09).skipped.counts == {"tiny": 6}
    assert indexed(path, categories=["Dog"]).skipped["of another category"] == 8


def test_a_category_without_a_name_or_with_bytes_that_are_no_text(tmp_path):
    path = coco(tmp_path)
    raw = path.read_bytes().replace(b'"dog"', b'"d\xffg"').replace(b'"cat"', b'" "')
    path.write_bytes(raw)
    assert indexed(path).skipped.counts == {"category not listed, or without a name": 8}


def test_an_id_that_is_no_text_can_still_be_written(tmp_path):
    path = coco(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"id": 1,', b'"id": "\xff#1",'))
    sources = {row["source"] for row in made(path, {VLT: 24})}
    assert "detection: 0.png#?#1 (told)" in sources and all(s.encode() for s in sources)


def test_a_damaged_picture_costs_its_rows_only(tmp_path):
    path = coco(tmp_path)
    file = tmp_path / "images" / "2.png"
    file.write_bytes(file.read_bytes()[:200])
    Image.new("RGB", (50, 50)).save(tmp_path / "images" / "1.png")
    rows = indexed(path, {VLT: 36})
    rows = [rows.make(VLT, i) for i in range(36)]
    skipped = Counter(row.reason for row in rows if isinstance(row, Skipped))
    assert set(skipped) == {"truncated", "of another size than its annotations say"}
    assert skipped.total() == 18
    assert {views_of(row)[0][0][0] for row in rows if not isinstance(row, Skipped)} == {"0", "3"}


def test_a_picture_turned_by_exif_is_not_used(tmp_path):
    path = coco(tmp_path, scenes=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / "images/0.png").save(tmp_path / "images/0.png", exif=exif)
    assert indexed(path).make(VLT, 0) == Skipped("turned by EXIF, so that its boxes are uncertain")


def test_objects365_names_its_pictures_by_longer_paths(tmp_path):
    path = coco(tmp_path)
    path.write_text(path.read_text().replace('"0.png"', '"images/v1/patch3/0.png"'))
    (tmp_path / "images" / "patch3").mkdir()
    (tmp_path / "images" / "0.png").rename(tmp_path / "images" / "patch3" / "0.png")
    assert indexed(path).skipped.counts == {}


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        (None, {}, "coco.json cannot be read"),
        ('{"images": [', {}, "coco.json, line 1: is not readable JSON"),
        ('{"a": 1}', {}, r"no box in it \(found: a\); it must have COCO's images"),
        (0, {"images": "elsewhere"}, "elsewhere is no folder"),
        (0, {"box_format": "cxcywh"}, "box_format must be xywh or xyxy"),
        (0, {"min_share": 3}, "min_share must be a number from 0 to 1, not 3"),
        (0, {"min_side": -3}, "min_side must be a number from 0, not -3"),
        (
            0,
            {"min_side": 999},
            "0 boxes in 0 images used; skipped 12: 12 tiny .*; check the folder",
        ),
        (0, {"named_share": "often"}, "named_share must be from 0 to 1"),
        (0, {"counts": {"dance": 1}}, "detection gives .* there is no 'dance'"),
    ],
)
def test_what_is_impossible_is_said_in_one_sentence(tmp_path, content, more, sentence):
    path = coco(tmp_path)
    if content is None:
        path.unlink()
    elif content:
        path.write_text(content)
    more = {
        "images": tmp_path / "images",
        "seed": 0,
        "counts": {VLT: 1},
        "report": lambda line: None,
    } | more
    with pytest.raises(SourceError, match=sentence):
        detection_rows(path, **more)


# ---- boxes that leave each other in sight ----


corner = st.tuples(st.integers(0, 80), st.integers(0, 80), st.integers(5, 60), st.integers(5, 60))


@settings(max_examples=100, deadline=None)
@given(st.lists(corner, max_size=15), st.floats(0, 0.5))
def test_scenes_are_chosen_by_measure(corners, most):
    boxes = [(x, y, x + w, y + h) for x, y, w, h in corners]
    chosen = apart(boxes, most)
    assert len(chosen) == len(set(chosen)) <= 5
    for a in chosen:
        assert all(hidden(boxes[a], boxes[b]) <= most for b in chosen if a != b)
    if boxes:
        assert area(boxes[chosen[0]]) == max(map(area, boxes))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["id", "image_id", "category_id", "bbox", "name", "file_name", "sentences", "width"]
            ),
            st.none() | st.integers() | st.text() | st.lists(st.floats()),
        ),
        max_size=6,
    ),
    st.sampled_from(["images", "annotations", "categories", "refs"]),
)
def test_whatever_the_entries_hold_only_a_source_error_comes_out(tmp_path_factory, items, key):
    path = coco(tmp_path_factory.mktemp("odd"))
    whole = json.loads(path.read_text())
    whole.setdefault(key, []).extend(items)
    path.write_text(json.dumps(whole))
    found, _ = read_annotations(path)
    assert len(found) >= 12
    assert indexed(path, {OCT: 2}).make(OCT, 0)["answer"] in ("yes", "no")
