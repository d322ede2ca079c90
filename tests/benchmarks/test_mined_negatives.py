"""Mined negatives as a benchmark, asked by the command that mines them."""

import json

import pytest

from benchmarks.mined_negatives import most_confused
from data_gen.generators import open_source
from data_gen.negatives.table import read_neighbours, write_neighbours
from launch.tools.mine_negatives import main


def test_the_policy_is_asked_about_three_kinds_of_negatives(policy_dir, tmp_path, capsys):
    main(
        [
            "--source", "{kind: toys, count: 12, seed: 0, split: heldout, size: 32}",
            "--encoder", "toybox_clip",
            "--out", str(tmp_path / "table.parquet"),
            "--cache", str(tmp_path / "cache"),
            "--policy", f"tiny={policy_dir}",
            "--rows", "4",
            "--size", "32",
        ]
    )  # fmt: skip
    result = json.loads((tmp_path / "table.evaluation" / "evaluation.json").read_text())
    assert result["benchmark"] == "mined_negatives"
    assert set(result["counts"]) <= {"mined", "category", "random"} and result["counts"]["random"]
    assert "random/accuracy" in result["metrics"]
    assert "random negatives" in capsys.readouterr().out


def test_negatives_against_a_policy_are_those_it_confuses_most(tmp_path):
    source = open_source({"kind": "toys", "count": 6, "seed": 0, "split": "heldout", "size": 32})
    subjects = source.source.subjects
    asked = []

    def yes(rows):  # as if it took the third neighbour for every subject, and the first never
        asked.append([row["id"] for row in rows])
        return [0.1, 0.5, 0.9][: len(rows)]

    nearest = {0: [1, 2, 3], 4: [5, 0]}
    found = most_confused(source.source, nearest, yes, 2, seed=0, size=32)
    keys = [subjects[i].key for i in range(6)]
    assert found == {keys[0]: [keys[3], keys[2]], keys[4]: [keys[0], keys[5]]}
    assert asked == [["0-1", "0-2", "0-3"], ["4-5", "4-0"]]
    write_neighbours(tmp_path / "table.parquet", found)
    assert list(read_neighbours(tmp_path / "table.parquet", subjects)[0]) == [3, 2]


def test_mining_against_a_policy_needs_one():
    with pytest.raises(SystemExit, match="name it with --policy PATH"):
        main(["--source", "{kind: toys, count: 4, seed: 0}", "--confused", "2"])
