"""Detection sets as programs export them: what is ambiguous is left out, the rest is right.

Each picture shows boxes of one colour each; a colour is a category, so that a box whose words ask
for another colour than it holds is a wrong label.
"""

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.rows import OCT, VLT
from data_gen.sources.annotations import read_annotations
from data_gen.sources.coco.boxes import key_of
from data_gen.sources.detection import detection_rows

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 40),
    "blue": (30, 60, 220),
    "pink": (250, 120, 190),
}
NAMES = list(COLOURS)
SIZE = 160, 120
PLACES = ((10, 10, 40, 40), (60, 20, 40, 50), (110, 60, 40, 40))


def scenes(folder: Path, n: int = 4, name: Callable[[int], str] = "{:03d}.png".format) -> dict:
    """A right COCO file of ``n`` pictures with three boxes of different colours each."""
    data: dict = {"images": [], "annotations": [], "categories": []}
    data["categories"] = [{"id": k, "name": f"{c} block"} for k, c in enumerate(NAMES)]
    for p in range(n):
        image = Image.new("RGB", SIZE, (200, 200, 200 + p))
        for b, (x, y, w, h) in enumerate(PLACES):
            k = (p + b) % len(NAMES)
            image.paste(COLOURS[NAMES[k]], (x, y, x + w, y + h))
            data["annotations"].append(
                {"id": 3 * p + b, "image_id": p, "category_id": k, "bbox": [x, y, w, h]}
            )
        (folder / name(p)).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name(p))
        data["images"].append({"id": p, "file_name": name(p), "width": SIZE[0], "height": SIZE[1]})
    return data


def merged(folder: Path) -> dict:
    """Two files in one, of other pictures and the same ids."""
    one = scenes(folder, 2, "a{}.png".format)
    two = scenes(folder, 4, "b{}.png".format)
    # The second file's pictures 2 and 3 get the ids 0 and 1 of the first one's.
    two["images"] = [{**image, "id": image["id"] - 2} for image in two["images"][2:]]
    two["annotations"] = [
        {**box, "image_id": box["image_id"] - 2} for box in two["annotations"][6:]
    ]
    return {**one, **{key: one[key] + two[key] for key in ("images", "annotations")}}


def write(folder: Path, data: dict) -> Path:
    (folder / "coco.json").write_text(json.dumps(data))
    return folder / "coco.json"


def rows_of(tmp_path: Path, data: dict, counts: dict | None = None, **more):
    path = write(tmp_path, data)
    more = {
        "named_share": 0,
        "mirrored_share": 0,
        "side": "long",
        "size": 160,
        "min_side": 16,
    } | more
    return detection_rows(
        path, tmp_path / "images", seed=0, counts=counts or {VLT: 12}, report=lambda _: None, **more
    )


def wrong_boxes(rows) -> int:
    """How many boxes hold another colour than their words ask for."""
    wrong = 0
    for row in rows:
        text = " ".join(part["text"] or "" for part in row["prompt"][0]["content"])
        asked = next(name for name in NAMES if f"{name} block" in text)
        x1, y1, x2, y2 = row["box"]
        image = row["images"][-1]
        middle = image.getpixel(
            (int((x1 + x2) / 2 * image.width), int((y1 + y2) / 2 * image.height))
        )
        wrong += max(abs(a - b) for a, b in zip(middle, COLOURS[asked], strict=True)) > 40
    return wrong


def each(key: str, change: Callable[[dict], dict]) -> Callable[[dict], dict]:
    """Change every entry of one list of a file."""
    return lambda data: {**data, key: [change(dict(entry)) for entry in data[key]]}


def without(*keys: str) -> Callable[[dict], dict]:
    return lambda entry: {k: v for k, v in entry.items() if k not in keys}


def both(*changes: Callable[[dict], dict]) -> Callable[[dict], dict]:
    def change(data: dict) -> dict:
        for one in changes:
            data = one(data)
        return data

    return change


# ---- what is read otherwise, and right ----

