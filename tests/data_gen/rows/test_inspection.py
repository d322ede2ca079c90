"""What ``--inspect`` says of row sets, our own and foreign ones."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_gen.rows import ICT, OCT, VLT, encode_image
from data_gen.rows.inspection import inspect_rows
from launch.generate import main
from tests.data_gen.stub_rows import make, stub_row


def png(size: int) -> dict:
    return encode_image(Image.effect_noise((size, size), 60).convert("RGB"))


def file_of(path, *rows: dict):
    stored = [{**row, "images": [encode_image(image) for image in row["images"]]} for row in rows]
    pq.write_table(pa.Table.from_pylist(stored), path)


def inspected(path, tmp_path) -> tuple[dict, str]:
    said = inspect_rows(path, tmp_path / "look")
    return json.loads((tmp_path / "look/report.json").read_text()), said


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_our_own_set_is_described(tmp_path, form):
    make(tmp_path / "set", form=form)
    report, said = inspected(tmp_path / "set", tmp_path)
    assert report["rows"] == 20 and report["bad_rows"] == 0 and report["files"] == 7
    assert report["tasks"] == {ICT: 10, OCT: 10} and report["answers"] == {"yes": 10}
    assert report["names"] == {"expected": 20, "absent": 0} and report["sources"] == {"stub": 20}
    assert report["prompt_words"] == {"least": 3, "median": 3, "p95": 3, "most": 3}
    assert report["image_sizes"] == {"8x8": 20} and report["image_sides"] == [8, 8]
    assert "20 good rows, 0 bad" in said and "identity_consistency 10 (50%)" in said
    assert (tmp_path / "look/contact_sheet.png").stat().st_size > 1000


def test_duplicates_are_counted_within_rows_and_between_them(tmp_path):
    a, b, c = png(8), png(9), png(10)
    prompt = [{"role": "user", "content": [{"type": "image", "text": None}] * 2}]
    pairs = {"x": [a, b], "y": [a, c], "z": [c, c]}
    rows = [stub_row(id=i, images=pair, prompt=prompt) for i, pair in pairs.items()]
    file_of(tmp_path / "rows.parquet", *rows, {**rows[0], "images": [png(11), png(12)]})
    report, said = inspected(tmp_path / "rows.parquet", tmp_path)
    assert report["duplicates"] == {
        "rows_with_an_earlier_id": 1,
        "an_id_used_twice": "x",
        "rows_with_an_image_twice": 1,
        "images_in_several_rows": 2,
    }
    assert "1 rows with an id used before ('x')" in said


def test_bad_rows_of_an_untrusted_set_are_counted_by_reason_and_the_good_ones_described(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    half = png(64)
    half["bytes"] = half["bytes"][:-3000]  # its header is fine
    file_of(
        theirs / "a.parquet",
        stub_row(index=0),
        stub_row(index=1, images=[half]),
        stub_row(VLT, 2, box=[0, 0, 64, 64]),
        stub_row(VLT, 3, box=[0, 0, 50, 64]),
        stub_row(index=4, names=["<bo>"]),
    )
    file_of(theirs / "b.parquet", {k: v for k, v in stub_row(index=5).items() if k != "names"})
    (theirs / "c.parquet").write_bytes(b"PAR1 not really")
    report, said = inspected(theirs, tmp_path)
    assert report["rows"] == 1 and report["bad_by_reason"] == {
        "box: must be x1 y1 x2 y2 in 0-1 with x1 < x2 and y1 < y2": 2,
        "images: an image cannot be decoded": 1,
        "names: a name is not bare (write bo, not <bo>)": 1,
        "names: is missing": 1,
        "not a readable parquet file": 1,
    }
    assert "a.parquet: row 'identity_consistency-1'" in said and "bad: 2 x box" in said
    assert (tmp_path / "look/contact_sheet.png").exists()


def test_a_lost_shard_is_named(tmp_path):
    make(tmp_path / "set")
    (tmp_path / "set/data/train-00003.parquet").unlink()
    report, said = inspected(tmp_path / "set", tmp_path)
    assert report["rows"] == 17 and "lost: train-00003.parquet" in said


def test_a_set_without_one_good_row_is_described_too(tmp_path):
    file_of(tmp_path / "bad.parquet", stub_row(id=" "))
    report, said = inspected(tmp_path / "bad.parquet", tmp_path)
    assert report["rows"] == 0 and report["bad_by_reason"] == {"id: must be a non-empty string": 1}
    assert "0 good rows, 1 bad" in said and "contact_sheet" not in said


def test_the_command_prints_it(tmp_path, capsys, monkeypatch):
    make(tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    main(["--inspect", "set"])
    assert "20 good rows" in capsys.readouterr().out
    assert sorted(f.name for f in (tmp_path / "runs/inspect/set").iterdir()) == [
        "contact_sheet.png",
        "report.json",
    ]
    with pytest.raises(SystemExit, match="generate: no rows at nowhere"):
        main(["--inspect", "nowhere"])
