"""The generate command: a set, a manifest and a sheet; and what it says when it cannot."""

import errno
import json
import subprocess
import sys

import pytest
import yaml

from data_gen.rows import read_rows
from launch.generate import main, read
from tests.places import ROOT


def config(tmp_path, **changes):
    path = tmp_path / "config.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "generator": "toybox",
                "out": str(tmp_path / "set"),
                "seed": 3,
                "counts": {"object_consistency": 4, "identity_consistency": 3},
                **changes,
            }
        )
    )
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
        ({}, ["--colour", "red"], "unknown option '--colour'"),
        ({}, ["--seed"], "--seed needs a value"),
        ({}, ["--seed", "3", "4"], "takes one value, not 3 4; write settings as --key value"),
        ({"counts": {"dance": 3}}, [], "not 'dance'"),
        ({"split": "exam"}, [], "split must be"),
        ({"generator": "folders"}, ["--root", "nowhere"], "nowhere"),
        ({}, ["--format", "csv"], "format must be parquet or webdataset, not 'csv'"),
        ({}, ["--rows_per_shard", "0"], "rows_per_shard must be a whole number from 1, not 0"),
        ({"counts": {"object_consistency": -1}}, [], "counts must say how many rows"),
        ({"counts": 4}, [], "'counts' must be a mapping from a text to a whole number, not 4"),
    ],
)
def test_it_refuses_with_one_sentence(tmp_path, changes, extra, sentence):
    with pytest.raises(SystemExit) as stop:
        main([*config(tmp_path, **changes), *extra])
    assert str(stop.value).startswith("generate: ") and sentence in str(stop.value)


def test_a_config_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("generator: toybox  # caf\u00e9".encode("latin-1"))
    with pytest.raises(SystemExit, match=r"latin.yaml: is not UTF-8 text \(at byte 24\)"):
        main(["--config", str(path)])


def test_each_process_makes_its_share_and_the_last_one_says_so(tmp_path, capsys, monkeypatch):
    command = [*config(tmp_path), "--rows_per_shard", "2", "--format", "webdataset"]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("1", ""), ("0", "7 rows")):
        monkeypatch.setenv("RANK", rank)
        main(command)
        assert capsys.readouterr().out.startswith(said)
        assert (tmp_path / "set").exists() == bool(said)
    assert len(list((tmp_path / "set/data").glob("*.tar"))) == 4
    assert len(read_rows(tmp_path / "set")) == 7


def test_other_settings_over_a_half_made_set_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    main([*config(tmp_path), "--rows_per_shard", "2"])
    with pytest.raises(SystemExit, match=r"\(seed was 3 and is 4\); .* or remove it"):
        main([*config(tmp_path), "--rows_per_shard", "2", "--seed", "4"])


@pytest.mark.parametrize(
    ("fails_with", "sentence"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "is full; 0 rows in whole shards are kept",
        ),
        (KeyboardInterrupt(), "stopped; the same command resumes after the last complete shard"),
    ],
)
def test_what_stops_it_is_one_sentence(tmp_path, monkeypatch, fails_with, sentence):
    def fail(*_):
        raise fails_with

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(SystemExit) as stop:
        main(config(tmp_path))
    assert str(stop.value).startswith("generate: ") and sentence in str(stop.value)
    assert "\n" not in str(stop.value)


@pytest.mark.parametrize(
    "name",
    [
        "toybox",
        "toybox_repic",
        "folders",
        "subjects200k",
        "detection",
        "released",
        "repic_2k",
        "personal_20k",
    ],
)
def test_the_shipped_configs_are_valid(name):
    extra = ["--root", "photos"] if name == "folders" else []
    assert read(["--config", f"configs/data/{name}.yaml", *extra])[0].counts


def test_rows_are_made_without_loading_torch():
    """It takes seconds and half a gigabyte, in each of many processes."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, launch.generate; "
            "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert said.stdout.strip() == "set()"


def test_leaks_and_inspect_say_what_can_be_guessed(tmp_path, capsys):
    """The number of references tells whether a name is expected: the exit status is 1."""
    told = {"combinations": {"1/1/0": 1, "3/2/2": 1}, "reference_px": 16, "query_px": 16}
    main(config(tmp_path, counts={"identity_consistency": 120}, **told))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(["--leaks", str(tmp_path / "set"), "--encoder", "thumbnails"])
    printed = capsys.readouterr().out
    assert stopped.value.code == 1 and "a name expected?  numbers and sizes" in printed
    assert "LEAK" in printed and "fewer than 2,000 rows" in printed
    main(["--inspect", str(tmp_path / "set"), "--out", str(tmp_path / "report")])
    assert "numbers and sizes" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="encoder 'nowhere' is unknown"):
        main(["--leaks", str(tmp_path / "set"), "--encoder", "nowhere"])