READ = {
    "float ids everywhere": both(
        each("images", lambda e: e | {"id": float(e["id"])}),
        each("annotations", lambda e: e | {"image_id": float(e["image_id"])}),
    ),
    "float ids in boxes only": each(
        "annotations", lambda e: e | {"image_id": float(e["image_id"])}
    ),
    "ids as texts": each("annotations", lambda e: e | {"image_id": f" {e['image_id']}.0"}),
    "float category ids": each(
        "annotations", lambda e: e | {"category_id": float(e["category_id"])}
    ),
    "a crowd flag in quotes": each("annotations", lambda e: e | {"iscrowd": "0"}),
    "a crowd flag in words": each("annotations", lambda e: e | {"iscrowd": "False"}),
    "a crowd flag among attributes": each(
        "annotations", lambda e: e | {"attributes": {"iscrowd": 0.0, "ignore": "no"}}
    ),
    "no turn, or half of one": each(
        "annotations", lambda e: e | {"attributes": {"rotation": 180.0 * (e["id"] % 3)}}
    ),
    "polygons only": each(
        "annotations",
        lambda e: (
            without("bbox")(e)
            | {"segmentation": [[x for corner in corners(e["bbox"]) for x in corner]]}
        ),
    ),
    "polygons of pairs": each(
        "annotations", lambda e: without("bbox")(e) | {"segmentation": corners(e["bbox"])}
    ),
    "polygons in two parts beside an empty bbox": each(
        "annotations",
        lambda e: (
            e
            | {
                "bbox": [0, 0, 0, 0],
                "segmentation": [
                    [x for corner in corners(half) for x in corner] for half in halves(e["bbox"])
                ],
            }
        ),
    ),
    "annotations before images": lambda data: dict(reversed(data.items())),
    "an image listed twice alike": lambda data: data | {"images": data["images"] * 2},
    "sizes as texts": each("images", lambda e: e | {"width": "160", "height": 120.0}),
}


def corners(box) -> list[list[float]]:
    x, y, w, h = box
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


def halves(box) -> list[list[float]]:
    x, y, w, h = box
    return [[x, y, w / 2, h], [x + w / 2, y, w / 2, h]]


@pytest.mark.parametrize("kind", READ)
def test_files_that_are_written_otherwise_are_right(tmp_path, kind):
    data = READ[kind](scenes(tmp_path / "images"))
    rows = rows_of(tmp_path, data)
    assert not rows.skipped and len(list(rows)) == 12
    assert wrong_boxes(rows) == 0


# ---- what is left out, with its reason and an example ----

