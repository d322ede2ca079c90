"""Untrusted files: pictures that are programs or bombs, JSON with one bad entry, row sets that
unfold to gigabytes or wait for ever. Whatever is wrong is named, and the rest is used."""

import io
import json
import os
import signal
import subprocess
import tarfile
import time
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from benchmarks.captions.scores import CaptionSettings
from benchmarks.formats.captions import read_captions
from benchmarks.formats.files import find_image, read_database, read_json
from benchmarks.harness.predictions import read_replies
from concepts.concept import Concept
from concepts.database import Database
from concepts.index import read_index
from concepts.methods.prompting import load_templates
from data_gen.files.errors import InputError, SourceError
from data_gen.files.files import kept_lines
from data_gen.files.json_stream import json_items
from data_gen.files.settings import read_settings, read_yaml
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError, open_image_bytes, open_photo
from data_gen.negatives.table import read_neighbours
from data_gen.preferences.users import read_vocabulary
from data_gen.rows import ICT, OCT, RowError, encode_image, read_rows, write_rows
from data_gen.rows.contact_sheet import contact_sheet
from data_gen.rows.contract import check_row
from data_gen.rows.inspection import inspect_rows
from data_gen.rows.reading import files_of, stored_rows
from data_gen.sources.annotations import read_annotations
from data_gen.sources.photo_folders import read_classes
from data_gen.synthesis.object_texts import read_objects
from data_gen.tasks.prompts import load_prompts
from rewards.names import find_names
from tests.data_gen.stub_rows import stub_row
from tests.places import ROOT

DEEP = "[" * 50_000 + "]" * 50_000
LONG = "9" * 5000
WHERE = "48.137 N 11.575 E"


def refusal(path) -> str:
    with pytest.raises(PhotoError) as error:
        open_photo(path, 64)
    return str(error.value)


# ---- pictures ----


