"""Tables: systems side by side, with intervals and paired differences."""

import json

import pytest

from benchmarks.harness.table import cost_table, markdown, show, side_by_side, tabulate
from benchmarks.metrics.intervals import ratio


@pytest.fixture
def result():
    base = {
        "oct/accuracy": ratio([0, 0, 1, 1]),
        "naming_1/f1": ratio([0], [0]),
        "naming_1/tokens": ratio([50, 70]),
    }
    trained = {
        "oct/accuracy": ratio([1, 1, 1, 1]),
        "naming_1/f1": ratio([1], [1]),
        "naming_1/tokens": ratio([100, 120]),
    }
    return tabulate(
        {"base": base, "a|b": trained},
        {"oct": "consistency", "naming_1": "naming"},
        ["oct/accuracy", "vlt/iou50"],
    )


def test_numbers_and_changes(result):
    assert result["headlines"] == ["oct/accuracy"]  # what was not measured is no headline
    metric = result["metrics"]["oct/accuracy"]
    assert metric["values"]["base"]["value"] == 0.5 and metric["rows"] == 4
    assert metric["change"]["a|b"]["value"] == 0.5 and "base" not in metric["change"]
    assert result["metrics"]["naming_1/f1"]["values"]["base"]["value"] is None
    assert result["metrics"]["naming_1/f1"]["change"]["a|b"]["value"] is None
    assert result["metrics"]["naming_1/tokens"]["unit"] == "tokens"
    json.dumps(result, allow_nan=False)


def test_markdown_has_a_column_per_system(result):
    text = markdown(result)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [line.replace("\\|", "").count("|") for line in rows]
    assert set(cells) == {6}  # title, n, two systems, one difference
    assert "100.0 [100.0, 100.0]" in text and "| – |" in text and "+60" not in text
    assert "110.0 [100.0, 120.0]" in text
    short = markdown(result, result["headlines"])
    assert "consistency: balanced accuracy | 4 |" in short and "naming" not in short


def test_no_negative_zero():
    ends = {"value": -0.0001, "low": -0.0002, "high": 0.0}
    assert show(ends, "share", sign=True) == "+0.0 [+0.0, +0.0]"


def test_a_share_is_between_nothing_and_all_and_a_difference_may_be_below():
    ends = {"value": 0.99, "low": -0.01, "high": 1.03}
    assert show(ends, "share") == "99.0 [0.0, 100.0]"
    assert show(ends, "share", sign=True) == "+99.0 [-1.0, +103.0]"
    assert show({k: 103.0 for k in ends}, "tokens") == "103.0 [103.0, 103.0]"


def test_the_table_shows_controls_beside_the_score():
    metrics = {"naming/f1": ratio([1, 1]), "naming_absent/names_given": ratio([0, 1])}
    result = tabulate(
        {"base": metrics, "a|b": metrics},
        {"naming": "naming", "naming_absent": "naming, concept absent"},
    )
    text = side_by_side(
        result,
        {
            "F1": "naming/f1",
            "… concept absent": "naming_absent/names_given",
            "… wrong reference": "naming_wrong/names_given",
        },
    )
    lines = text.splitlines()
    assert lines[0] == "| system | F1 | … concept absent | … wrong reference |"
    assert lines[2] == "| base | 100.0 [100.0, 100.0] | 50.0 [0.0, 100.0] | – |"
    assert lines[3].startswith("| a\\|b |")


def test_costs_are_medians_over_concepts_and_a_dash_where_nothing_was_learned():
    cost = {"n_bytes": 1000, "n_parameters": 20}
    result = {
        "systems": [{"label": "plain"}, {"label": "mine"}],
        "learned": {"mine": [{"seconds": s, **cost} for s in (1, 2, 9)]},
        "seconds_per_query": {"plain": None, "mine": 0.25},
    }
    assert cost_table(result).splitlines()[2:] == [
        "| plain | – | – | – | – |",
        "| mine | 2.0 | 1,000 | 20 | 0.250 |",
    ]