LEFT_OUT = {
    "merged files": (None, "image id of two images", 12, "0: a0.png and b2.png"),
    "an id for two sizes": (
        lambda data: data | {"images": [*data["images"], data["images"][0] | {"width": 99}]},
        "image id of two images",
        3,
        "0: 000.png of 160x120 and 99x120",
    ),
    "a category id with two names": (
        lambda data: data | {"categories": [*data["categories"], {"id": 0.0, "name": "old block"}]},
        "category id of two categories",
        3,
        "0: red block and old block",
    ),
    "a category id with two names, of which another id has one": (
        lambda data: (
            data
            | {
                "annotations": [
                    data["annotations"][0] | {"category_id": 9},
                    *data["annotations"][1:],
                ],
                "categories": [
                    *data["categories"],
                    *({"id": 9, "name": f"{name} block"} for name in ("red", "old")),
                ],
            }
        ),
        "category id of two categories",
        1,
        "0: red block and old block",
    ),
    "pictures without ids": (
        lambda data: data | {"images": [without("id")(data["images"][0]), *data["images"][1:]]},
        "image not listed, or without file_name",
        3,
        "0",
    ),
    "boxes without image_id": (
        lambda data: (
            data
            | {
                "annotations": [
                    without("image_id")(data["annotations"][0]),
                    *data["annotations"][1:],
                ]
            }
        ),
        "box without an image_id",
        1,
        "0",
    ),
    "an id that is no number": (
        lambda data: (
            data
            | {
                "annotations": [
                    data["annotations"][0] | {"image_id": 0.5},
                    *data["annotations"][1:],
                ]
            }
        ),
        "box without an image_id",
        1,
        "0",
    ),
    "boxes without category_id": (
        lambda data: (
            data
            | {
                "annotations": [
                    without("category_id")(data["annotations"][0]),
                    *data["annotations"][1:],
                ]
            }
        ),
        "category not listed, or without a name",
        1,
        "0",
    ),
    "one file listed twice": (
        lambda data: (
            data | {"images": [*data["images"][:-1], data["images"][-1] | {"file_name": "000.png"}]}
        ),
        "one file for several listed images",
        2,
        "000.png",
    ),
    "a crowd in quotes": (
        lambda data: (
            data
            | {"annotations": [data["annotations"][0] | {"iscrowd": "1"}, *data["annotations"][1:]]}
        ),
        "crowd",
        1,
        "0",
    ),
    "a turned box": (
        lambda data: (
            data
            | {
                "annotations": [
                    data["annotations"][0] | {"attributes": {"rotation": "45.0"}},
                    data["annotations"][1] | {"rotation": -90},
                    data["annotations"][2] | {"attributes": {"rotation": "left"}},
                    *data["annotations"][3:],
                ]
            }
        ),
        "rotated",
        3,
        "0",
    ),
    "a mask only": (
        lambda data: (
            data
            | {
                "annotations": [
                    without("bbox")(data["annotations"][0])
                    | {"segmentation": {"counts": "x", "size": [1, 1]}},
                    *data["annotations"][1:],
                ]
            }
        ),
        "no bbox, mask only (pycocotools.mask.toBbox makes one)",
        1,
        "0",
    ),
    "Roboflow's augmented copies": (
        lambda data: data,
        "in an augmented copy of another image",
        9,
        "3",
    ),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_ambiguous_is_left_out_and_the_rest_is_right(tmp_path, kind):
    change, reason, n, example = LEFT_OUT[kind]
    folder = tmp_path / "images"
    if change is None:
        data = merged(folder)
        data["images"] += (more := scenes(folder, 8, "c{}.png".format))["images"][2:]
        data["annotations"] += more["annotations"][6:]
    else:
        form = "dog_png.rf.{:08x}.png" if "Roboflow" in kind else "{:03d}.png"
        data = change(scenes(folder, 4, form.format))
    if "Roboflow" in kind:
        data["images"] += (more := scenes(folder, 8, "{:03d}.png".format))["images"][4:]
        data["annotations"] += more["annotations"][12:]
    rows = rows_of(tmp_path, data)
    assert rows.skipped[reason] == n and rows.skipped.places(reason)[0] == example
    assert wrong_boxes(rows) == 0


@pytest.mark.parametrize(
    "value",
    [None, True, "", " ", math.nan, math.inf, 1e300, 2.5, [1], {"id": 1}],
)
def test_what_is_no_id(value):
    assert key_of(value) is None


def test_ids_are_numbers_or_texts():
    assert {key_of(v) for v in (3, 3.0, "3", "3.0", " 3 ", "3.00")} == {"3"}
    assert key_of("1.10") == "1.10" != key_of("1.1") and key_of(-0.0) == "0"
    assert key_of("a.0") == "a.0" and key_of("007") == "007"


def test_a_reference_to_an_id_that_two_boxes_have_is_not_used(tmp_path):
    data = scenes(tmp_path / "images")
    data["annotations"][1]["id"] = 0
    path = write(tmp_path, data)
    refs = tmp_path / "refs.json"
    refs.write_text(
        json.dumps([{"ann_id": 0, "sentences": ["left"]}, {"ann_id": 5.0, "sentences": ["x"]}])
    )
    found, skipped = read_annotations(path, refs)
    assert found.described == {5: ("x",)}
    assert skipped.counts == {"reference to an id that several boxes have": 1}
    assert len(set(found.ids)) == len(found) == 12


def test_two_categories_of_one_name_are_one(tmp_path):
    """…or else "the red block" would be asked for where there are two."""
    data = scenes(tmp_path / "images")
    data["categories"].append({"id": 9, "name": " Red  block"})
    for box in data["annotations"]:
        if box["category_id"] == 1:
            box["category_id"] = 9
    rows = rows_of(tmp_path, data, {VLT: 24})
    texts = [" ".join(p["text"] or "" for p in row["prompt"][0]["content"]) for row in rows]
    both_red = {p for p in range(4) if {0, 1} <= {(p + b) % 4 for b in range(3)}}
    for row, text in zip(rows, texts, strict=True):
        assert not ("red block" in text and int(row["source"].split(": ")[1][:3]) in both_red)


# ---- the same thing across pictures ----


def tracked(folder: Path, videos: int = 3, frames: int = 3) -> dict:
    """Two toys a video, all of one category; a toy has one colour, and no two videos share one."""
    data: dict = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "toy"}]}
    for v in range(videos):
        for f in range(frames):
            place = len(data["images"])
            image = Image.new("RGB", SIZE, (200, 200, 200))
            for t in range(2):
                x, y = 10 + 70 * t + 5 * f, 10 + 10 * f
                image.paste(toy_colour(v, t), (x, y, x + 50, y + 50))
                box = {"id": 2 * place + t, "image_id": place, "category_id": 0}
                data["annotations"].append(box | {"bbox": [x, y, 50, 50], "track": (v, t)})
            name = f"v{v}/{f}.png"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / name)
            data["images"].append({"id": place, "file_name": name, "width": 160, "height": 120})
    return data


