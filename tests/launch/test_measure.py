"""The measuring command, at a size at which nothing is worth measuring."""

import json

import pytest

from launch.measure import main, scaled


def test_it_measures_the_real_command_at_every_size(tmp_path, capfd):
    main(["--rows", "10", "40", "--out", str(tmp_path / "m"), "--rows_per_shard", "16"])
    report = json.loads((tmp_path / "m/measured.json").read_text())
    small, large = report["sizes"]
    assert (small["rows"], large["rows"], large["shards"]) == (10, 40, 3)
    assert 3_000 < large["bytes_per_row"] < 30_000
    assert 50 < large["generate"]["peak_mib"] < 2_000 and large["generate"]["cpu_s"] > 0
    assert report["peak_of_last_to_that_before"] == pytest.approx(1, abs=0.2)
    said = capfd.readouterr().out
    assert "| rows | rows/s per core | peak MiB |" in said and "\n| 40 | " in said
    assert not (tmp_path / "m/rows").exists()


def test_counts_keep_their_proportions():
    assert scaled({"a": 900, "b": 900, "c": 1200}, 200_000) == {
        "a": 60_000, "b": 60_000, "c": 80_000}
    assert sum(scaled({"a": 1, "b": 1, "c": 1}, 100).values()) == 100
