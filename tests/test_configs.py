"""configs/README.md lists every config, with the command that its header gives."""

import re

import pytest

from data_gen.files.settings import read_yaml
from tests.places import ROOT

CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parts[-2] not in ("accelerate", "lmms_eval", "base")
)
TABLE = {
    match[1]: match[2]
    for match in re.finditer(
        r"^\| `(\S+\.yaml)` \| `(byname \w+)` \|",
        (ROOT / "configs" / "README.md").read_text(),
        re.MULTILINE,
    )
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_header_has_the_command_of_the_table(path):
    name = path.relative_to(ROOT / "configs").as_posix()
    header = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    assert name in TABLE, f"configs/README.md has no line for {name}"
    said = [line for line in header if TABLE[name] in line]
    assert said, f"{name} does not open with its command, `{TABLE[name]} ...`"
    assert re.search(r"expect|not (run|measured) here", " ".join(header), re.IGNORECASE)


def test_the_table_lists_nothing_else():
    assert set(TABLE) == {path.relative_to(ROOT / "configs").as_posix() for path in CONFIGS}


@pytest.mark.parametrize(
    "path", [p for p in CONFIGS if p.parts[-2] in ("grpo", "sft")], ids=lambda path: path.stem
)
def test_the_rows_of_a_training_are_what_a_config_makes(path):
    made = {read_yaml(data).get("out") for data in (ROOT / "configs" / "data").glob("*.yaml")}
    assert all(out.startswith(("runs/rows/", "runs/pairs/")) for out in made)
    settings = read_yaml(path)
    if "--rows PATH" in path.read_text(encoding="utf-8").partition("\n\n")[0]:
        return  # rows that no config makes: its command says that they are the user's
    assert {settings[key] for key in ("rows", "eval_rows") if settings.get(key)} <= made
