"""A program under the launcher: its exit status, its last words, and nothing of the launcher's."""

import os
import signal
import subprocess
import sys
import time

import pytest

from launch.launcher import status
from tests.launch.launching import environment
from tests.places import ROOT

PROGRAM = """
import os, signal, sys, time
place = os.path.join(sys.argv[1], "started." + os.environ.get("RANK", "0"))
def end(number, frame):
    time.sleep(0.3)  # it saves something
    print("saved", flush=True)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
open(place, "w").close()
time.sleep(120)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "processes", "number"), [("cpu", 1, signal.SIGTERM), ("cpu_2", 2, signal.SIGINT)]
)
def test_a_signal_ends_the_program_and_then_the_launcher(tmp_path, config, processes, number):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-m", "launch.launcher", "--main_process_port", "0"]
    command += ["--config_file", str(ROOT / "configs" / "accelerate" / f"{config}.yaml")]
    if processes == 1:
        command = [word for word in command if word not in ("--main_process_port", "0")]
    started = subprocess.Popen(
        [*command, str(script), str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    while len(list(tmp_path.glob("started.*"))) < processes:
        assert started.poll() is None and time.monotonic() < deadline, started.communicate()[1]
        time.sleep(0.1)
    os.kill(started.pid, number)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 128 + number, err
    assert out.count("saved") == processes
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("code", "shell", "said"),
    [
        (0, 0, ""),
        (2, 2, ""),
        (-9, 137, "ended by SIGKILL (the machine's memory may be full)"),
        (-11, 139, "ended by SIGSEGV"),
    ],
)
def test_the_exit_status_is_the_programs(capsys, code, shell, said):
    assert status(code) == shell
    err = capsys.readouterr().err
    assert said in err and bool(err) == bool(said)
