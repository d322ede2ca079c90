"""Run the steps of an experiment in parallel as subprocesses, resumable.

A step is done when its completion marker ``done/<step>.json`` exists; it is written after the
step's command has succeeded. An interrupted command is run again and resumes: rows after the last
whole shard, training from the last complete checkpoint, evaluation after the last batch.

Commands that outlived a killed experiment would write to the same places as their successors: they
are recognised by an environment variable and are ended first. A lock admits one process at a time.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import psutil
import yaml
from tqdm.auto import tqdm

from benchmarks.experiments.config import (
    Experiment,
    ExperimentError,
    identity,
)
from benchmarks.experiments.plan import Step
from data_gen.files.files import alone_in, atomic_file, refuse_other_json

OURS = "BYNAME_EXPERIMENT"
"""Environment variable of every command: the experiment's directory."""

RESULTS = ("results.md", "results.json", "results.png", "evaluate.yaml")
"""What is written into the experiment's directory beside its own file."""

_TAIL = 25  # lines of a failed command's log that are shown
_SAVES = 120  # seconds a command has to save where it is, when it is asked to end: a step of GRPO
_WAIT = 10  # seconds until a killed one is gone


@contextmanager
def claimed(experiment: Experiment):
    """The experiment's directory, for this process alone; what outlived an earlier one is ended.

    Raises:
        InputError: another process runs it, or it holds another experiment.
        FileExistsError: it holds files of something else where results go.
    """
    out = Path(experiment.out)
    with alone_in(out):
        end(_survivors(out))
        _claim(experiment, out)
        yield out


def _claim(experiment: Experiment, out: Path) -> None:
    what, file = identity(experiment), out / "experiment.json"
    refuse_other_json(file, {"policy", "evaluate"}, RESULTS)
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        differ = sorted(
            key
            for key in what
            if key in before
            and before[key] != what[key]
            and not _not_begun(key, out)
            and not _longer_sweep(experiment, key, before[key], out)
        )
        if differ:
            raise ExperimentError(
                f"{out} holds another experiment (other {', '.join(differ)}); "
                f"name another `out`, or delete it"
            )
        what = before | what
    write_whole(file, json.dumps(what, indent=1))
    write_whole(out / "evaluate.yaml", yaml.safe_dump(experiment.evaluate, sort_keys=False))


def _not_begun(key: str, out: Path) -> bool:
    """Whether nothing was made yet with an arm or a set of rows: then it may change."""
    what, _, name = key.partition(" ")
    places = {"arm": ("sweep", "validate", "train", "test"), "rows": ("rows",)}.get(what, ())
    made = [path.name for place in places for path in (out / place).glob("*")]
    for place in places:  # also what was deleted since
        markers = (out / "done").glob(f"{place}-*.json")
        made += [path.stem.removeprefix(f"{place}-") for path in markers]
    return bool(places) and not any(of == name or of.startswith(f"{name}-") for of in made)


def _longer_sweep(experiment: Experiment, key: str, before: dict, out: Path) -> bool:
    """Whether an arm only has more learning rates to try, and nothing was trained yet with the best
    of the old ones."""
    name = key.removeprefix("arm ")
    arm = experiment.arms.get(name)
    if arm is None or len(before["rates"]) < 2 or not set(before["rates"]) < set(arm.rates):
        return False
    same = identity(experiment)[key] == before | {"rates": arm.rates}
    trained = [
        path
        for other, one in experiment.arms.items()
        if name in (other, one.rate_of)
        for path in (out / "train").glob(f"{other}-*")
    ]
    return same and not trained


def is_done(out: Path, step: Step) -> bool:
    """Whether a step's command has succeeded."""
    return _marker(out, step).exists()


def seconds_left(out: Path, steps: list[Step]) -> tuple[float, float]:
    """Processor seconds of the steps that are not done, and of all.

    A step of a kind that has been done takes as long as those did on average; else the config says.
    """
    measured: dict[str, list[float]] = {}
    for step in steps:
        if is_done(out, step):
            seconds = json.loads(_marker(out, step).read_text())["seconds"]
            measured.setdefault(step.kind, []).append(seconds)

    def guess(step: Step) -> float:
        known = measured.get(step.kind)
        return sum(known) / len(known) if known else 60 * step.minutes

    return (sum(guess(step) for step in steps if not is_done(out, step)), sum(map(guess, steps)))


