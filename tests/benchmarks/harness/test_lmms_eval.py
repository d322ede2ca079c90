"""The adapter for lmms-eval: its files say what they should, and score as the benchmarks do."""

import importlib.util

import datasets
import pytest
import yaml

from launch.tools.export_benchmark import main
from tests.benchmarks.published_files import make_files
from tests.places import ROOT

FOLDER = ROOT / "configs" / "benchmarks" / "lmms_eval"


class Loader(yaml.SafeLoader):
    """Reads ``!function utils.f`` as the word behind it."""


Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@pytest.fixture(scope="module")
def utils():
    spec = importlib.util.spec_from_file_location("lmms_eval_utils", FOLDER / "utils.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root, images = make_files(tmp_path_factory.mktemp("export"))
    for kind, path in (
        ("naming", "queries"),
        ("multiple_choice", "visual"),
        ("recognition", "recognition"),
    ):
        (root / f"{kind}.yaml").write_text(
            yaml.safe_dump(
                {
                    "benchmark": kind,
                    "path": str(root / f"{path}.json"),
                    "database": str(root / "database.json"),
                    "images": images,
                    "size": 32,
                }
            )
        )
        main(["--config", str(root / f"{kind}.yaml"), "--out", str(root / "out"), "--limit", "4"])
    return root


@pytest.mark.parametrize("kind", ["naming", "recognition", "multiple_choice"])
def test_a_task_from_rows_to_scores(exported, utils, kind):
    task = yaml.load((FOLDER / f"byname_{kind}.yaml").read_text(), Loader)
    data = task["dataset_kwargs"]["data_files"]["test"].replace(
        "runs/lmms_eval", str(exported / "out")
    )
    docs = datasets.load_dataset(
        task["dataset_path"], data_files={"test": data}, cache_dir=str(exported / "cache")
    )["test"]
    assert len(docs) == 4

    def called(name):
        return getattr(utils, task[name].removeprefix("utils."))

    messages = called("doc_to_messages")(docs[0])
    assert [m["role"] for m in messages] == ["system", "user"]
    shown = [p["url"] for m in messages for p in m["content"] if p["type"] == "image"]
    assert [p.size for p in shown] == [p.size for p in called("doc_to_visual")(docs[0])]
    assert called("doc_to_text")(docs[0]).count("<image>") == len(shown) == 2
    found = [called("process_results")(doc, [called("doc_to_target")(doc)]) for doc in docs]
    for metric in task["metric_list"]:
        score = getattr(utils, metric["aggregation"].removeprefix("utils."))
        truth = score([result[metric["metric"]] for result in found])
        # Options are answered in words here, so no letter is right.
        assert truth == (0 if metric["metric"] == "byname_letter" else 1), metric["metric"]
    assert set(found[0]) == {metric["metric"] for metric in task["metric_list"]}
