"""The measuring command, at a size at which nothing is worth measuring."""

import json

import pytest

from data_gen.sources.pair_parquet import light_rows, parquet_files
from launch.tools import bench_data
from launch.tools.bench_data import main, repeat_pairs, scaled
from tests.data_gen.pair_rows import row, write


def test_it_measures_the_real_command_at_every_size(tmp_path, capfd):
    for name in ("rows", "pairs", "inspected"):  # as below `runs`: somebody's
        (tmp_path / "m" / name).mkdir(parents=True)
        (tmp_path / "m" / name / "thesis.tex").write_text("precious")
    main(["--rows", "10", "40", "--out", str(tmp_path / "m"), "--rows_per_shard", "16"])
    report = json.loads((tmp_path / "m/measured.json").read_text())
    small, large = report["sizes"]
    assert (small["rows"], large["rows"], large["shards"]) == (10, 40, 3)
    assert 3_000 < large["bytes_per_row"] < 30_000
    assert 50 < large["generate"]["peak_mib"] < 2_000 and large["generate"]["cpu_s"] > 0
    assert report["peak_of_last_to_that_before"] == pytest.approx(1, abs=0.2)
    assert report["reading_and_cropping_to_decoding"] is None
    said = capfd.readouterr().out
    assert "| rows | rows/s per core | peak MiB |" in said and "\n| 40 | " in said
    left = sorted(f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*") if f.is_file())
    kept = ["m/inspected/thesis.tex", "m/measured.json", "m/pairs/thesis.tex", "m/rows/thesis.tex"]
    assert left == kept


def test_a_few_pairs_are_repeated_and_read_again(tmp_path, capfd):
    few = write(tmp_path / "few/a.parquet", [row(i) for i in range(3)])
    main(
        [
            "--config",
            "configs/data/subjects200k.yaml",
            "--pairs",
            str(few),
            "--rows",
            "12",
            "--size",
            "24",
            "--out",
            str(tmp_path / "m"),
        ]
    )
    report = json.loads((tmp_path / "m/measured.json").read_text())
    assert report["sizes"][0]["rows"] == 12
    assert 0 < report["reading_and_cropping_to_decoding"] < 3
    said = capfd.readouterr().out
    assert "% of the rate of decoding" in said


def test_repeated_pairs_are_in_order_and_take_no_room(tmp_path, monkeypatch):
    few = write(tmp_path / "few/a.parquet", [row(i) for i in range(3)])
    monkeypatch.setattr(bench_data, "PART_ROWS", 4)
    repeat_pairs(few, tmp_path / "many", 10)
    files = parquet_files(tmp_path / "many")
    items = [light["description"]["item"] for file in files for _, light in light_rows(file, {})]
    assert items == [f"Item {i} vase" for i in (0, 1, 2, 0, 0, 1, 2, 0, 0, 1)]
    assert files[0].stat().st_ino == files[1].stat().st_ino != files[2].stat().st_ino


def test_counts_keep_their_proportions():
    assert scaled({"a": 900, "b": 900, "c": 1200}, 200_000) == {
        "a": 60_000,
        "b": 60_000,
        "c": 80_000,
    }
    assert sum(scaled({"a": 1, "b": 1, "c": 1}, 100).values()) == 100