def toy_colour(video: int, toy: int) -> tuple[int, int, int]:
    return 40 + 60 * video, 220 - 170 * toy, 60 + 50 * ((video + toy) % 3)


def with_tracks(data: dict, change: Callable[[int, int], dict], videos: bool = False) -> dict:
    for box in data["annotations"]:
        v, t = box.pop("track")
        box |= change(v, t)
    for image in data["images"] if videos else []:
        image["video_id"] = int(image["file_name"][1])
    return data


def toy_of(where: str) -> tuple[int, int]:
    """Video and toy of a box, by its id: two boxes an image, three images a video."""
    box = int(where.rpartition("#")[2])
    return box // 6, box % 2


def tally(rows) -> dict[str, int]:
    """Answers of object consistency that are right and wrong, by the toys of both boxes."""
    found = dict.fromkeys(("yes right", "yes wrong", "no right", "no wrong"), 0)
    for row in rows:
        shown = row["source"].removeprefix("detection: ").rpartition(" (")[0].split(" | ")
        right = (len(set(map(toy_of, shown))) == 1) == (row["answer"] == "yes")
        found[f"{row['answer']} {'right' if right else 'wrong'}"] += 1
    return found


TRACKS = {
    "CVAT's attributes": (
        lambda v, t: {"attributes": {"track_id": 2 * v + t, "rotation": 0.0}},
        False,
    ),
    "in other letters": (lambda v, t: {"attributes": {"Track ID": f"{2 * v + t}.0"}}, False),
    "one number for a thing": (lambda v, t: {"instance_id": float(2 * v + t)}, False),
    "numbered anew in each video": (lambda v, t: {"track_id": t}, True),
    "numbered anew in each folder": (lambda v, t: {"track_id": t}, False),
    "an instance of its video": (lambda v, t: {"instance_id": t}, True),
}


@pytest.mark.parametrize("kind", TRACKS)
def test_what_is_the_same_thing_is_known_across_pictures(tmp_path, kind):
    change, videos = TRACKS[kind]
    data = with_tracks(tracked(tmp_path / "images"), change, videos)
    rows = rows_of(tmp_path, data, {OCT: 24})
    found = tally(rows)
    assert not found["yes wrong"] and not found["no wrong"]
    assert found["yes right"] == 12 and found["no right"] == 12


NONE = {
    "minus one": (lambda v, t: {"track_id": -1}, True),
    "null": (lambda v, t: {"attributes": {"track_id": None}}, False),
    "a text for none": (lambda v, t: {"track_id": "None"}, False),
    "one number for all": (lambda v, t: {"instance_id": 7}, False),
}


@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_track(tmp_path, kind):
    change, videos = NONE[kind]
    path = write(tmp_path, with_tracks(tracked(tmp_path / "images"), change, videos))
    found, _ = read_annotations(path)
    assert not found.instance and not found.flag


def test_zero_for_every_box_is_no_track_and_no_no_within_a_video(tmp_path):
    data = with_tracks(tracked(tmp_path / "images"), lambda v, t: {"track_id": 0}, True)
    found, _ = read_annotations(write(tmp_path, data))
    assert not found.instance and len(set(found.alike.values())) == 3


def test_a_track_that_shows_twice_in_a_picture_is_left_out(tmp_path):
    data = with_tracks(tracked(tmp_path / "images"), lambda v, t: {"track_id": 2 * v + t})
    data["annotations"][1]["track_id"] = 0
    rows = rows_of(tmp_path, data, {OCT: 8})
    assert rows.skipped["an instance twice in one image"] == 2
    assert tally(rows)["no wrong"] == 0


