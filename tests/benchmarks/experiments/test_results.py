"""The table of an experiment says what was measured, and what was not."""

import json
from pathlib import Path

from benchmarks.experiments import results


def write_test(experiment, run: str, right: list[int]) -> None:
    """A test's columns: each row named rightly or not, in every set."""
    place = Path(experiment.out) / "test" / run
    place.mkdir(parents=True)
    n = len(right)
    keys = [
        *(f"{s}/f1" for s in (*results.NAMING, *results.OWNED)),
        *(f"{s}/retrieved" for s in results.OWNED),
        *results.IMAGE_ONLY,
        *results.CONTROLS,
        *results.PERCEPTION,
        *results.GENERAL,
    ]
    (place / "columns.json").write_text(
        json.dumps({run: {key: [[right, [1] * n]] for key in keys}})
    )


def test_a_best_rate_at_the_edge_is_named():
    def line(chosen):
        scores = {"0.0005": 0.3, "5e-05": 0.5, "0.0002": 0.4}
        return results._rate_text("GRPO", {"chosen": chosen, "scores": scores})

    assert line("5e-05").endswith("at the edge of what was tried")
    assert line("0.0005").endswith("at the edge of what was tried")
    assert line("0.0002") == "GRPO 0.0002 (0.0005 30.0, 5e-05 50.0, 0.0002 40.0)"


def test_the_table_says_what_was_measured(config, read):
    e = read(config)
    assert results.write_results(e) == ""
    n = 40
    write_test(e, "base", [1] * 10 + [0] * 30)
    write_test(e, "sft_n-1", [1] * 20 + [0] * 20)
    for seed in (1, 2):
        write_test(e, f"grpo_n-{seed}", [1] * 38 + [0] * 2)
    text = results.write_results(e)
    assert "| base | 25.0 [" in text and "| GRPO, N rows | 95.0 [" in text
    assert "72.4 / 50.0 / 85.2" in text and "71.0" in text  # the paper's, beside
    assert "**Not finished:** SFT, N rows." in text
    assert "that were retrieved: 1 concept 25.0 [" in text, "how much there was to be named"
    assert "| GRPO, N rows − SFT, N rows | +45.0 [" in text
    result = json.loads((Path(e.out) / "results.json").read_text())
    assert result["runs"] == {"base": 1, "sft_n": 1, "grpo_n": 2}
    of = result["figures"]["grpo_n"]["naming_2/f1"]
    assert of["rows"] == n and of["low"] < of["value"] < of["high"]
    assert result["general"]["grpo_n"]["list/counted"]["stayed"] is False
    assert (Path(e.out) / "results.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_compared_with_those_that_they_began_from(config, read):
    """Seeds that differ much, and all gain the same."""
    widths = {}
    for start in ("sft_n", ""):  # trained from the other arm's policy, or from the base
        arm = config["arms"]["grpo_n"]
        arm |= {"start": start, "rates": [1e-4]} if start else {"start": ""}
        config["out"] = f"{config['out']}-{start}"
        e = read(config)
        for seed, share in zip((1, 2), (2, 7), strict=True):
            for name, right in (("sft_n", share), ("grpo_n", share + 1)):
                write_test(e, f"{name}-{seed}", [int(i % 10 < right) for i in range(40)])
        results.write_results(e)
        changes = json.loads((Path(e.out) / "results.json").read_text())["changes"]
        (change,) = [c for c in changes if c["key"] == "naming_1/f1"]
        assert abs(change["value"] - 0.1) < 1e-9
        widths[start] = change["high"] - change["low"]
    assert 2 * widths["sft_n"] < widths[""]


def test_skills_that_did_not_move_have_stayed(config, read):
    e = read(config)
    for run in ("base", "sft_n-1", "grpo_n-1"):
        write_test(e, run, [1, 0] * 20)
    runs = results.read_runs(e)
    general = results.general_changes(e, runs)
    assert all(of["stayed"] for of in general["grpo_n"].values())
    lines = results.write_results(e).splitlines()
    assert any(line.startswith("| GRPO, N rows |") and line.endswith("| yes |") for line in lines)
