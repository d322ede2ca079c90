"""The generate command: a set, a manifest and a sheet; and what it says when it cannot."""

import json

import pytest
import yaml

from data_gen.rows import read_rows
from launch.generate import main, read_config


def config(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({
        "generator": "toybox", "out": str(tmp_path / "set"), "seed": 3,
        "counts": {"object_consistency": 4, "identity_consistency": 3}, **changes}))
    return ["--config", str(path)]


def test_it_writes_rows_a_manifest_and_a_contact_sheet(tmp_path, capsys):
    main([*config(tmp_path), "--seed", "5"])
    rows = read_rows(tmp_path / "set")
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    assert manifest["tasks"] == {"identity_consistency": 3, "object_consistency": 4}
    assert manifest["seed"] == 5 and "-5-" in rows[0]["id"]
    assert (tmp_path / "set/contact_sheet.png").stat().st_size > 1000
    assert "7 rows" in capsys.readouterr().out


def test_targets_become_a_column(tmp_path):
    main([*config(tmp_path, targets=True)])
    rows = read_rows(tmp_path / "set").filter(lambda row: row["answer"])
    assert rows["target"] == rows["answer"]


@pytest.mark.parametrize(
    ("changes", "extra", "sentence"),
    [
        ({"generator": "magic"}, [], "generator must be one of toybox, folders"),
        ({"hard_shared": 1}, [], "unknown key 'hard_shared'"),
        ({}, ["--colour", "red"], "unknown key 'colour'"),
        ({}, ["--seed"], "write settings as --key value"),
        ({"counts": {"dance": 3}}, [], "not 'dance'"),
        ({"split": "test"}, [], "split must be"),
        ({"generator": "folders"}, ["--root", "nowhere"], "nowhere"),
    ],
)
def test_it_refuses_with_one_sentence(tmp_path, changes, extra, sentence):
    with pytest.raises(SystemExit) as stop:
        main([*config(tmp_path, **changes), *extra])
    assert str(stop.value).startswith("generate: ") and sentence in str(stop.value)


@pytest.mark.parametrize("name", [
    "toybox", "toybox_repic", "folders", "subjects200k", "detection", "released", "repic_2k",
    "personal_20k"])
def test_the_shipped_configs_are_valid(name):
    extra = ["--root", "photos"] if name == "folders" else []
    assert read_config(["--config", f"configs/data/{name}.yaml", *extra])["counts"]