def test_one_id_in_two_categories_is_neither_yes_nor_no(tmp_path):
    data = with_tracks(tracked(tmp_path / "images"), lambda v, t: {"track_id": v})
    data["categories"].append({"id": 1, "name": "car"})
    for box in data["annotations"][1::2]:
        box["category_id"] = 1
    found, _ = read_annotations(write(tmp_path, data))
    assert len(set(found.instance.values())) == 6 and len(found.alike) == 18
    assert tally(rows_of(tmp_path, data, {OCT: 12}))["yes wrong"] == 0


# ---- the format of boxes, and files of other formats ----


def as_corners(entry: dict) -> dict:
    x, y, w, h = entry["bbox"]
    return entry | {"bbox": [x, y, x + w, y + h]}


def as_fractions(entry: dict) -> dict:
    x, y, w, h = entry["bbox"]
    return entry | {"bbox": [x / 160, y / 120, w / 160, h / 120]}


@pytest.mark.parametrize(
    ("change", "more", "sentence"),
    [
        (
            as_corners,
            {},
            r"4 of 12 boxes lie outside .* as box_format: xywh, such as .*; set box_format: xyxy",
        ),
        (lambda e: e, {"box_format": "xyxy"}, r"set box_format: xywh, which fits 12"),
        (as_fractions, {}, "they are fractions of their images; write pixels"),
    ],
)
def test_boxes_in_another_format_are_refused_with_the_one_that_fits(
    tmp_path, change, more, sentence
):
    data = each("annotations", change)(scenes(tmp_path / "images"))
    with pytest.raises(SourceError, match=sentence):
        rows_of(tmp_path, data, **more)
    if change is as_corners:
        assert wrong_boxes(rows_of(tmp_path, data, box_format="xyxy")) == 0


def test_a_few_odd_boxes_are_no_other_format(tmp_path):
    data = scenes(tmp_path / "images")
    data["annotations"][0]["bbox"] = [150, 20, 40, 40]
    assert rows_of(tmp_path, data).skipped.counts == {"outside the image": 1}


OTHERS = {
    "RefCOCO's pickle": (pickle.dumps([{"ref_id": 0}], 0), "is a pickle.*convert it once"),
    "a newer pickle": (pickle.dumps([{"ref_id": 0}], 4), "is a pickle"),
    "CVAT's XML": (b'<?xml version="1.0"?>\n<annotations><version>1.1', "CVAT's own XML.*COCO 1.0"),
    "Pascal VOC": (b"<annotation><folder>x", "Pascal VOC"),
    "YOLO": (b"0 0.5 0.5 0.2 0.25\n1 0.1 0.1 0.1 0.1\n", "YOLO's text"),
    "a zip": (b"PK\x03\x04" + bytes(50), "is a zip file; unpack it"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "is a gzip file"),
    "LabelMe": (
        b'{"version": "5", "shapes": [{"points": []}], "imagePath": "a.jpg"}',
        "LabelMe's file",
    ),
    "Label Studio": (
        b'[{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}]',
        "Label Studio's own",
    ),
    "VIA": (b'{"_via_settings": {}, "_via_img_metadata": {}}', "VIA's project"),
    "nothing": (b'{"images": []}', "it must have COCO's images"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_files_of_other_formats_are_named_with_the_way_to_coco(tmp_path, kind):
    content, sentence = OTHERS[kind]
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=sentence):
        read_annotations(path)


def test_a_folder_of_labels_is_no_file(tmp_path):
    (tmp_path / "0.txt").write_text("0 0.5 0.5 0.2 0.2")
    with pytest.raises(SourceError, match=r"is a folder \(of .txt\).*YOLO"):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ({"description": "Exported from roboflow.com"}, "Roboflow's COCO"),
        ({"contributor": "Label Studio"}, "Label Studio's COCO"),
        ({"description": "labelme2coco"}, "LabelMe's COCO"),
        ({"contributor": "", "url": "https://app.cvat.ai"}, "CVAT's COCO"),
    ],
)
def test_the_line_says_which_program_wrote_the_file(tmp_path, info, name):
    lines = []
    path = write(tmp_path, {"info": info, **scenes(tmp_path / "images")})
    detection_rows(
        path,
        tmp_path / "images",
        seed=0,
        counts={VLT: 2},
        size=160,
        min_side=16,
        report=lines.append,
    )
    assert lines == [f"detection: 12 boxes in 4 images of {name} used"]
