"""The registry of benchmarks, and a new benchmark in a few lines."""

import json
import sys
from dataclasses import dataclass
from importlib import import_module

import pytest
from PIL import Image

from benchmarks import registry
from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.harness.evaluation import EvaluateSettings, evaluate
from benchmarks.metrics.intervals import ratio
from benchmarks.registry import BENCHMARKS, benchmark_class
from concepts.methods.prompting import conversation, load_templates
from concepts.methods.protocol import Reference
from data_gen.files.errors import InputError
from data_gen.files.files import alone_in
from data_gen.files.settings import read_settings
from data_gen.rows import OCT


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_imports_and_says_what_it_is(name):
    found = benchmark_class(name)
    assert issubclass(found, Benchmark) and found.name == name
    assert set(found.headlines) and found.limits and found.score is not Benchmark.score
    sets = {*found.limits, *found.box_sets, *found.retrieval_sets, *found.caption_sets}
    assert all(isinstance(one, str) for one in sets)


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(InputError, match="benchmark must be one of toybox, naming.*not 'captions'"):
        benchmark_class("captions")


def test_the_registry_imports_no_benchmark(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)  # as in a process that has imported none of them
    import_module("benchmarks.registry")
    assert "benchmarks.harness.benchmark" in sys.modules
    assert not sys.modules.keys() & {place.partition(":")[0] for place in BENCHMARKS.values()}


# A new benchmark: what it asks, how, and what the answers are worth.


@dataclass(kw_only=True)
class ColourSettings:
    colours: list[str]


class Colours(Benchmark):
    name = "colours"
    Settings = ColourSettings
    headlines = ("colours/accuracy",)
    limits = {"colours": 2}
    in_memory = True

    def __init__(self, settings, limit=None):
        super().__init__(settings, limit)
        self.titles = {"colours": "colours of plates"}
        red = Reference("bo", Image.new("RGB", (16, 16), "red"))
        self.sets = {
            "colours": [
                Question(
                    colour,
                    OCT,
                    "Is <bo> here?",
                    Image.new("RGB", (16, 16), colour),
                    (red,),
                    answer="yes" if colour == "red" else "no",
                )
                for colour in settings.colours[:limit]
            ]
        }

    def write(self, query, references):
        return conversation(query, references, load_templates())

    def score(self, replies, likelihoods):
        return {
            "colours/accuracy": ratio(
                [reply.text.startswith(question.answer) for question, reply in replies["colours"]]
            )
        }


def test_a_new_benchmark_is_a_subclass_and_a_line_in_the_registry(
    policy_dir, tmp_path, monkeypatch
):
    monkeypatch.setitem(registry.BENCHMARKS, "colours", f"{Colours.__module__}:Colours")
    arguments = [
        "--benchmark",
        "colours",
        "--colours",
        "red",
        "blue",
        "--resamples",
        "20",
        "--policy",
        f"p={policy_dir}",
        "--out",
        str(tmp_path),
    ]
    settings, own = read_settings(
        arguments, EvaluateSettings, choose=lambda v: benchmark_class(v["benchmark"]).Settings
    )
    result = evaluate(settings, benchmark_class("colours")(own))
    assert result["counts"] == {"colours": 2} and result["settings"] == {"colours": ["red", "blue"]}
    assert result["metrics"]["colours/accuracy"]["rows"] == 2
    kept = (tmp_path / "predictions" / "p" / "colours.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in kept} == {"red", "blue"}
    page = (tmp_path / "evaluation.html").read_text()
    assert page.count("<article") == 2 and "colours of plates" in page
    with alone_in(tmp_path), pytest.raises(InputError, match="another process; give another --out"):
        evaluate(settings, benchmark_class("colours")(own))
    with pytest.raises(InputError, match="captions.scores: colours asks for no captions"):
        settings.captions.scores.append("length")
        evaluate(settings, benchmark_class("colours")(own))
