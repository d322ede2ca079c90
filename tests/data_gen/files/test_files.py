"""Atomic writes, digests, and files found by the ends of their names."""

import json
import os
import socket
import subprocess

import pytest

from data_gen.files.files import (
    atomic_file,
    digest,
    file_digest,
    fingerprint_of,
    is_missing_path,
    kept_lines,
    remove_abandoned,
    write_json,
)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write(b"half")
        raise KeyError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_what_killed_processes_left_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "x.partial").write_text("no process in its name")
    for pid in (gone.pid, os.getpid()):
        (tmp_path / f"a.parquet.{socket.gethostname()}-{pid}.partial").write_text("half")
    remove_abandoned(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_digests_and_fingerprints_change_with_content_and_order(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one")
    b.write_text("two")
    assert digest("bo") == digest(b"bo") != digest("lu") and digest("\ud800") < 2**64
    assert fingerprint_of("x", a) == fingerprint_of("x", a) != fingerprint_of(a, "x")
    assert fingerprint_of("ab", "c") != fingerprint_of("a", "bc")
    assert file_digest([a, b]) != file_digest([b, a])
    before = file_digest([a])
    a.write_text("three")
    assert file_digest([a]) != before


def test_lines_that_a_kill_cut_off_are_ignored(tmp_path):
    path = tmp_path / "lines.jsonl"
    assert kept_lines(path) == []
    path.write_text('{"a": 1}\n[2]\n{"b": 3}\n{"c": ')
    assert kept_lines(path) == [{"a": 1}, {"b": 3}]


def test_local_paths_that_are_missing_are_told_from_hub_ids(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert all(map(is_missing_path, ["./gone", "/gone/x", "runs/gone"]))
    assert not any(map(is_missing_path, ["owner/name", "runs", os.fspath(tmp_path)]))