def test_a_postscript_picture_runs_no_program(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n%%EndComments\nshowpage\n"
    (tmp_path / "photo.jpg").write_bytes(eps)
    assert refusal(tmp_path / "photo.jpg") == "not an image"
    with pytest.raises(RowError, match="is damaged or no image"):
        check_row(stub_row(images=[{"bytes": eps, "path": None}]))
    assert not ran.exists()


def test_only_one_place_opens_pictures():
    """Everything else asks :func:`data_gen.images.photos.open_picture`."""
    rooms = ["benchmarks", "concepts", "data_gen", "launch", "rewards", "rl"]
    found = subprocess.run(
        ["grep", "-rlE", r"Image\.open\(|imread\(", "--include=*.py", *rooms],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == ["data_gen/images/photos.py"]


@pytest.mark.parametrize("form", ["heic", "avif"])
def test_photos_of_phones_are_opened_upright_and_plain(tmp_path, form):
    if form == "heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x010E] = WHERE
    Image.new("RGB", (60, 40), "red").save(tmp_path / f"a.{form}", exif=exif)
    photo = open_photo(tmp_path / f"a.{form}", 100)
    assert photo.size == (60, 40) and photo.getpixel((9, 9))[0] > 240 and photo.info == {}


def test_a_picture_that_grows_to_gigabytes_is_refused_by_its_header():
    def chunk(kind: bytes, data: bytes) -> bytes:

        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    side = 10_000  # 16 bits of red, green, blue and alpha each
    head = side.to_bytes(4, "big") * 2 + bytes([16, 6, 0, 0, 0])
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"x") + chunk(b"IEND", b"")
    with pytest.raises(PhotoError, match="too large"):
        open_image_bytes(bomb)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b.jpg", "\ud800.jpg"])
def test_what_cannot_be_the_name_of_a_file_is_none(tmp_path, name):
    assert refusal(str(tmp_path / name)).startswith("name ")
    assert find_image(name, {"": tmp_path}) is None
    problem = stub_row(images=[{"bytes": None, "path": name}])
    with pytest.raises(RowError, match="its file is not there"):
        check_row(problem)


def private(path):
    """A photo that says where it was taken, in every way that a PNG or JPEG has."""
    exif = Image.Exif()
    exif[0x010E] = WHERE
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Comment", WHERE)
        image.save(path, exif=exif, pnginfo=text, icc_profile=WHERE.encode() * 9)
    else:
        image.save(path, exif=exif, comment=WHERE.encode(), icc_profile=WHERE.encode() * 9)
    assert WHERE.encode() in path.read_bytes()
    return path


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_where_a_photo_was_taken_stays_with_the_photo(tmp_path, ending):
    photo = private(tmp_path / f"me.{ending}")
    opened = [open_photo(photo, 100), open_image_bytes(photo.read_bytes()), Image.open(photo)]
    for form in ("png", "jpeg"):
        for image in opened:
            assert WHERE.encode() not in encode_image(image, form)["bytes"]
    database = Database(tmp_path / "mine" / "database.json")
    database.add(Concept("bo", (str(photo),)))
    for file in (tmp_path / "mine").rglob("*"):
        assert file.is_dir() or WHERE.encode() not in file.read_bytes(), file
        assert file.is_dir() or str(tmp_path).encode() not in file.read_bytes(), file


def test_a_row_keeps_no_path_of_the_machine_that_made_it(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    row = stub_row(images=[{"bytes": None, "path": str(tmp_path / "a.png")}])
    write_rows([row], tmp_path / "set", seed=0, generator="stub")
    for file in (tmp_path / "set").rglob("*.parquet"):
        assert str(tmp_path).encode() not in file.read_bytes()


# ---- pipes ----

READERS = {
    "config": lambda path: read_yaml(path),
    "options": lambda path: read_settings(["--config", str(path)], CaptionSettings, program="x"),
    "benchmark": read_json,
    "captions": read_captions,
    "boxes": read_annotations,
    "items": lambda path: list(json_items(path)),
    "lines": kept_lines,
    "prompts of rows": load_prompts,
    "prompts of methods": load_templates,
    "terms": read_vocabulary,
    "classes": read_classes,
    "negatives": lambda path: read_neighbours(path, []),
    "index": lambda path: read_index(path, path),
    "texts": lambda path: read_objects(path, SkippedItems(), need_scenes=False),
    "database": lambda path: Database(path).concepts(),
}
"""Whatever is read of a user's or a stranger's -> its reader."""


@pytest.mark.parametrize("what", READERS)
def test_nothing_waits_at_a_pipe(tmp_path, what):
    os.mkfifo(tmp_path / "pipe")

    def late(*_):
        raise AssertionError("it waits for somebody to write")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    try:
        with pytest.raises((OSError, InputError), match="pipe or a device|is no file"):
            READERS[what](tmp_path / "pipe")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ---- JSON with one bad entry ----


@pytest.mark.parametrize("bad", [DEEP, LONG, f'{{"id": {LONG}}}', '"\\ud800"', "null", "[NaN]"])
def test_one_bad_entry_costs_that_entry(tmp_path, bad):
    good = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    image = json.dumps({"id": 1, "file_name": "a.jpg", "width": 9, "height": 9})
    (tmp_path / "coco.json").write_text(
        f'{{"images": [{bad}, {image}, {{"id": {LONG}, "width": {LONG}}}],'
        f'"annotations": [{bad}, {json.dumps(good)},'
        f'{{"id": 3, "image_id": 1, "bbox": [0, 0, {"9" * 400}, 1]}}]}}'
    )
    found, _ = read_annotations(tmp_path / "coco.json")
    assert "a.jpg" in found.files and found.box(found.ids.index("2")) == (1, 2, 4, 6)
    (tmp_path / "captions.json").write_text(f'[{bad}, ["a.jpg", ["<bo>"], "<bo> sits"]]')
    captions, skipped = read_captions(tmp_path / "captions.json")
    assert [caption.text for caption in captions] == ["<bo> sits"] and skipped.total == 1


def test_a_mistake_is_named_without_reading_gigabytes_more(tmp_path):
    (tmp_path / "a.json").write_text("[1.2.3, " + "1, " * 3_000_000 + "1]")
    start = time.process_time()
    with pytest.raises(SourceError, match="line 1: is not readable JSON"):
        list(json_items(tmp_path / "a.json"))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("bad", [DEEP, LONG, '"\\ud800"', '{"image": 7}'])
def test_one_bad_entry_of_a_database_costs_that_entry_and_is_kept(tmp_path, bad):
    file = tmp_path / "database.json"
    file.write_text(f'{{"concept_dict": {{"<bo>": {{"name": "bo"}}, "<mi>": {bad}}}}}')
    assert list(Database(file, need_images=False).concepts()) == ["bo"]
    assert list(read_database(file)[0]) == ["bo"]
    assert read_json(file)["concept_dict"]["<bo>"] == {"name": "bo"}


def test_damaged_lines_of_predictions_are_asked_again(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"a": 1}\n{"b": "\xff"}\n' + DEEP.encode() + b'\nnull\n{"c": 3}\n{"d"')
    assert kept_lines(file) == [{"a": 1}, {"c": 3}]


def test_lines_that_are_no_predictions_are_passed_over(tmp_path):
    good = {"id": "a", "text": "<bo>", "n_tokens": 3, "made_from": ["x", "y", 5]}
    bad = [{"text": None}, {"id": ["a"]}, {"n_tokens": "3"}, {"concepts": 7}, {"made_from": None}]
    lines = [json.dumps(entry).encode() for entry in (*(good | change for change in bad), good)]
    (tmp_path / "set.jsonl").write_bytes(b"\n".join([*lines, b'{"id": "b", "text": "\xff"}']))
    (tmp_path / "set.likelihoods.jsonl").write_text('{"id": [1], "scores": 1}\n')
    replies, likelihoods, makers = read_replies(tmp_path / "set.jsonl")
    assert list(replies) == ["a"] and replies["a"].text == "<bo>"
    assert likelihoods == {} and makers == {"x"}


# ---- rows ----


@pytest.mark.parametrize(
    "changes",
    [
        {"task": []},
        {"id": {"deep": [[[[[[[[]]]]]]]]}},
        {"id": int("9" * 400)},
        {"id": "\ud800"},
        {"answer": "\udfff"},
        {"box": [0, 0, int("9" * 400), 1]},
        {"box": [0, 0, 10**5000, 1]},
        {"images": [{"bytes": None, "path": 7}]},
        {"images": [{"bytes": "text", "path": None}]},
        {"images": [7]},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}]},
        {"prompt": [{"role": ["user"], "content": []}]},
        {"names": ["bo", "\ud800"]},
        {"names": [7]},
    ],
)
def test_whatever_a_row_holds_only_a_row_error_comes_out(changes):
    with pytest.raises(RowError) as error:
        check_row(stub_row(**changes))
    assert len(str(error.value)) < 500 and str(error.value).encode()


