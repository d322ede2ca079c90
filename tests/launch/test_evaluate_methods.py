"""launch/evaluate.py with methods: what a benchmark teaches, what is refused, what it cost."""

import json
from dataclasses import replace

import pytest
import yaml
from PIL import Image

from benchmarks.harness.teaching import refuse_unlearnable
from benchmarks.toybox.benchmark import Toybox, ToyboxBenchmarkSettings
from concepts.concept import Concept
from concepts.database import Database
from concepts.methods import registry
from concepts.methods.in_context import InContext, InContextSettings
from concepts.methods.learned import learned_folder
from concepts.methods.prompting import conversation, load_templates
from concepts.methods.protocol import Query, Reference
from concepts.methods.systems import System
from data_gen.files.errors import InputError
from data_gen.rows import OCT
from tests.benchmarks.published_files import NAMES, make_files
from tests.concepts.methods.colour_method import ADDRESS, Colour

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def run(evaluating, tmp_path, tiny, monkeypatch):
    """Runs the recognition benchmark on the systems of some files; gives the result."""
    monkeypatch.setitem(registry.METHODS, "colour", ADDRESS)
    (tmp_path / "files").mkdir()
    root, roots = make_files(tmp_path / "files")

    def run(systems, *arguments, path="recognition.json", benchmark="recognition", **settings):
        named = []
        for label, system in systems.items():
            file = tmp_path / f"{label}.yaml"
            file.write_text(yaml.safe_dump({"policy": str(tiny["policy"]), **system}))
            named += ["--system", f"{label}={file}"]
        config = {
            "benchmark": benchmark,
            "path": str(root / path),
            "images": roots,
            "database": str(root / "database.json"),
            "size": 32,
            "batch_size": 8,
            "resamples": 20,
            "max_new_tokens": {benchmark: 2},
            **settings,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        out = ["--out", str(tmp_path / "eval")]
        evaluating.main(["--config", str(tmp_path / "config.yaml"), *out, *named, *arguments])
        return json.loads((tmp_path / "eval" / "evaluation.json").read_text())

    return run


def test_names_that_are_handed_over_are_learned_once_beside_the_evaluation(run, tmp_path):
    systems = {"plain": {}, "colour": {"method": "colour"}, "words": {"settings": {"show": "text"}}}
    result = run(systems)
    assert [s["method"] for s in result["systems"]] == ["in_context", "colour", "in_context"]
    (costs,) = result["learned"].values()
    assert [cost["name"] for cost in costs] == list(NAMES) and not any(c["reused"] for c in costs)
    concepts = Database(tmp_path / "eval" / "concepts" / "database.json")
    assert set(concepts.concepts()) == set(NAMES)
    assert concepts.concepts()["bo"].info == "<bo> is round."
    (learned,) = (tmp_path / "eval" / "concepts").glob("*.learned")  # of the one that learns
    assert len(list(learned.glob("colour/*.safetensors"))) == len(NAMES)
    makers = [s["made_from"][0] for s in result["systems"]]
    assert len(set(makers)) == 3, "method and settings are part of what replies are made from"

    # Again: nothing is learned and nothing asked anew; other settings are another system.
    assert all(cost["reused"] for cost in run(systems)["learned"]["colour"])
    changed = run({**systems, "colour": {"method": "colour", "settings": {"reach": 0.3}}})
    assert not any(cost["reused"] for cost in changed["learned"]["colour"])
    assert changed["systems"][1]["made_from"] != result["systems"][1]["made_from"]
    assert changed["systems"][0]["made_from"] == result["systems"][0]["made_from"]
    assert len(list((tmp_path / "eval" / "concepts").glob("*.learned"))) == 2


def test_pictures_are_shown_to_one_method_and_not_to_another(run, monkeypatch):
    seen = []
    rows = Colour.rows

    def spied(self, queries):
        found = rows(self, queries)
        seen.extend(len(row["images"]) for row in found[0])
        return found

    monkeypatch.setattr(Colour, "rows", spied)
    run({"colour": {"method": "colour"}})
    assert set(seen) == {1}


def test_a_system_with_a_database_learns_that_one_beside_it(run, tmp_path):
    own = Database(tmp_path / "own" / "database.json")
    for name in NAMES:
        own.add(Concept(name, (str(tmp_path / "files" / "images" / "db" / f"{name}.png"),)))
    result = run({"colour": {"method": "colour", "database": str(own.path)}})
    assert {cost["name"] for cost in result["learned"]["colour"]} == set(NAMES)
    assert len(list(learned_folder(own.path).glob("colour/*.json"))) == len(NAMES)
    assert not (tmp_path / "eval" / "concepts").exists()
    own.remove("bo")
    with pytest.raises(SystemExit, match="shows 'bo' of whom nothing can be learned"):
        run({"colour": {"method": "colour", "database": str(own.path)}})


@pytest.mark.parametrize(
    ("systems", "settings", "sentence"),
    [
        ({"c": {"method": "colour"}}, {"controls": ["wrong"]}, "with the picture of another"),
        ({"c": {"method": "color"}}, {}, "did you mean 'colour'"),
        ({"c": {"settings": {"show": "all"}}}, {}, "show must be one of both, text, pictures"),
        ({"c": {"methods": "rap"}}, {}, "unknown key 'methods'"),
        ({"c": {"method": "colour", "negatives": "./none"}}, {}, "none is no directory"),
        ({"c": {"method": "colour", "database": "./no.json"}}, {}, "no.json cannot be read"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(run, systems, settings, sentence):
    with pytest.raises(SystemExit) as refused:
        run(systems, **settings)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_names_that_change_from_question_to_question_cannot_be_learned(monkeypatch):
    monkeypatch.setitem(registry.METHODS, "colour", ADDRESS)
    toybox = Toybox(ToyboxBenchmarkSettings(size="tiny", sizes={"tiny": {"naming_1": 2}}))
    with pytest.raises(InputError, match="no concept whose name stays the same from question"):
        refuse_unlearnable(System("c", "p", method="colour"), toybox)
    refuse_unlearnable(System("c", "p"), toybox)  # a method that is shown its references


def test_the_baselines_differ_in_what_is_shown():
    image = Image.new("RGB", (16, 16))
    reference = Reference("bo", image, "<bo> is round.")
    query = Query("q", OCT, "Is <bo> here?", image, (reference,))
    templates = load_templates()

    def asked(show, prompt=None):
        method = InContext(
            list,
            lambda query, references: conversation(query, references, templates),
            settings=InContextSettings(show),
        )
        one = replace(query, prompt=prompt)
        ((row,), _) = method.rows([one])
        assert method.query_size(one)[0] == len(row["images"])
        words = " ".join(
            part["text"]
            for message in row["prompt"]
            for part in message["content"]
            if part["type"] == "text"
        )
        placeholders = sum(
            part["type"] == "image" for message in row["prompt"] for part in message["content"]
        )
        assert placeholders == len(row["images"]) and "<bo>" in words
        return len(row["images"]), "is round" in words

    for prompt in (None, conversation(query, [reference], templates)):
        assert asked("both", prompt) == (2, True)
        assert asked("text", prompt) == (1, True)
        assert asked("pictures", prompt) == (2, False)
