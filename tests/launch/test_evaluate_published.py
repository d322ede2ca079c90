"""launch/evaluate.py on published benchmarks: made, killed, scored again, with gaps."""

import json
import sys

import pytest
import yaml
from PIL import Image

from benchmarks.captions.scores import METRICS
from benchmarks.harness import evaluation
from benchmarks.harness.evaluation import EvaluateSettings
from benchmarks.harness.table import TITLES
from benchmarks.registry import benchmark_class
from concepts.methods import systems
from data_gen.files.settings import read_settings
from tests.concepts.tiny_encoders import save_open_clip
from tests.places import ROOT, SHARED

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ("bo", "mia", "kim")


@pytest.fixture(scope="module")
def policy(tiny):
    return tiny["policy"]


@pytest.fixture
def files(tmp_path):
    """Two photos of each of three subjects, and questions about them."""
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(2):
            colour = (80 * NAMES.index(name), 90 * k, 120)
            Image.new("RGB", (24, 24), colour).save(tmp_path / "photos" / name / f"0{k}.png")
    (tmp_path / "photos" / "kim" / "02.png").write_bytes(b"\x89PNG torn")
    write(
        tmp_path / "queries.json",
        {
            f"./photos/{n}/{p}.png": [f"<{n}>"]
            for n, p in (("bo", "01"), ("mia", "01"), ("kim", "01"), ("kim", "02"), ("kim", "09"))
        },
    )
    write(
        tmp_path / "questions.json",
        {
            n: {
                f"./photos/{n}/01.png": {
                    "question": "What is sks?",
                    "options": {"A": "red", "B": "blue"},
                    "correct_answer": "B",
                }
            }
            for n in NAMES
        },
    )
    return tmp_path


def write(path, data):
    path.write_text(json.dumps(data))


@pytest.fixture
def run(evaluating, files, monkeypatch):
    def run(benchmark, *arguments, captions=None, **settings):
        config = files / "config.yaml"
        pattern = str(files / "photos" / "{name}" / "00.png")
        config.write_text(
            yaml.safe_dump(
                {
                    "benchmark": benchmark,
                    "batch_size": 2,
                    "resamples": 50,
                    "captions": captions or {},
                    "max_new_tokens": {benchmark: 4 if benchmark == "naming" else 2},
                    "images": str(files),
                    "reference_images": pattern,
                    "size": 16,
                    **settings,
                }
            )
        )
        out = files / "eval"
        monkeypatch.setattr(
            sys,
            "argv",
            ["evaluate.py", "--config", str(config), "--out", str(out), *map(str, arguments)],
        )
        evaluating.main()
        return json.loads((out / "evaluation.json").read_text())

    return run


def kept(files, label, name):
    """Kept replies by id."""
    path = files / "eval" / "predictions" / label / f"{name}.jsonl"
    return {entry["id"]: entry for entry in map(json.loads, path.read_text().splitlines())}


def test_naming_with_controls_and_again_without_the_policy(run, files, policy, capsys, monkeypatch):
    settings = {"path": str(files / "queries.json"), "controls": ["absent", "wrong", "none"]}
    result = run("naming", "--policy", f"base={policy}", **settings)
    assert result["counts"]["naming"] == 3 and result["counts"]["naming_none"] == 3
    assert {
        "naming/f1",
        "naming/published_f1",
        "naming_absent/names_given",
        "naming_wrong/names_nothing",
    } <= set(result["metrics"])
    assert result["skipped"]["image missing on disk"]["where"] == ["./photos/kim/09.png"]
    assert any("does not open" in reason for reason in result["skipped"])
    lines = (files / "eval" / "predictions" / "base" / "naming.jsonl").read_text().splitlines()
    assert len(lines) == 3
    text = (files / "eval" / "evaluation.md").read_text()
    assert "… wrong reference" in text and "skipped" in text
    page = (files / "eval" / "evaluation.html").read_text()
    assert page.count("<article") == 3 + 3 + 3 + 3 and "image missing on disk" in page
    assert "naming 4, naming_absent 4" in capsys.readouterr().out

    # Scored where neither policy nor images are: what was written is all that counts.
    def must_not_load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(systems, "load_policy", must_not_load)
    entries = [json.loads(line) for line in lines]
    for entry in entries:
        entry["text"] = "<bo> is here" if entry["id"] == "queries-0" else "nobody"
    path = files / "eval" / "predictions" / "base" / "naming.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    again = run("naming", "--policy", "base=somewhere/else", "--score_only", "true", **settings)
    for key in ("recall", "published_recall", "names_given"):
        assert again["metrics"][f"naming/{key}"]["values"]["base"]["value"] == pytest.approx(1 / 3)
    assert again["skipped"]["question without a prediction"]["count"] >= 1