def run_steps(
    experiment: Experiment, out: Path, steps: list[Step], after: Callable[[Step], None]
) -> None:
    """Do what is not done, ``experiment.jobs`` commands at a time.

    Args:
        out: of the experiment, claimed.
        steps: each after those that it needs.
        after: called with every step that was done.

    Raises:
        ExperimentError: a command failed; the other running commands have finished first.
    """
    todo = [step for step in steps if not is_done(out, step)]
    done = {step.name for step in steps if is_done(out, step)}
    running: dict[str, tuple[Step, subprocess.Popen, float, list[str]]] = {}
    failed: list[str] = []
    left, total = seconds_left(out, steps)
    bar = tqdm(
        total=round(total),
        initial=round(total - left),
        unit="s",
        dynamic_ncols=True,
        desc=f"{len(done)}/{len(steps)} steps",
    )
    try:
        while running or (todo and not failed):
            for step in [s for s in todo if set(s.needs) <= done]:
                if len(running) < experiment.jobs and not failed:
                    todo.remove(step)
                    command = step.command()
                    running[step.name] = (
                        step,
                        _start(experiment, out, step, command),
                        time.monotonic(),
                        command,
                    )
            if not running:
                raise ExperimentError(
                    f"no step can start: {todo[0].name} waits for "
                    f"{', '.join(set(todo[0].needs) - done)}"
                )
            for name, (step, process, started, command) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                seconds = time.monotonic() - started
                if process.returncode:
                    failed.append(
                        f"{name} ended with {process.returncode}; its log is "
                        f"{_log(out, step)}:\n{_tail(_log(out, step))}"
                    )
                    continue
                # The time of the last session: a resumed step looks shorter than it was.
                write_whole(
                    _marker(out, step),
                    json.dumps({"seconds": round(seconds, 1), "command": command}),
                )
                done.add(name)
                tqdm.write(f"{name}: {seconds:.0f} s")
                after(step)
            left, total = seconds_left(out, steps)
            spent = sum(time.monotonic() - started for *_, started, _ in running.values())
            bar.total, bar.n = round(total), round(min(total, total - left + min(spent, left)))
            bar.set_description_str(f"{len(done)}/{len(steps)} steps", refresh=False)
            bar.set_postfix_str(
                "; ".join(
                    f"{name} {_last(_log(out, step))}" for name, (step, *_) in running.items()
                )[:160]
            )
            time.sleep(0.3)
    finally:
        bar.close()
        end(
            [
                psutil.Process(process.pid)
                for _, process, *_ in running.values()
                if process.poll() is None
            ]
        )
    if failed:
        raise ExperimentError("\n".join(failed))


def end(processes: list[psutil.Process]) -> None:
    """End processes and all that they started.

    SIGTERM comes first, upon which training finishes its step and saves; what is still there after
    :data:`_SAVES` seconds, or at a second Ctrl-C, is killed.
    """
    family = {}
    for process in processes:
        try:
            family |= {p.pid: p for p in (process, *process.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    if family:
        tqdm.write(f"the commands that run save where they are, for {_SAVES} s at most ...")
    for act, seconds in ((psutil.Process.terminate, _SAVES), (psutil.Process.kill, _WAIT)):
        for process in family.values():
            try:
                act(process)
            except psutil.NoSuchProcess:
                continue
        try:
            _, alive = psutil.wait_procs(list(family.values()), timeout=seconds)
        except KeyboardInterrupt:
            alive = [p for p in family.values() if p.is_running()]
        family = {p.pid: p for p in alive}


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(text.encode())


def _start(experiment: Experiment, out: Path, step: Step, command: list[str]) -> subprocess.Popen:
    log = _log(out, step)
    log.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        OURS: str(out.resolve()),
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": str(experiment.threads),
    }
    with log.open("ab") as file:
        file.write(f"\n$ {' '.join(command)}\n".encode())
        # In a session of its own: Ctrl-C is this process's to handle.
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _survivors(out: Path) -> list[psutil.Process]:
    """Commands of this experiment whose starter was killed."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(OURS) == str(out.resolve()) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:  # gone meanwhile, or somebody else's
            continue
    return found


def _marker(out: Path, step: Step) -> Path:
    return out / "done" / f"{step.name.replace('/', '-')}.json"


def _log(out: Path, step: Step) -> Path:
    return out / "logs" / f"{step.name.replace('/', '-')}.log"


def _lines(log: Path) -> list[str]:
    """The end of a log; a progress bar's states are lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.replace("\r", "\n").split("\n") if line.strip()]


def _tail(log: Path) -> str:
    return "\n".join(f"    {line}" for line in _lines(log)[-_TAIL:])


def _last(log: Path) -> str:
    """How far a command is: the share at the front of its progress bar."""
    line = (_lines(log) or [""])[-1]
    return line.split("|")[0].strip()[-40:] if "%|" in line else ""
