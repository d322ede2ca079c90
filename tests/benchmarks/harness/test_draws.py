"""benchmarks/harness/draws.py: a benchmark drawn twice, with a policy that knows nothing."""

import json

import pytest

from benchmarks.harness.draws import evaluate_draws, pooled_rows
from benchmarks.harness.evaluation import EvaluateSettings
from benchmarks.metrics.intervals import estimate, value
from benchmarks.published.recognition import Recognition
from benchmarks.toybox.benchmark import Toybox
from benchmarks.toybox.methods import MethodsBenchmark, MethodsBenchmarkSettings
from data_gen.files.errors import InputError

OWN = Toybox.Settings(
    size="tiny", sizes={"tiny": {"oct": 5, "vlt": 3}}, seed=40, reference_px=16, query_px=16
)


def settings(policy, out, **more):
    return EvaluateSettings(
        **{
            "policy": [f"{label}={policy}" for label in ("base", "trained", "ablation")],
            "out": str(out),
            "draws": 2,
            "once": ["ablation"],
            "max_new_tokens": {"oct": 2, "vlt": 3},
            "resamples": 50,
            **more,
        }
    )


def draw(k):
    return Toybox(Toybox.redrawn(OWN, k))


def columns(folder):
    return json.loads((folder / "columns.json").read_text())


def test_the_tables_pool_the_rows_of_all_draws(policy_dir, tmp_path, monkeypatch):
    result = evaluate_draws(settings(policy_dir, tmp_path / "two"), draw)
    out = tmp_path / "two"
    assert [of["seed"] for of in result["draws"]] == [40, 41]
    assert result["counts"] == {"oct": 10, "vlt": 6}

    # Each draw is the evaluation of its seed.
    alone = settings(policy_dir, tmp_path / "alone", draws=1, once=[])
    evaluate_draws(alone, lambda _: draw(1))
    second = {label: of for label, of in columns(tmp_path / "alone").items() if label != "ablation"}
    assert columns(out / "2") == second

    # What is pooled is the rows of one behind those of the other.
    assert result["metrics"]["vlt/mean_iou"]["rows"] == 6
    for key in ("vlt/mean_iou", "oct/answered"):
        whole = pooled_rows([columns(out / k)["base"][key] for k in "12"])
        shown = result["metrics"][key]["values"]["base"]
        assert shown["value"] == value(whole)
        assert shown["low"] == estimate(whole, resamples=50).low
        assert result["metrics"][key]["change"]["trained"]["value"] == 0

    # What is asked once stands in the first draw alone.
    labels = [
        {s["label"] for s in json.loads((place / "evaluation.json").read_text())["systems"]}
        for place in (out / "1", out / "2", out)
    ]
    assert labels == [{"base", "trained", "ablation"}, {"base", "trained"}, {"base", "trained"}]
    assert (
        "In the first draw alone, whose tables are in 1/: ablation."
        in (out / "evaluation.md").read_text()
    )
    assert "ablation" not in (out / "evaluation.html").read_text()

    # Again: nothing is asked.
    def must_not_load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("concepts.methods.systems.load_policy", must_not_load)
    again = evaluate_draws(settings(policy_dir, out), draw)
    assert again["metrics"] == result["metrics"]


def test_a_ratio_of_draws_is_of_their_sums():
    """Precision where one draw names nothing is the other's; the mean of both is undefined."""
    found = pooled_rows([[[[0, 0], [0, 0]]], [[[1, 0], [1, 1]]]])
    assert value(found) == 0.5 and len(found[0][0]) == 4


def test_another_draw_has_other_toys():
    """A user's toys are drawn anew with the questions."""
    own = MethodsBenchmarkSettings(seed=5, toys_seed=1)
    found = MethodsBenchmark.redrawn(own, 2)
    assert (found.seed, found.toys_seed) == (7, 3)
    assert MethodsBenchmark.redrawn(own, 0) == own


@pytest.mark.parametrize(
    "more, said",
    [
        ({"draws": 0}, "draws is 0"),
        ({"once": ["nobody"]}, "once: there is no system 'nobody', only base"),
        ({"once": ["base"]}, "base is the first system"),
    ],
)
def test_draws_that_cannot_be(policy_dir, tmp_path, more, said):
    with pytest.raises(InputError, match=said):
        evaluate_draws(settings(policy_dir, tmp_path, **more), draw)


def test_published_questions_are_not_drawn():
    with pytest.raises(InputError, match="the questions of recognition are not drawn"):
        Recognition.redrawn(Recognition.Settings(path="questions.json"), 1)
