"""The Slurm script and the container file: as far as they can be tested without either."""

import os
import re
import subprocess

import pytest

from launch.cli import PROGRAMS
from tests.places import ROOT

FOLDER = ROOT / "configs" / "cluster"
SBATCH = (FOLDER / "grpo.sbatch").read_text(encoding="utf-8")
CONTAINER = (FOLDER / "Containerfile").read_text(encoding="utf-8")


def test_the_script_is_valid_bash_and_its_options_come_first():
    subprocess.run(["bash", "-n", FOLDER / "grpo.sbatch"], check=True)
    lines = SBATCH.splitlines()
    options = [line for line in lines if line.startswith("#SBATCH")]
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in options)
    # Slurm reads options up to the first command.
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(lines.index(option) for option in options) < commands[0]
    assert {"#SBATCH --requeue", "#SBATCH --signal=TERM@600"} <= set(options)


@pytest.mark.parametrize(("ends", "requeued"), [(0, False), (1, False), (143, True)])
def test_the_script_launches_on_each_machine_and_asks_anew_when_preempted(tmp_path, ends, requeued):
    def program(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)

    # Slurm's programs and byname, which write down how they were called.
    program("srun", 'SLURM_NODEID=1 "$@"')
    program("byname", f'printf "%s\\n" "$@" > "{tmp_path}/called"; exit {ends}')
    asked = tmp_path / "asked"
    program("scontrol", f'[ "$1" = show ] && echo alpha && echo beta || echo "$@" > {asked}')
    variables = {"SLURM_JOB_NODELIST": "x", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "4"}
    done = subprocess.run(
        ["bash", FOLDER / "grpo.sbatch", "--config", "a b.yaml"],
        env={**os.environ, **variables, "SLURM_JOB_ID": "77", "PATH": f"{tmp_path}:/usr/bin:/bin"},
        timeout=60,
    )
    assert done.returncode == ends
    assert (tmp_path / "called").read_text().splitlines() == [
        *("grpo", "--accelerate", "multi_node", "num_machines=2", "num_processes=8"),
        *("machine_rank=1", "main_process_ip=alpha", "main_process_port=29500"),
        *("--config", "a b.yaml"),
    ]
    assert (asked.read_text() == "requeue 77\n") if requeued else not asked.exists()
    assert "grpo" in PROGRAMS and (ROOT / "configs" / "accelerate" / "multi_node.yaml").is_file()


def test_the_container_holds_every_package_and_starts_byname():
    text = CONTAINER.replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "STOPSIGNAL", "ENTRYPOINT"}
    assert lines[0].startswith("FROM ") and {line.split()[0] for line in lines} <= known
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert not [name for name in copied if not (ROOT / name).exists()]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= set(copied)
    assert lines[-1] == 'ENTRYPOINT ["byname"]'
    assert lines.index("USER user") > max(i for i, x in enumerate(lines) if x.startswith("RUN pip"))
