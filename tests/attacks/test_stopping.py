"""Ctrl-C in every program, at its beginning and while libraries load: a sentence, no traceback."""

import importlib
import sys
from types import SimpleNamespace

import pytest

from launch import cli

BENCHMARKS = (
    *("benchmarks.heads", "benchmarks.ladder", "benchmarks.retrieval"),
    *("benchmarks.captions.judge", "benchmarks.captions.score_file", "benchmarks.toybox.vectors"),
)


@pytest.mark.parametrize("name", [*cli.PROGRAMS.values(), *BENCHMARKS])
def test_every_program_stops_with_a_sentence(name, monkeypatch, capsys):
    program = importlib.import_module(name)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    reader = next(r for r in ("read_settings", "parse", "read") if hasattr(program, r))
    monkeypatch.setattr(program, reader, stopped)
    try:
        assert program.main(["--config", "configs/data/toybox.yaml"]) == 130
        said = capsys.readouterr().err
    except SystemExit as stop:
        said = str(stop.code)
    title = name.rpartition(".")[2]
    assert said.strip().startswith(f"{title}: stopped") and len(said.strip().splitlines()) == 1


def test_it_stops_while_libraries_load(monkeypatch, capsys):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "launch.report", SimpleNamespace(main=stopped))
    assert cli.main(["report", "runs/x"]) == 130
    assert capsys.readouterr().err == "\nreport: stopped\n"
