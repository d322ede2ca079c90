"""launch/evaluate.py on the toybox from start to end, with a policy that knows nothing."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.harness.evaluation import EvaluateSettings
from benchmarks.toybox.benchmark import SETS, Toybox
from concepts.methods import systems
from data_gen.files.settings import read_settings
from tests.concepts.tiny_encoders import save_open_clip
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
CONFIG = {
    "size": "tiny",
    "sizes": {"tiny": {"oct": 4, "vlt": 3, "naming_1": 2, "naming_absent": 2, "description": 0}},
    "max_new_tokens": {"oct": 2, "vlt": 3, "captions": 4},
    "reference_px": 16,
    "query_px": 16,
    "batch_size": 2,
    "resamples": 50,
}


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny["policy"]


@pytest.fixture
def run(evaluating, tmp_path, monkeypatch):
    """Runs the program with changes to the config; gives the output directory."""

    def run(*arguments, **changes):
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({**CONFIG, **changes}))
        out = tmp_path / "eval"
        monkeypatch.setattr(
            sys,
            "argv",
            ["evaluate.py", "--config", str(config), "--out", str(out), *map(str, arguments)],
        )
        evaluating.main()
        return out

    return run


def test_two_policies_side_by_side_and_again(run, policy, monkeypatch, capsys):
    arguments = ("--policy", f"base={policy}", "--policy", f"trained={policy}")
    out = run(*arguments)
    result = json.loads((out / "evaluation.json").read_text())
    metric = result["metrics"]["oct/accuracy"]
    assert set(metric["values"]) == {"base", "trained"}
    assert metric["change"]["trained"]["value"] == 0
    sets = {key.split("/")[0] for key in result["metrics"]}
    # Beside the sets, silence for each number of references.
    assert {name for name in sets if not name.endswith("refs")} == {
        "oct",
        "vlt",
        "naming_1",
        "naming_absent",
        "naming_all",
        "captions",
    }
    assert [s["label"] for s in result["systems"]] == ["base", "trained"]
    assert result["counts"] == {"oct": 4, "vlt": 3, "naming_1": 2, "naming_absent": 2}
    assert result["skipped"] == {}
    assert "| base | trained |" in (out / "evaluation.md").read_text()
    assert "| base | trained |" in capsys.readouterr().out
    page = (out / "evaluation.html").read_text()
    assert page.count("<article") == 11 and "data:image/png" in page
    samples = json.loads((out / "gallery.json").read_text())
    assert len(samples) == 11 and set(samples[0]["outputs"]) == {"base", "trained"}
    seconds = result["seconds"]
    for label in ("base", "trained"):
        assert 0 < seconds["generate"][label] < seconds["systems"][label] < seconds["all"]

    # Again: everything is read back, nothing is loaded.
    def must_not_load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(systems, "load_policy", must_not_load)
    run(*arguments, "--shown", "3")
    assert (out / "evaluation.html").read_text().count("<article") == 3 + 3 + 2 + 2
    with pytest.raises(SystemExit, match="shown is -1"):
        run(*arguments, "--shown", "-1")
    again = json.loads((out / "evaluation.json").read_text())
    assert again["metrics"] == result["metrics"]
    assert again["seconds"]["generate"] == {}

    # A killed run: the file of one set is gone.
    (out / "predictions" / "trained" / "vlt.jsonl").unlink()
    with pytest.raises(AssertionError, match="loaded"):
        run(*arguments)


def test_a_benchmark_drawn_twice(run, policy, capsys):
    out = run("--policy", f"base={policy}", "--draws", "2")
    result = json.loads((out / "evaluation.json").read_text())
    assert result["counts"]["oct"] == 8 and result["metrics"]["vlt/mean_iou"]["rows"] == 6
    assert "draw 2 of 2" in capsys.readouterr().out
    assert (out / "2" / "evaluation.html").is_file()


def test_captions_are_scored_further_from_what_was_kept(run, policy, tmp_path):
    encoder = save_open_clip(tmp_path / "clip")
    made = json.loads((run("--policy", f"base={policy}") / "evaluation.json").read_text())
    scores = ["length", "self_bleu", "overlap", "clip_score", "image_similarity"]
    out = run(
        "--policy",
        "base=somewhere/else",
        "--score_only",
        "true",
        "--captions",
        json.dumps({"scores": scores, "encoder": str(encoder)}),
    )
    result = json.loads((out / "evaluation.json").read_text())
    assert result["systems"][0]["made_from"] == made["systems"][0]["made_from"]
    found = result["metrics"]
    assert {key: found[key] for key in made["metrics"]} == made["metrics"]
    for name in ("naming_1", "naming_absent"):
        for score in ("tokens", "at_floor", *scores[1:]):
            assert found[f"{name}/{score}"]["rows"] == 2
    assert found["naming_1/image_similarity"]["values"]["base"]["value"] <= 1
    assert "oct/self_bleu" not in found
    assert "CLIPScore" in (out / "evaluation.md").read_text()
    with pytest.raises(SystemExit, match="holds no predictions"):  # other questions
        run("--policy", "base=somewhere/else", "--score_only", "true", split="test")


def test_toys_that_the_user_owns_are_retrieved(run, policy, tmp_path, monkeypatch):
    changes = {
        "sizes": {"tiny": {"owned_1": 2, "owned_2": 2, "naming_1": 2}},
        "toys": 6,
        "cache": str(tmp_path / "toys"),
        "retrieval": {
            "encoder": str(save_open_clip(tmp_path / "clip")),
            "regions": None,
            "cache": str(tmp_path / "features"),
        },
    }
    out = run("--policy", f"base={policy}", "--shown", "2", **changes)
    result = json.loads((out / "evaluation.json").read_text())
    assert {"owned_1/f1", "owned_1/retrieved", "owned_2/retrieved"} <= set(result["metrics"])
    assert "naming_1/retrieved" not in result["metrics"], "its references are handed over"
    kept = [
        json.loads(line)
        for line in (out / "predictions" / "base" / "owned_1.jsonl").read_text().splitlines()
    ]
    assert all(len(entry["concepts"]) == 2 for entry in kept)
    samples = {sample["id"]: sample for sample in json.loads((out / "gallery.json").read_text())}
    for entry in kept:
        sample = samples[entry["id"]]
        assert sum("image" in part for part in sample["prompt"]) == 2 + 1
        wrong = {one["name"] for one in entry["concepts"]} - set(sample["names"])
        assert set(sample["absent_names"]) == wrong
    with pytest.raises(SystemExit, match="set owned_1 hands no references over; say how base find"):
        run("--policy", f"base={policy}", **changes | {"retrieval": None})

    # Scored again where neither policy nor encoder is at hand, and with what could be copied.
    monkeypatch.setattr(systems, "load_policy", None)
    again = run(
        "--policy",
        "base=gone",
        "--score_only",
        "true",
        **changes | {"retrieval": {"encoder": "gone"}, "captions": {"scores": ["overlap"]}},
    )
    found = json.loads((again / "evaluation.json").read_text())["metrics"]
    assert {key: found[key] for key in result["metrics"]} == result["metrics"]
    assert found["owned_1/overlap"]["values"]["base"]["value"] is not None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sizzle": "small"}, "sizzle"),
        ({"size": "huge"}, "size 'huge' is none of the config's: tiny"),
        ({"sizes": {"tiny": {"oct2": 3}}}, "no set 'oct2'"),
        ({"sizes": {"tiny": {"oct": "many"}}}, "oct"),
        ({"sizes": {"tiny": {"oct": 0}}}, "scores nothing"),
        ({"hard_share": 0}, "hard_share"),
        (
            {"max_new_tokens": {"octet": 3}},
            "max_new_tokens: toybox has no 'octet'; it has oct, vlt",
        ),
        ({"split": "train"}, "split must be one of heldout, validation, test"),
        ({"captions": {"scores": ["spice"]}}, "captions.scores: no score 'spice'"),
        ({"captions": {"scores": ["bleu"]}}, "bleu needs captions.references"),
        ({"captions": "[1"}, "captions"),
        ({"limit": 0}, "limit must be 1 or more"),
    ],
)
def test_refused_before_weights_load(run, policy, monkeypatch, changes, sentence):
    monkeypatch.setattr(systems, "load_policy", None)
    with pytest.raises(SystemExit) as refused:
        run("--policy", policy, **changes)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_missing_policy(run, monkeypatch):
    monkeypatch.setattr(systems, "load_policy", None)
    with pytest.raises(SystemExit, match="no policy to evaluate"):
        run()
    with pytest.raises(SystemExit, match=r"policy '\./nowhere': there is no such directory"):
        run("--policy", "./nowhere")


def test_the_shipped_config_is_understood():
    path = Path(ROOT / "configs" / "benchmarks" / "toybox.yaml")
    settings, own = read_settings(
        ["--config", str(path)], EvaluateSettings, choose=lambda values: Toybox.Settings
    )
    assert settings.benchmark == "toybox"
    for size, counts in own.sizes.items():
        assert set(counts) == set(SETS), size
    assert set(settings.max_new_tokens) == set(Toybox.limits)