def test_references_are_retrieved_once_for_all_policies_and_scorings(
    run, files, policy, monkeypatch
):
    concepts = {
        f"<{n}>": {
            "name": n,
            "image": f"./photos/{n}/00.png",
            "info": f"<{n}> is round.",
            "category": "toy",
        }
        for n in (*NAMES, "gone")
    }
    write(files / "database.json", {"concept_dict": concepts, "path_to_concept": {}})
    settings = {
        "path": str(files / "queries.json"),
        "database": str(files / "database.json"),
        "reference_images": None,
        "retrieval": {
            "encoder": str(save_open_clip(files / "clip")),
            "regions": None,
            "cache": str(files / "features"),
        },
    }
    made = []

    class Counted(evaluation.ReferenceFinder):
        def __init__(self, *args):
            made.append(self)
            super().__init__(*args)

    monkeypatch.setattr(evaluation, "ReferenceFinder", Counted)
    both = run("naming", "--policy", f"a={policy}", "--policy", f"b={policy}", **settings)
    assert len(made) == 1, "two systems that differ in their policy alone share one"
    assert len(made[0]._found) == 3 and both["counts"] == {"naming": 3}
    assert both["metrics"]["naming/f1"]["change"]["b"]["value"] == 0
    assert both["skipped"]["database: reference image missing on disk"]["where"] == ["gone"]
    replies = kept(files, "a", "naming")
    assert len(replies) == 3 and all(
        len({one["name"] for one in entry["concepts"]}) == 2 for entry in replies.values()
    )
    assert all(
        one["used"] and one["p"] is None and one["similarity"] is not None
        for entry in replies.values()
        for one in entry["concepts"]
    )
    right = sum(
        NAMES[int(i[-1])] in {one["name"] for one in entry["concepts"]}
        for i, entry in replies.items()
    )
    share = both["metrics"]["naming/retrieved"]["values"]["a"]["value"]
    assert share == pytest.approx(right / 3)
    assert "| retrieved |" in (files / "eval" / "evaluation.md").read_text()

    monkeypatch.setattr(systems, "load_policy", None)  # nothing is asked again
    again = run("naming", "--policy", f"a={policy}", "--policy", f"b={policy}", **settings)
    assert again["metrics"] == both["metrics"]
    monkeypatch.setattr(evaluation, "ReferenceFinder", None)
    alone = run("naming", "--policy", "a=x", "--score_only", "true", **settings)
    for key in ("f1", "retrieved"):
        found = alone["metrics"][f"naming/{key}"]["values"]
        assert found["a"] == both["metrics"][f"naming/{key}"]["values"]["a"]
    monkeypatch.undo()
    Image.new("RGB", (24, 24), (1, 2, 3)).save(files / "photos" / "bo" / "00.png")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TypeError):
        patch.setattr(systems, "load_policy", None)  # another image in the database: asked anew
        run("naming", "--policy", f"a={policy}", **settings)


