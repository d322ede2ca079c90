"""What the page on retrieval shows runs as it stands."""

import re

from tests.places import ROOT


def test_the_example_runs_and_finds_both_concepts(tmp_path, monkeypatch):
    page = (ROOT / "docs/retrieval.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(code, "docs/retrieval.md", "exec"), names)
    found = names["found"]
    assert (found[0].name, found[0].by) == ("Bo", "question")
    assert found[1].name == names["second"] and found[1].similarity > 0.99
    assert len(names["p"]) == len(found) and names["p"][1] > 0.5  # of the one that is there
    assert list((tmp_path / "cache").rglob("*.safetensors"))
