"""The adapter for lmms-eval: its files say what they should, and score as the benchmarks do."""

import importlib.util
from pathlib import Path

import datasets
import pytest
import yaml
from published_files import make_files

from benchmarks.published.export import export, main
from data_gen.files.settings import BenchmarkError
from data_gen.rows import read_rows
from tests.concepts.tiny_encoders import save_open_clip

FOLDER = Path(__file__).parents[2] / "configs" / "benchmarks" / "lmms_eval"


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
    for kind, path, controls in (("naming", "queries", ["wrong"]), ("choices", "visual", []),
                                 ("recognition", "recognition", [])):
        (root / f"{kind}.yaml").write_text(yaml.safe_dump({"benchmark": kind, "settings": {
            "path": str(root / f"{path}.json"), "database": str(root / "database.json"),
            "images": images, "size": 32, "controls": controls}}))
        export(root / f"{kind}.yaml", root / "out", limit=4)
    return root


@pytest.mark.parametrize("kind", ["naming", "recognition", "choices"])
def test_a_task_from_rows_to_scores(exported, utils, kind):
    task = yaml.load((FOLDER / f"byname_{kind}.yaml").read_text(), Loader)
    data = task["dataset_kwargs"]["data_files"]["test"].replace("runs/lmms_eval",
                                                                 str(exported / "out"))
    docs = datasets.load_dataset(task["dataset_path"], data_files={"test": data},
                                 cache_dir=str(exported / "cache"))["test"]
    assert len(docs) == 4

    def called(name):
        return getattr(utils, task[name].removeprefix("utils."))

    messages = called("doc_to_messages")(docs[0])
    assert [m["role"] for m in messages] == ["system", "user"]
    pictures = [p["url"] for m in messages for p in m["content"] if p["type"] == "image"]
    assert [p.size for p in pictures] == [p.size for p in called("doc_to_visual")(docs[0])]
    assert called("doc_to_text")(docs[0]).count("<image>") == len(pictures) == 2
    found = [called("process_results")(doc, [called("doc_to_target")(doc)]) for doc in docs]
    for metric in task["metric_list"]:
        score = getattr(utils, metric["aggregation"].removeprefix("utils."))
        truth = score([result[metric["metric"]] for result in found])
        # Options are answered in words here, so no letter is right.
        assert truth == (0 if metric["metric"] == "byname_letter" else 1), metric["metric"]
    assert set(found[0]) == {metric["metric"] for metric in task["metric_list"]}


def test_controls_are_sets_of_their_own(exported):
    assert (exported / "out" / "naming_wrong" / "data").is_dir()


def test_references_that_were_found_are_a_set_too(exported, tmp_path):
    config = yaml.safe_load((exported / "naming.yaml").read_text())
    config["settings"]["retrieval"] = {
        "encoder": str(save_open_clip(tmp_path / "clip")), "regions": None, "k": 3, "verify": 0.5,
        "cache": str(tmp_path / "features")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    counts = export(tmp_path / "c.yaml", tmp_path / "out", limit=4)
    assert counts == {"naming": 4, "naming_found": 4, "naming_wrong": 4}
    rows = read_rows(tmp_path / "out" / "naming_found")
    assert all(len(row["images"]) == 3 + 1 and len(row["names"]) == 1 for row in rows)
    assert all(len(row["absent_names"]) in (2, 3) for row in rows)


def test_what_cannot_be_exported(tmp_path):
    (tmp_path / "c.yaml").write_text("benchmark: naming")
    with pytest.raises(BenchmarkError, match="no 'settings'"):
        export(tmp_path / "c.yaml", tmp_path / "out")
    with pytest.raises(SystemExit, match="cannot be read"):
        main(["--config", str(tmp_path / "d.yaml"), "--out", str(tmp_path / "out")])