@pytest.mark.parametrize("threshold", [0, 1])
def test_retrieved_references_that_the_policy_has_verified(
    run, files, policy, monkeypatch, threshold
):
    retrieval = {
        "encoder": str(save_open_clip(files / "clip")),
        "regions": None,
        "cache": str(files / "features"),
    }
    for name, gate in (("all", None), ("verified", threshold)):
        system = {"policy": str(policy), "retrieval": retrieval, "settings": {"gate": gate}}
        (files / f"{name}.yaml").write_text(yaml.safe_dump(system))
    arguments = (
        "--policy",
        f"given={policy}",
        "--system",
        f"all={files / 'all.yaml'}",
        "--system",
        f"verified={files / 'verified.yaml'}",
    )
    settings = {"path": str(files / "queries.json"), "controls": ["none"]}
    result = run("naming", *arguments, **settings)
    assert result["counts"] == {"naming": 3, "naming_none": 3}
    assert [s["settings"] and s["settings"]["gate"] for s in result["systems"]] == [
        None,
        None,
        threshold,
    ]
    found = {key: of["values"] for key, of in result["metrics"].items()}
    assert found["naming/retrieved"]["given"]["value"] is None, "handed over"
    assert found["naming/retrieved"]["all"] == found["naming/retrieved"]["verified"]
    assert found["naming/kept_right"]["all"]["value"] is None, "not verified"
    if found["naming/retrieved"]["verified"]["value"]:
        assert found["naming/kept_right"]["verified"]["value"] == 1 - threshold
    assert found["naming/dropped_wrong"]["verified"]["value"] == threshold
    assert "naming_none/retrieved" not in found

    def said(label, name="naming"):
        return [entry["text"] for _, entry in sorted(kept(files, label, name).items())]

    # All kept: as retrieved. All dropped: as where no reference is shown.
    assert said("verified") == (said("all") if threshold == 0 else said("given", "naming_none"))
    assert all(
        one["p"] is not None and one["used"] == (threshold == 0)
        for entry in kept(files, "verified", "naming").values()
        for one in entry["concepts"]
    )
    assert not any(entry["concepts"] for entry in kept(files, "given", "naming").values())
    monkeypatch.setattr(systems, "load_policy", None)
    again = run("naming", *arguments, "--score_only", "true", **settings)
    assert again["metrics"] == result["metrics"]


def test_captions_are_scored_further_from_what_was_kept(run, files, policy, monkeypatch, capsys):
    database = {
        "concept_dict": {
            f"<{n}>": {
                "name": n,
                "image": f"./photos/{n}/00.png",
                "category": "toy",
                "info": f"<{n}> is a round toy with a blue hat.",
            }
            for n in NAMES
        },
        "path_to_concept": {},
    }
    write(files / "database.json", database)
    write(
        files / "captions.json",
        {f"./photos/{n}/01.png": [f"{n} stands on a wide green lawn"] for n in NAMES[:2]},
    )
    encoder = save_open_clip(files / "clip")
    settings = {
        "path": str(files / "queries.json"),
        "controls": ["none"],
        "database": str(files / "database.json"),
        "reference_images": None,
    }
    run("naming", "--policy", f"base={policy}", **settings)
    path = files / "eval" / "predictions" / "base" / "naming.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    texts = {
        "queries-0": "bo stands on a wide green lawn",
        "queries-1": "mia is here",
        "queries-2": "<kim> is a round toy with a blue hat.",
    }
    path.write_text(
        "".join(json.dumps({**entry, "text": texts[entry["id"]]}) + "\n" for entry in entries)
    )
    monkeypatch.setattr(systems, "load_policy", None)
    result = run(
        "naming",
        "--policy",
        "base=gone",
        "--score_only",
        "true",
        **settings,
        captions={
            "scores": ["length", "self_bleu", "overlap", "bleu", "clip_score", "image_similarity"],
            "references": str(files / "captions.json"),
            "encoder": str(encoder),
        },
    )
    found = {key: of["values"]["base"]["value"] for key, of in result["metrics"].items()}
    assert found["naming/overlap"] == pytest.approx(1 / 3)
    assert 0.5 < found["naming/bleu"] < 0.6 and 0 < result["corpus_bleu"]["base"] < 1
    assert 0 <= found["naming/clip_score"] <= 2.5
    assert {"naming/at_floor", "naming/self_bleu", "naming/image_similarity"} <= set(found)
    assert "naming_none/self_bleu" not in found
    assert "BLEU-4 over all captions: base" in (files / "eval" / "evaluation.md").read_text()
    printed = capsys.readouterr().out
    for score in result["captions"]["scores"]:  # what was asked for is printed, too
        for name in METRICS.get(score, (score,)):
            assert f": {TITLES[name]} |" in printed, name
    assert "BLEU-4 over all captions: base" in printed


