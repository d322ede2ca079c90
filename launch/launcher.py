"""``accelerate launch`` that ends as its program ends: with its exit status, without a traceback.

``byname`` starts it in its own place (:mod:`launch.cli`). Ctrl-C and SIGTERM reach every process of
the program, which says itself what was stopped and how it resumes; the launcher waits for that.
"""

import os
import signal
import subprocess
import sys

import psutil
from accelerate.commands import launch as accelerate_launch
from torch.distributed.elastic.multiprocessing import api as elastic
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: list[str]) -> int:
    """Launch as ``accelerate launch`` does. Returns the program's exit status, or 128 + the number
    of the signal that killed the first of its processes to end."""
    # Torch's own handler raises, and kills what is saving a checkpoint after 30 seconds.
    elastic._terminate_process_handler = pass_on
    for number in SIGNALS:
        signal.signal(number, pass_on)
    sys.argv = ["accelerate launch", *argv]
    try:
        accelerate_launch.main()
    except subprocess.CalledProcessError as error:
        return status(error.returncode)
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return status(failure.exitcode)
    return 0


def pass_on(number: int, frame: object) -> None:
    """Send a signal to the processes that were launched, unless the terminal has done so."""
    if number == signal.SIGINT and _from_terminal():
        return
    for child in psutil.Process().children():
        child.send_signal(number)


def status(code: int) -> int:
    """An exit status as a shell has it. One sentence where a signal killed the process: it could
    say nothing itself."""
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    why = " (the machine's memory may be full)" if name == "SIGKILL" else ""
    print(f"byname: a process was ended by {name}{why}", file=sys.stderr)
    return 128 - code


def _from_terminal() -> bool:
    """Whether a Ctrl-C went to all processes at once: they are in the terminal's foreground."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no terminal
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