@pytest.mark.parametrize(
    "names",
    [
        ["_"],
        ["\u200d"],
        ["\u3000"],
        ["bo", "ｂｏ"],
        ["Bull_dog", "bull dog"],
        ["/"],
        ["/bo"],
        ["＜bo＞"],
    ],
)
def test_names_that_the_contract_lets_pass_are_names_to_the_rewards(names):
    with pytest.raises(RowError, match="column 'names'"):
        check_row(stub_row(names=names))


@pytest.mark.parametrize(
    "name", ["bo", "Zoë", "小明", "👨‍👩‍👧", "black widow", "a/b", "O'Neil", "é"]
)
def test_a_name_of_the_contract_can_be_written(name):
    check_row(stub_row(names=[name]))
    assert find_names(f"Here is <{name}>.", [name]).written == {name}


def tar_of(path, **members: bytes):
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("bad", [DEEP, LONG, "[]", '{"id": "a"'])
def test_a_tar_with_a_bad_row_gives_the_others(tmp_path, bad):
    row = json.dumps({**stub_row(images=[]), "images": None}).encode()
    tar_of(tmp_path / "a.tar", a__json=bad.encode(), b__json=row)
    found = list(stored_rows(tmp_path / "a.tar"))
    assert [isinstance(one, RowError) for one in found] == [True, False]


def test_a_set_with_a_pipe_in_it_does_not_wait_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(RowError, match="is no file"):
        read_rows(tmp_path)


def test_pictures_of_a_set_lie_in_it(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link.png").symlink_to(tmp_path / "private.png")
    for path in (tmp_path / "private.png", tmp_path / "set/link.png"):
        row = {**stub_row(), "images": [{"bytes": None, "path": str(path)}]}
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "set/a.parquet")
        with pytest.raises(RowError, match="lies outside of the row set"):
            read_rows(tmp_path / "set")


def untrusted(path, *rows: dict, **columns):
    stored = [{**row, "images": [encode_image(image) for image in row["images"]]} for row in rows]
    pq.write_table(pa.Table.from_pylist([row | columns for row in stored]), path)


def test_tasks_that_are_lists_are_counted_as_bad(tmp_path):
    untrusted(tmp_path / "a.parquet", stub_row(index=1), task=["x"])
    report = inspect_rows(tmp_path / "a.parquet", tmp_path / "look")
    assert "0 good rows, 1 bad" in report and "must be a non-empty string" in report


def test_a_set_without_names_or_answers_is_described(tmp_path):
    row = stub_row(task="counting", names=[], answer=None)
    untrusted(tmp_path / "a.parquet", row | {"names": ["bo"], "id": "x"}, row | {"names": []})
    assert "2 good rows" in inspect_rows(tmp_path / "a.parquet", tmp_path / "look")
    write_rows([row], tmp_path / "none", seed=0, generator="stub")
    report = inspect_rows(tmp_path / "none", tmp_path / "look")
    assert "names in prompts: none" in report and "answers: none" in report


@pytest.mark.parametrize("word", ["word ", "太", "\u0e01"])
def test_a_contact_sheet_of_long_texts_takes_no_longer(tmp_path, word):
    text = word * (20_000 // len(word))
    parts = [{"type": "image", "text": None}, {"type": "text", "text": text}]
    rows = [
        stub_row(OCT, i, id=f"{i}" + text, prompt=[{"role": "user", "content": parts}])
        for i in range(8)
    ]
    rows += [stub_row(ICT, 9, names=[f"bo{i}" for i in range(2000)])]
    start = time.process_time()
    contact_sheet(rows, tmp_path / "sheet.png")
    assert time.process_time() - start < 8


@pytest.mark.parametrize("how", ["one long text in every row", "zeros"])
def test_a_small_file_that_unfolds_to_gigabytes_is_refused(tmp_path, how):
    long = pa.array(["x" * (80 * 2**20)])
    rows = 40 if how.startswith("one") else 1
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), long)
    table = pa.table({"id": column, "task": pa.array(["t"] * rows)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    (error,) = stored_rows(tmp_path / "a.parquet", ["id", "task"])
    assert isinstance(error, RowError) and "unfolds" in str(error)
    assert files_of(tmp_path) == [tmp_path / "a.parquet"]
