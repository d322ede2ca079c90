"""Measurements that were kept are joined; what was measured otherwise is refused."""

import json
from pathlib import Path

import pytest

from data_gen.files.errors import InputError
from launch.tools import bench_step
from rl.speed.kept import join, read
from tests.rl.speed.test_speed import SHAPES, case


def write(folder, results, **on):
    folder.mkdir()
    machine = {"model": "toybox_base", "dtype": "float32", "device": "CPU, 1 thread", "threads": 1}
    text = json.dumps({**machine, **on, "results": results})
    (folder / "speed.json").write_text(text)
    return str(folder)


def read_from(folder, results, **on):
    return read(Path(write(folder, results, **on)) / "speed.json")


def test_runs_are_joined_into_one_table(tmp_path, capsys):
    parts = [
        write(tmp_path / "a", [case("G 2", SHAPES[0], 1.5), case("G 8", SHAPES[1], 3.0)]),
        write(tmp_path / "b", [case("prompt 500", SHAPES[5], 4.0)]),
    ]
    out = tmp_path / "both"
    assert bench_step.main(["--join", *parts, "--out", str(out)]) == 0
    table = (out / "speed.md").read_text()
    assert [name in table for name in ("| G 2 |", "| G 8 |", "| prompt 500 |")] == [True] * 3
    assert "Lower 95 % bound" in table and "Lower 95 % bound" in capsys.readouterr().out
    again = read(out / "speed.json")  # what is joined can be joined
    assert [each["case"] for each in join([again])[1]] == ["G 2", "G 8", "prompt 500"]


def test_what_was_not_measured_alike_is_not_joined(tmp_path):
    a = read_from(tmp_path / "a", [case("G 2", SHAPES[0], 1.5)])
    b = read_from(tmp_path / "b", [case("G 8", SHAPES[1], 1.5)], threads=2)
    with pytest.raises(InputError, match=r"differ in threads \(1 and 2\)"):
        join([a, b])
    with pytest.raises(InputError, match="case 'G 2' is in two of the runs"):
        join([a, a])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result.pop("stock_scores_all"),
        lambda result: result["ours"]["steps"].pop("loss"),
        lambda result: result["ours"]["steps"]["loss"].pop(),
        lambda result: result["shape"].pop("lora"),
        lambda result: result["prices"].update(more=1),
    ],
)
def test_files_of_other_programs_are_refused(tmp_path, spoil):
    result = case("G 2", SHAPES[0], 1.5)
    spoil(result)
    with pytest.raises(InputError, match="not what this bench_step writes"):
        read_from(tmp_path / "a", [result])
    with pytest.raises(InputError, match="is not there"):
        read(tmp_path / "speed.json")


def test_single_cases_can_be_chosen(capsys):
    assert bench_step.chosen(["G 16", "G", "box"])[:3] == [
        ("G", "G 16"),
        ("G", "G 2"),
        ("G", "G 4"),
    ]
    assert bench_step.chosen(["G 16", "G", "box"])[-1] == ("tasks", "box")
    assert bench_step.main(["--cases", "G 17"]) == 2
    assert "single ones of yes or no, box" in capsys.readouterr().err