def test_recognition_by_answers_and_by_probabilities(run, files, policy):
    settings = {
        "path": str(files / "photos"),
        "reference_images": None,
        "controls": ["wrong", "none"],
        "likelihood": True,
    }
    both = ("--policy", f"a={policy}", "--policy", f"b={policy}")
    result = run("recognition", *both, **settings)
    assert result["counts"]["recognition"] == 6
    for key in ("accuracy", "auroc", "accuracy_balanced"):
        assert result["metrics"][f"recognition/{key}"]["change"]["b"]["value"] == 0
    assert "recognition_wrong/negative" in result["metrics"]
    assert "recognition_wrong/accuracy" not in result["metrics"]
    scores = files / "eval" / "predictions" / "a" / "recognition.likelihoods.jsonl"
    scores.write_text(scores.read_text()[:-20])  # torn by a kill
    again = run("recognition", *both, **settings)
    assert again["metrics"] == result["metrics"]
    # Scored for all systems or for none.
    scores.unlink()
    some = run("recognition", *both, "--score_only", "true", **settings)
    assert "recognition/accuracy" in some["metrics"] and "recognition/auroc" not in some["metrics"]


def test_multiple_choice_with_and_without_what_was_shown(run, files, policy):
    result = run(
        "multiple_choice",
        "--policy",
        f"base={policy}",
        path=str(files / "questions.json"),
        controls=["none", "blind"],
        likelihood=True,
    )
    page = (files / "eval" / "evaluation.html").read_text()
    assert page.count('<ul class="options">') == page.count("the right one is") == 9
    assert {
        "multiple_choice/likelihood",
        "multiple_choice_none/choice",
        "multiple_choice_blind/likelihood",
    } <= set(result["metrics"])
    assert result["counts"] == {
        "multiple_choice": 3,
        "multiple_choice_none": 3,
        "multiple_choice_blind": 3,
    }


@pytest.mark.parametrize(
    ("benchmark", "settings", "sentence"),
    [
        ("captions", {"path": "x"}, "benchmark must be one of toybox, naming"),
        ("naming", {}, "'path' is missing"),
        ("naming", {"path": ""}, "path is missing"),
        ("naming", {"path": "x", "sizzle": 1}, "unknown key 'sizzle'; did you mean 'size'"),
        ("naming", {"path": "nowhere.json"}, "nowhere.json cannot be read"),
        ("naming", {"path": "queries.json", "variant": "3"}, "variant must be one of 2, n"),
        ("naming", {"path": "queries.json", "size": 2}, "size must be 8-4096 pixels"),
        ("naming", {"path": "queries.json", "controls": ["blind"]}, "no control 'blind'"),
        ("naming", {"path": "queries.json", "retrieval": {"encode": "x"}}, "'encode'"),
        ("naming", {"path": "queries.json", "retrieval": {"k": 2}}, "encoder"),
        ("naming", {"path": "queries.json", "retrieval": {"encoder": "x", "k": 0}}, "not 0"),
        ("naming", {"path": "queries.json", "retrieval": {"encoder": "./nowhere"}}, "./nowhere"),
        (
            "naming",
            {
                "path": "queries.json",
                "retrieval": {"encoder": "imagenet", "regions": {"kind": "eyes"}},
            },
            "no detector is called 'eyes'",
        ),
        (
            "naming",
            {"path": "queries.json", "retrieval": {"encoder": "x", "verify": 2}},
            "'gate' in",
        ),
        (
            "recognition",
            {"path": "photos", "retrieval": {"encoder": "imagenet"}},
            "retrieval: recognition has no database",
        ),
        ("multiple_choice", {"path": "queries.json"}, "no question is left to ask"),
    ],
)
def test_refused_before_weights_load(
    run, files, policy, monkeypatch, benchmark, settings, sentence
):
    monkeypatch.setattr(systems, "load_policy", None)
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit) as refused:
        run(benchmark, "--policy", policy, **settings)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_nothing_to_score_is_an_error(run, files):
    with pytest.raises(SystemExit, match="holds no predictions"):
        run(
            "naming", "--policy", "base=x", "--score_only", "true", path=str(files / "queries.json")
        )


@pytest.mark.parametrize(
    "name", ["repic_naming", "yollava_recognition", "yollava_qa", "refcoco_localization"]
)
def test_the_shipped_configs_are_understood(name, monkeypatch):
    path = ROOT / "configs" / "benchmarks" / f"{name}.yaml"
    settings, own = read_settings(
        ["--config", str(path)],
        EvaluateSettings,
        choose=lambda values: benchmark_class(values["benchmark"]).Settings,
    )
    found = benchmark_class(settings.benchmark)
    assert set(settings.max_new_tokens) <= set(found.limits)
    if SHARED.is_dir() and name != "refcoco_localization":  # whose data lies with its publishers
        monkeypatch.chdir(ROOT)
        assert len(found(own, 3).sets[settings.benchmark]) == 3
