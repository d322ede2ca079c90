"""``byname``: lists the programs, runs one, launches it under accelerate."""

import sys

import pytest

from launch import cli


def test_alone_it_lists_every_program_with_one_line(capsys):
    assert cli.main([]) == 0
    said = capsys.readouterr().out
    for name in cli.PROGRAMS:
        (line,) = [line for line in said.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 4
    assert set(cli.PROGRAMS) >= {
        "generate",
        "grpo",
        "sft",
        "evaluate",
        "compare",
        "mine_negatives",
        "tiny_model",
        "report",
        "bench_step",
        "bench_data",
    }


def test_another_program_is_refused(capsys):
    assert cli.main(["generat"]) == 2
    assert "there is no program 'generat'" in capsys.readouterr().err
    assert cli.main(["grpo", "--accelerate", "zero9"]) == 2
    assert "configs/accelerate/ has cpu, cpu_2, multi_gpu" in capsys.readouterr().err
    assert cli.main(["grpo", "--accelerate"]) == 2
    assert "--accelerate needs a file" in capsys.readouterr().err


def test_it_runs_the_program_in_this_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (
        cli.main(
            ["generate", "--counts", "{object_consistency: 2}", "--out", str(tmp_path / "rows")]
        )
        == 0
    )
    assert "2 rows" in capsys.readouterr().out
    assert sys.argv[0] == "byname generate"


@pytest.mark.parametrize(
    ("named", "extra"),
    [
        (["zero2"], ["--main_process_port", "0"]),
        (["cpu"], []),
        (
            ["zero2", "num_processes=4", "main_process_port=29501"],
            ["--num_processes", "4", "--main_process_port", "29501"],
        ),
        (["multi_node", "machine_rank=1"], ["--machine_rank", "1"]),
        (["configs/accelerate/cpu.yaml"], []),
    ],
)
def test_it_launches_under_accelerate(monkeypatch, named, extra):
    launched = []
    monkeypatch.setattr(cli.os, "execv", lambda path, command: launched.append(command))
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: pytest.fail("not launched"))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(pytest.fail.Exception):  # where execv does not end this process
        cli.main(["grpo", "--accelerate", *named, "--seed", "1"])
    (command,) = launched
    assert command[1:4] == ["-m", "launch.launcher", "--config_file"]
    assert command[4].endswith(f"{named[0].split('/')[-1].removesuffix('.yaml')}.yaml")
    assert command[5:] == [*extra, "-m", "launch.grpo", "--seed", "1"]


def test_under_a_launcher_nothing_is_launched_again(monkeypatch):
    class Program:
        @staticmethod
        def main(argv):
            assert argv == ["--seed", "1"]
            return 3

    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(cli.importlib, "import_module", lambda name: Program)
    assert cli.main(["grpo", "--accelerate=zero2", "--seed", "1"]) == 3


@pytest.mark.parametrize("program", cli.PROGRAMS)
def test_help_can_be_read(program, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([program, "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    lines = said.splitlines()
    assert lines[0].startswith(f"usage: {program}") and 8 < len(lines) <= 140
    assert max(map(len, lines)) <= 110 and f"byname {program}" in said
    assert "--config str" in said


def test_help_finds_what_it_does_not_print(capsys):
    for word, there in (("", False), ("all", True), ("epsilon", True)):
        with pytest.raises(SystemExit):
            cli.main(["grpo", "--help", *([word] if word else [])])
        assert ("--epsilon " in capsys.readouterr().out) == there


def test_several_gpus_or_a_config_of_the_users_own_are_launched_without_being_asked_for(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(cli, "GPUS", tmp_path / "no driver")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cli.usual_launcher("grpo") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    command = cli.usual_launcher("grpo")
    assert command[4].endswith("multi_gpu.yaml") and command[5:7] == ["--num_processes", "3"]
    assert cli.usual_launcher("report") == []
    (tmp_path / "accelerate").mkdir()
    (tmp_path / "accelerate" / "default_config.yaml").write_text("{}")
    assert cli.usual_launcher("sft")[1:] == ["-m", "launch.launcher"]
