"""launch/evaluate.py on published benchmarks: made, killed, scored again, with gaps."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from benchmarks.harness import evaluation
from benchmarks.published.benchmark import build_sets, published_settings
from concepts.methods import in_context as published_found
from tests.concepts.tiny_encoders import save_open_clip

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
NAMES = ("bo", "mia", "kim")


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny["policy"]


@pytest.fixture
def files(tmp_path):
    """Two photos of each of three things, and questions about them."""
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(2):
            colour = (80 * NAMES.index(name), 90 * k, 120)
            Image.new("RGB", (24, 24), colour).save(tmp_path / "photos" / name / f"0{k}.png")
    (tmp_path / "photos" / "kim" / "02.png").write_bytes(b"\x89PNG torn")
    write(tmp_path / "queries.json", {f"./photos/{n}/{p}.png": [f"<{n}>"] for n, p in (
        ("bo", "01"), ("mia", "01"), ("kim", "01"), ("kim", "02"), ("kim", "09"))})
    write(tmp_path / "questions.json", {n: {f"./photos/{n}/01.png": {
        "question": "What is sks?", "options": {"A": "red", "B": "blue"}, "correct_answer": "B"}}
        for n in NAMES})
    return tmp_path


def write(path, data):
    path.write_text(json.dumps(data))


@pytest.fixture
def run(evaluating, files, monkeypatch):
    def run(benchmark, *arguments, captions=None, **settings):
        config = files / "config.yaml"
        pattern = str(files / "photos" / "{name}" / "00.png")
        config.write_text(yaml.safe_dump({
            "benchmark": benchmark, "batch_size": 2, "resamples": 50, "captions": captions or {},
            "max_new_tokens": {"naming": 4, "recognition": 2, "choices": 2},
            "settings": {"images": str(files), "reference_pictures": pattern, "size": 16,
                         **settings}}))
        out = files / "eval"
        monkeypatch.setattr(sys, "argv", ["evaluate.py", "--config", str(config), "--out",
                                          str(out), *map(str, arguments)])
        evaluating.main()
        return json.loads((out / "evaluation.json").read_text())

    return run


def test_naming_with_controls_and_again_without_the_policy(run, files, policy, capsys, evaluating,
                                                           monkeypatch):
    settings = {"path": str(files / "queries.json"), "controls": ["absent", "wrong", "none"]}
    result = run("naming", "--policy", f"base={policy}", **settings)
    assert result["counts"]["naming"] == 3 and result["counts"]["naming_none"] == 3
    assert {"naming/f1", "naming/published_f1", "naming_absent/names_given",
            "naming_wrong/names_nothing"} <= set(result["metrics"])
    assert result["left_out"]["picture missing on disk"]["where"] == ["./photos/kim/09.png"]
    assert any("does not open" in reason for reason in result["left_out"])
    lines = (files / "eval" / "predictions" / "base" / "naming.jsonl").read_text().splitlines()
    assert len(lines) == 3
    text = (files / "eval" / "evaluation.md").read_text()
    assert "… wrong reference" in text and "left out" in text
    page = (files / "eval" / "evaluation.html").read_text()
    assert page.count("<article") == 3 + 3 + 3 + 3 and "picture missing on disk" in page
    assert "naming 4, naming_absent 4" in capsys.readouterr().out

    # Scored where neither policy nor pictures are: what was written is all that counts.
    def must_not_load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(evaluation, "load_policy", must_not_load)
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        entry["text"] = "<bo> is here" if entry["id"] == "queries-0" else "nobody"
    path = files / "eval" / "predictions" / "base" / "naming.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    again = run("naming", "--policy", "base=somewhere/else", "--score_only", "true", **settings)
    for key in ("recall", "published_recall", "names_given"):
        assert again["metrics"][f"naming/{key}"]["values"]["base"]["value"] == pytest.approx(1 / 3)
    assert again["left_out"]["question without a prediction"]["count"] >= 1


def test_references_are_found_once_for_all_policies_and_scorings(run, files, policy, monkeypatch):
    concepts = {f"<{n}>": {"name": n, "image": f"./photos/{n}/00.png", "info": f"<{n}> is round.",
                           "category": "toy"} for n in (*NAMES, "gone")}
    write(files / "database.json", {"concept_dict": concepts, "path_to_concept": {}})
    settings = {"path": str(files / "queries.json"), "database": str(files / "database.json"),
                "reference_pictures": None, "retrieval": {
                    "encoder": str(save_open_clip(files / "clip")), "regions": None,
                    "cache": str(files / "features")}}
    result = run("naming", "--policy", f"a={policy}", **settings)
    assert result["counts"] == {"naming": 3, "naming_found": 3}
    assert {"naming_found/f1", "naming_found/published_f1", "naming_found/retrieved"} <= set(
        result["metrics"])
    assert result["left_out"]["database: reference picture missing on disk"]["where"] == ["gone"]
    kept = json.loads((files / "eval" / "found.json").read_text())["found"]
    assert len(kept) == 3 and all(len(set(one["names"])) == 2 for one in kept.values())
    right = sum(NAMES[int(key[-1])] in one["names"] for key, one in kept.items())
    share = result["metrics"]["naming_found/retrieved"]["values"]["a"]["value"]
    assert share == pytest.approx(right / 3)
    assert "… of them found" in (files / "eval" / "evaluation.md").read_text()

    monkeypatch.setattr(published_found, "load_encoder", None)  # nothing is looked for again
    both = run("naming", "--policy", f"a={policy}", "--policy", f"b={policy}", **settings)
    assert both["metrics"]["naming_found/f1"]["change"]["b"]["value"] == 0
    monkeypatch.setattr(evaluation, "load_policy", None)
    again = run("naming", "--policy", "a=x", "--score_only", "true", **settings)
    assert again["metrics"]["naming_found/retrieved"] == result["metrics"]["naming_found/retrieved"]
    monkeypatch.undo()
    Image.new("RGB", (24, 24), (1, 2, 3)).save(files / "photos" / "bo" / "00.png")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(published_found, "load_encoder", None)  # another picture in the database
        run("naming", "--policy", f"a={policy}", **settings)


@pytest.mark.parametrize("threshold", [0, 1])
def test_found_references_that_the_policy_has_looked_at(run, files, policy, monkeypatch, threshold):
    settings = {"path": str(files / "queries.json"), "controls": ["none"], "retrieval": {
        "encoder": str(save_open_clip(files / "clip")), "regions": None, "verify": threshold,
        "cache": str(files / "features")}}
    result = run("naming", "--policy", f"a={policy}", **settings)
    found = {key: of["values"]["a"]["value"] for key, of in result["metrics"].items()}
    assert result["counts"]["naming_verified"] == 3
    if found["naming_found/retrieved"]:
        assert found["naming_verified/kept_right"] == 1 - threshold
    assert found["naming_verified/dropped_wrong"] == threshold

    def said(name):
        lines = (files / "eval" / "predictions" / "a" / f"{name}.jsonl").read_text().splitlines()
        return [json.loads(line)["text"] for line in lines]

    # All kept: as found. All dropped: as where nobody is shown.
    assert said("naming_verified") == said("naming_found" if threshold == 0 else "naming_none")
    monkeypatch.setattr(evaluation, "load_policy", None)
    again = run("naming", "--policy", "a=x", "--score_only", "true", **settings)
    assert again["metrics"] == result["metrics"]


def test_captions_are_scored_further_from_what_was_kept(run, files, policy, monkeypatch):
    database = {"concept_dict": {f"<{n}>": {
        "name": n, "image": f"./photos/{n}/00.png", "category": "toy",
        "info": f"<{n}> is a round toy with a blue hat."} for n in NAMES}, "path_to_concept": {}}
    write(files / "database.json", database)
    write(files / "captions.json", {f"./photos/{n}/01.png": [f"{n} stands on a wide green lawn"]
                                    for n in NAMES[:2]})
    encoder = save_open_clip(files / "clip")
    settings = {"path": str(files / "queries.json"), "controls": ["none"],
                "database": str(files / "database.json"), "reference_pictures": None}
    run("naming", "--policy", f"base={policy}", **settings)
    path = files / "eval" / "predictions" / "base" / "naming.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    texts = {"queries-0": "bo stands on a wide green lawn", "queries-1": "mia is here",
             "queries-2": "<kim> is a round toy with a blue hat."}
    path.write_text("".join(json.dumps({**entry, "text": texts[entry["id"]]}) + "\n"
                            for entry in entries))
    monkeypatch.setattr(evaluation, "load_policy", None)
    result = run("naming", "--policy", "base=gone", "--score_only", "true", **settings, captions={
        "scores": ["length", "self_bleu", "overlap", "bleu", "clip_score", "image_similarity"],
        "references": str(files / "captions.json"), "encoder": str(encoder)})
    found = {key: of["values"]["base"]["value"] for key, of in result["metrics"].items()}
    assert found["naming/overlap"] == pytest.approx(1 / 3)
    assert 0.5 < found["naming/bleu"] < 0.6 and 0 < result["corpus_bleu"]["base"] < 1
    assert 0 <= found["naming/clip_score"] <= 2.5
    assert {"naming/at_floor", "naming/self_bleu", "naming/image_similarity"} <= set(found)
    assert "naming_none/self_bleu" not in found
    assert "BLEU-4 over all captions: base" in (files / "eval" / "evaluation.md").read_text()


def test_recognition_by_answers_and_by_probabilities(run, files, policy):
    result = run("recognition", "--policy", f"a={policy}", "--policy", f"b={policy}",
                 path=str(files / "photos"), reference_pictures=None, controls=["wrong", "none"],
                 likelihood=True)
    assert result["counts"]["recognition"] == 6
    for key in ("accuracy", "auroc", "accuracy_balanced"):
        assert result["metrics"][f"recognition/{key}"]["change"]["b"]["value"] == 0
    assert "recognition_wrong/negative" in result["metrics"]
    assert "recognition_wrong/accuracy" not in result["metrics"]
    scores = files / "eval" / "predictions" / "a" / "recognition.scores.jsonl"
    kept = scores.read_text()
    scores.write_text(kept[:-20])  # torn by a kill
    again = run("recognition", "--policy", f"a={policy}", "--policy", f"b={policy}",
                path=str(files / "photos"), reference_pictures=None, controls=["wrong", "none"],
                likelihood=True)
    assert again["metrics"] == result["metrics"]


def test_choices_with_and_without_what_was_shown(run, files, policy):
    result = run("choices", "--policy", f"base={policy}", path=str(files / "questions.json"),
                 controls=["none", "blind"], likelihood=True)
    assert {"choices/likelihood", "choices_none/choice", "choices_blind/likelihood"} <= set(
        result["metrics"])
    assert result["counts"] == {"choices": 3, "choices_none": 3, "choices_blind": 3}


@pytest.mark.parametrize(("benchmark", "settings", "sentence"), [
    ("captions", {"path": "x"}, "benchmark must be toybox, naming"),
    ("naming", {}, "settings.path is missing"),
    ("naming", {"path": "x", "sizzle": 1}, "no setting 'sizzle'"),
    ("naming", {"path": "nowhere.json"}, "nowhere.json cannot be read"),
    ("naming", {"path": "queries.json", "variant": 3}, "variant must be one of 2, n"),
    ("naming", {"path": "queries.json", "controls": ["blind"]}, "no control 'blind'"),
    ("naming", {"path": "queries.json", "retrieval": {"encode": "x"}}, "no setting 'encode'"),
    ("naming", {"path": "queries.json", "retrieval": {"k": 2}}, "retrieval.encoder is missing"),
    ("naming", {"path": "queries.json", "retrieval": {"encoder": "x", "k": 0}}, "not 0"),
    ("naming", {"path": "queries.json", "retrieval": {"encoder": "./nowhere"}}, "./nowhere"),
    ("naming", {"path": "queries.json", "retrieval": {
        "encoder": "imagenet", "regions": {"kind": "eyes"}}}, "no detector is called 'eyes'"),
    ("naming", {"path": "queries.json", "retrieval": {"encoder": "x", "verify": 2}}, "not 2"),
    ("recognition", {"path": "photos", "retrieval": {"encoder": "imagenet"}}, "for naming only"),
    ("choices", {"path": "queries.json"}, "no question is left to ask"),
])
def test_refused_before_weights_load(run, files, policy, monkeypatch, benchmark, settings,
                                     sentence):
    monkeypatch.setattr(evaluation, "load_policy", None)
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit) as refused:
        run(benchmark, "--policy", policy, **settings)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_nothing_to_score_is_an_error(run, files):
    with pytest.raises(SystemExit, match="holds no predictions"):
        run("naming", "--policy", "base=x", "--score_only", "true",
            path=str(files / "queries.json"))


def test_the_controls_of_a_few_questions_draw_on_all(files):
    pattern = str(files / "photos" / "{name}" / "00.png")
    settings = published_settings({
        "path": str(files / "queries.json"), "images": str(files), "reference_pictures": pattern,
        "controls": ["absent", "wrong", "none"]})
    few, _ = build_sets("naming", settings, limit=1)
    assert {name: len(of) for name, of in few.items()} == {
        "naming": 1, "naming_absent": 1, "naming_wrong": 1, "naming_none": 1}
    everything, _ = build_sets("naming", settings)
    assert few["naming_absent"] == everything["naming_absent"][:1]
    write(files / "queries.json", {"./photos/bo/01.png": ["<bo>"]})
    alone, left_out = build_sets("naming", settings)
    assert set(alone) == {"naming", "naming_none"}
    assert left_out["control without any question"] == ["absent", "wrong"]


@pytest.mark.parametrize("name", ["repic_naming", "yollava_recognition", "yollava_qa"])
def test_the_shipped_configs_are_understood(evaluating, name, monkeypatch):
    config = yaml.safe_load((ROOT / "configs" / "benchmarks" / f"{name}.yaml").read_text())
    assert set(config) <= set(evaluating.EvaluateArguments.__dataclass_fields__)
    settings = published_settings(config["settings"])
    if SHARED.is_dir():
        monkeypatch.chdir(ROOT)
        sets, _ = build_sets(config["benchmark"], settings, limit=3)
        assert len(sets[config["benchmark"]]) == 3
