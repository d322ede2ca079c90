"""Mined negatives as a benchmark, asked by the command that mines them."""

import json

from launch.mine_negatives import main


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
