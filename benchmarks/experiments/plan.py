"""Plan an experiment: its steps, the command of each, and the steps that it depends on.

Nothing is run here (:mod:`benchmarks.experiments.run`) and nothing is written.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiments.config import (
    PROGRAMS,
    Arm,
    Experiment,
    ExperimentError,
    config_file,
)

SPLITS = {"validate": "validation", "test": "test"}
"""Place -> whose toys are asked about. No toy is in both, whatever a config says."""


@dataclass(frozen=True)
class Step:
    """Something to be done once.

    Attributes:
        name: such as ``train/grpo_n-1``; its log and its completion marker are named after it.
        arm: whose it is; empty for rows.
        kind: steps of one kind take equally long.
        command: makes the arguments when it is to start: a rate is known only then.
        needs: names of the steps before it.
        minutes: about how long, by the config.
    """

    name: str
    arm: str
    kind: str
    command: Callable[[], list[str]]
    needs: tuple[str, ...]
    minutes: float


def plan(experiment: Experiment, only: list[str] | None = None) -> list[Step]:
    """Every step, in an order in which each comes after what it needs.

    Args:
        only: arms to be measured in addition to the base; all when ``None``. What
            they need is planned too.

    Raises:
        ExperimentError: an arm that the config does not have.
    """
    e = experiment
    for name in only or []:
        if name not in e.arms:
            raise ExperimentError(f"no arm {name!r}; there are {', '.join(e.arms)}")
    chosen = [name for name, arm in e.arms.items() if not only or name in only or arm.is_base]
    steps: dict[str, Step] = {}

    def add(step: Step) -> str:
        steps.setdefault(step.name, step)
        return step.name

    for name in chosen:
        if e.arms[name].is_base:
            add(_test(e, name, None, ()))
    measured = [name for name in chosen if not e.arms[name].is_base]
    for name in dict.fromkeys(_rate_arm(e, _trained(e, n)) for n in measured):
        for step in _sweep(e, name):
            add(step)

    def add_training(name: str, seed: int) -> str:
        arm, rate = e.arms[name], _rate_arm(e, name)
        needs = (add_training(arm.start, seed),) if arm.start else ()
        needs += tuple(add(step) for step in _row_steps(e, arm, seed))
        needs += tuple(
            f"validate/{rate}-{r:g}" for r in e.arms[rate].rates if len(e.arms[rate].rates) > 1
        )
        return add(
            Step(
                f"train/{name}-{seed}",
                name,
                f"train/{name}",
                lambda: _train(e, name, seed, rate_of(e, rate)),
                needs,
                arm.minutes,
            )
        )

    # Seed by seed, so that a stopped experiment has all arms of some seeds.
    for seed in e.seeds:
        for name in measured:
            add(_test(e, name, seed, (add_training(_trained(e, name), seed),)))
    return list(steps.values())


def rate_of(experiment: Experiment, name: str) -> float:
    """The learning rate that validation chose for an arm; the smaller one of equals.

    Raises:
        ExperimentError: the sweep is not finished.
    """
    rates = experiment.arms[name].rates
    if len(rates) == 1:
        return rates[0]
    scores = sweep_scores(experiment, name)
    if len(scores) < len(rates):
        raise ExperimentError(f"the sweep of {name} is not finished")
    return max(sorted(rates), key=lambda rate: scores[rate])


def sweep_scores(experiment: Experiment, name: str) -> dict[float, float]:
    """Learning rate -> validation score, as far as measured; a score that is undefined is -1."""
    found = {}
    for rate in experiment.arms[name].rates:
        file = Path(experiment.out) / "validate" / f"{name}-{rate:g}" / "evaluation.json"
        if file.exists():
            metrics = json.loads(file.read_text())["metrics"]
            if experiment.choose not in metrics:
                raise ExperimentError(
                    f"choose: {experiment.choose!r} is not measured; there are {', '.join(metrics)}"
                )
            (values,) = metrics[experiment.choose]["values"].values()
            found[rate] = -1.0 if values["value"] is None else values["value"]
    return found


# ---- commands ----


def _sweep(e: Experiment, name: str) -> list[Step]:
    arm = e.arms[name]
    if len(arm.rates) == 1:
        return []
    steps = _row_steps(e, arm, e.sweep_seed)
    needs = tuple(step.name for step in steps)
    for rate in arm.rates:
        run = f"{name}-{rate:g}"
        steps.append(
            Step(
                f"sweep/{run}",
                name,
                f"train/{name}",
                lambda r=rate: _train(e, name, e.sweep_seed, r, place="sweep", run=f"{name}-{r:g}"),
                needs,
                arm.minutes,
            )
        )
        steps.append(
            Step(
                f"validate/{run}",
                name,
                "validate",
                lambda r=run: _evaluate(
                    e, "validate", r, e.validation, f"{e.out}/sweep/{r}/policy"
                ),
                (f"sweep/{run}",),
                e.validation.get("minutes", 1.0),
            )
        )
    return steps


def _row_steps(e: Experiment, arm: Arm, seed: int) -> list[Step]:
    steps = []
    for name in (arm.rows, *arm.extra_rows.values()):
        changes = dict(e.rows["sets"][name] or {})
        of_seed = changes.setdefault("seed", seed)
        out = f"{e.out}/rows/{name}-{of_seed}"

        def command(changes=changes, out=out):
            return [
                sys.executable,
                "-m",
                "launch.generate",
                "--config",
                e.rows["config"],
                "--out",
                out,
                *_options(changes),
            ]

        steps.append(
            Step(
                f"rows/{name}-{of_seed}",
                "",
                f"rows/{name}",
                command,
                (),
                e.rows.get("minutes", 0.5),
            )
        )
    return steps


def _train(
    e: Experiment, name: str, seed: int, rate: float, place: str = "train", run: str = ""
) -> list[str]:
    arm = e.arms[name]
    assert arm.program is not None
    rows = {
        option: (e.rows["sets"][of] or {}).get("seed", seed)
        for option, of in {"rows": arm.rows, **arm.extra_rows}.items()
    }
    sets = {
        option: f"{e.out}/rows/{of}-{rows[option]}"
        for option, of in {"rows": arm.rows, **arm.extra_rows}.items()
    }
    return [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(config_file(e.accelerate)),
        "-m",
        PROGRAMS[arm.program],
        "--config",
        arm.config,
        *_options(
            {
                "name": run or f"{name}-{seed}",
                "output_root": f"{e.out}/{place}",
                "policy": f"{e.out}/train/{arm.start}-{seed}/policy" if arm.start else e.policy,
                **sets,
                "seed": seed,
                "learning_rate": rate,
                **arm.set,
            }
        ),
    ]


def _test(e: Experiment, name: str, seed: int | None, needs: tuple[str, ...]) -> Step:
    run = name if seed is None else f"{name}-{seed}"
    policy = e.policy if seed is None else f"{e.out}/train/{_trained(e, name)}-{seed}/policy"
    base = [f"test/{n}" for n, arm in e.arms.items() if arm.is_base and n != name]
    # The database and its features are made once, in the base's test; the others read them.
    needs += tuple(base) if seed is not None else ()
    return Step(
        f"test/{run}",
        name,
        "test",
        lambda: _evaluate(e, "test", run, e.test, policy, e.arms[name].system),
        needs,
        e.test.get("minutes", 1.0),
    )


def _evaluate(
    e: Experiment, place: str, run: str, what: dict, policy: str, system: str = ""
) -> list[str]:
    behind = {run: {"file": str(config_file(system)), "policy": policy}} if system else {}
    return [
        sys.executable,
        "-m",
        "launch.evaluate",
        "--config",
        f"{e.out}/evaluate.yaml",
        "--size",
        what["size"],
        "--seed",
        str(what["seed"]),
        "--split",
        SPLITS[place],
        "--out",
        f"{e.out}/{place}/{run}",
        *(["--systems", json.dumps(behind)] if behind else ["--policy", f"{run}={policy}"]),
    ]


def _options(values: dict) -> list[str]:
    """``{"seed": 1}`` as ``--seed 1``; lists as several words, mappings as JSON."""
    words = []
    for key, value in values.items():
        if isinstance(value, bool) or value is None:
            value = json.dumps(value)
        parts = value if isinstance(value, list) else [value]
        words += [f"--{key}", *(json.dumps(p) if isinstance(p, dict) else str(p) for p in parts)]
    return words


def _trained(e: Experiment, name: str) -> str:
    """The arm whose policies an arm measures."""
    return e.arms[name].policy_of or name


def _rate_arm(e: Experiment, name: str) -> str:
    return e.arms[name].rate_of or name
