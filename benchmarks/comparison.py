"""An experiment of several arms, as a plan: which command makes what, and needs what before.

An arm is a policy after one kind of training, or the base as it is. Each is trained once for each
seed on that seed's rows, and measured on the same test rows. Learning rates are chosen by a sweep
of its own: another training seed, other rows, and validation rows that are not the test's.

Nothing is run here (:mod:`benchmarks.comparison_run`) and nothing is written.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

import yaml

from benchmarks.policies import fingerprint

ROOT = Path(__file__).parents[1]
PROGRAMS = {"grpo": "launch/grpo.py", "sft": "launch/sft.py"}


class ComparisonError(ValueError):
    """What is wrong with an experiment, as one sentence."""


@dataclass(frozen=True)
class Arm:
    """One kind of training.

    Attributes:
        title: what tables call it.
        program: a key of :data:`PROGRAMS`; ``None`` is the base as it is.
        config: of the program.
        rows: which of the row sets.
        beside: option -> row set, for programs that take a second one.
        set: option -> value, laid over the config.
        rates: learning rates to choose from.
        rate_of: the arm whose chosen rate is taken instead.
        minutes: one training takes about so long on one core.
        paper: set -> figure of the paper's own counterpart, as text.
    """

    title: str
    program: str | None = None
    config: str = ""
    rows: str = ""
    beside: dict[str, str] = field(default_factory=dict)
    set: dict = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    rate_of: str = ""
    minutes: float = 1.0
    paper: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiment:
    """What a config of launch/compare.py says; its comments tell what each key is."""

    out: str
    policy: str
    arms: dict[str, Arm]
    rows: dict
    evaluate: dict
    test: dict
    validation: dict
    choose: str
    seeds: list[int]
    sweep_seed: int = 100
    compare: list[list[str]] = field(default_factory=list)
    accelerate: str = "configs/accelerate/cpu.yaml"
    jobs: int = 1
    threads: int = 1
    notes: str = ""


@dataclass(frozen=True)
class Step:
    """Something to be done once.

    Attributes:
        name: such as ``train/grpo_n-1``; where its log and its mark are called after it.
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


def read_experiment(path: str | Path, changes: dict | None = None) -> Experiment:
    """Read and check a config.

    Args:
        changes: keys laid over the file's.

    Raises:
        ComparisonError: what is wrong, in one sentence.
    """
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ComparisonError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ComparisonError(f"{path} holds no settings")
    config |= changes or {}
    _check_keys(config, Experiment, str(path))
    arms = {}
    for name, arm in (config["arms"] or {}).items():
        _check_keys(arm, Arm, f"{path}: arm {name}")
        if not name.replace("_", "").isalnum():
            raise ComparisonError(f"{path}: an arm's name is letters, digits and _, not {name!r}")
        arms[name] = Arm(**arm)
    experiment = Experiment(**{**config, "arms": arms})
    _check(experiment, str(path))
    return experiment


def plan(experiment: Experiment, only: list[str] | None = None) -> list[Step]:
    """Every step, in an order in which each comes after what it needs.

    Args:
        only: arms to be measured beside the base; all when ``None``. What they need is planned too.

    Raises:
        ComparisonError: an arm that the config does not have.
    """
    e = experiment
    for name in only or []:
        if name not in e.arms:
            raise ComparisonError(f"no arm {name!r}; there are {', '.join(e.arms)}")
    chosen = [name for name, arm in e.arms.items()
              if not only or name in only or arm.program is None]
    steps: dict[str, Step] = {}

    def add(step: Step) -> str:
        steps.setdefault(step.name, step)
        return step.name

    for name in chosen:
        if e.arms[name].program is None:
            add(_test(e, name, None, ()))
    for name in dict.fromkeys(_rate_arm(e, n) for n in chosen if e.arms[n].program):
        for step in _sweep(e, name):
            add(step)
    # Seed by seed, so that a stopped experiment has all arms of some seeds.
    for seed in e.seeds:
        for name in (n for n in chosen if e.arms[n].program):
            arm, rate = e.arms[name], _rate_arm(e, name)
            needs = tuple(add(step) for step in _row_steps(e, arm, seed))
            needs += tuple(f"validate/{rate}-{r:g}" for r in e.arms[rate].rates
                           if len(e.arms[rate].rates) > 1)
            run = add(Step(f"train/{name}-{seed}", name, f"train/{name}",
                           lambda n=name, s=seed, r=rate: _train(e, n, s, rate_of(e, r)),
                           needs, arm.minutes))
            add(_test(e, name, seed, (run,)))
    return list(steps.values())


def rate_of(experiment: Experiment, name: str) -> float:
    """The learning rate that validation chose for an arm; the smaller one of equals.

    Raises:
        ComparisonError: the sweep is not finished.
    """
    rates = experiment.arms[name].rates
    if len(rates) == 1:
        return rates[0]
    scores = sweep_scores(experiment, name)
    if len(scores) < len(rates):
        raise ComparisonError(f"the sweep of {name} is not finished")
    return max(sorted(rates), key=lambda rate: scores[rate])


def sweep_scores(experiment: Experiment, name: str) -> dict[float, float]:
    """Learning rate -> validation score, as far as measured; a score that is undefined is -1."""
    found = {}
    for rate in experiment.arms[name].rates:
        file = in_root(experiment.out) / "validate" / f"{name}-{rate:g}" / "evaluation.json"
        if file.exists():
            metrics = json.loads(file.read_text())["metrics"]
            if experiment.choose not in metrics:
                raise ComparisonError(f"choose: {experiment.choose!r} is not measured; there are "
                                      f"{', '.join(metrics)}")
            (values,) = metrics[experiment.choose]["values"].values()
            found[rate] = -1.0 if values["value"] is None else values["value"]
    return found


def identity(experiment: Experiment) -> dict:
    """What an experiment is, part by part: results from two in which a part differs do not belong
    together. Seeds and whole arms may be added later."""
    e = experiment
    files = {e.rows["config"], *(arm.config for arm in e.arms.values() if arm.config)}
    told = {"minutes", "paper", "title"}  # not what an arm is
    parts = {
        "policy": fingerprint(str(in_root(e.policy))),
        "evaluate": e.evaluate, "sweep_seed": e.sweep_seed, "choose": e.choose,
        **{part: {k: v for k, v in getattr(e, part).items() if k != "minutes"}
           for part in ("test", "validation")},
        **{f"rows {name}": rows for name, rows in e.rows["sets"].items()},
        **{f"arm {name}": {k: v for k, v in asdict(arm).items() if k not in told}
           for name, arm in e.arms.items()},
        **{file: hashlib.sha256(in_root(file).read_bytes()).hexdigest()[:12] for file in files},
    }
    return json.loads(json.dumps(parts))


# ---- commands ----


def _sweep(e: Experiment, name: str) -> list[Step]:
    arm = e.arms[name]
    if len(arm.rates) == 1:
        return []
    steps = _row_steps(e, arm, e.sweep_seed)
    needs = tuple(step.name for step in steps)
    for rate in arm.rates:
        run = f"{name}-{rate:g}"
        steps.append(Step(f"sweep/{run}", name, f"train/{name}",
                          lambda r=rate: _train(e, name, e.sweep_seed, r, place="sweep",
                                                run=f"{name}-{r:g}"), needs, arm.minutes))
        steps.append(Step(f"validate/{run}", name, "validate",
                          lambda r=run: _evaluate(e, "validate", r, e.validation,
                                                  f"{e.out}/sweep/{r}/policy"),
                          (f"sweep/{run}",), e.validation.get("minutes", 1.0)))
    return steps


def _row_steps(e: Experiment, arm: Arm, seed: int) -> list[Step]:
    steps = []
    for name in (arm.rows, *arm.beside.values()):
        changes = dict(e.rows["sets"][name] or {})
        of_seed = changes.setdefault("seed", seed)
        out = f"{e.out}/rows/{name}-{of_seed}"

        def command(changes=changes, out=out):
            # Its values are YAML, of which JSON is a part.
            return [sys.executable, "launch/generate.py", "--config", e.rows["config"], "--out",
                    out, *(w for k, v in changes.items() for w in (f"--{k}", json.dumps(v)))]

        steps.append(Step(f"rows/{name}-{of_seed}", "", f"rows/{name}", command, (),
                          e.rows.get("minutes", 0.5)))
    return steps


def _train(e: Experiment, name: str, seed: int, rate: float, place: str = "train",
           run: str = "") -> list[str]:
    arm = e.arms[name]
    rows = {option: (e.rows["sets"][of] or {}).get("seed", seed)
            for option, of in {"rows": arm.rows, **arm.beside}.items()}
    sets = {option: f"{e.out}/rows/{of}-{rows[option]}"
            for option, of in {"rows": arm.rows, **arm.beside}.items()}
    return [sys.executable, "-m", "accelerate.commands.launch", "--config_file", e.accelerate,
            PROGRAMS[arm.program], "--config", arm.config,
            *_options({"name": run or f"{name}-{seed}", "output_root": f"{e.out}/{place}",
                       "policy": e.policy, **sets, "seed": seed, "learning_rate": rate,
                       **arm.set})]


def _test(e: Experiment, name: str, seed: int | None, needs: tuple[str, ...]) -> Step:
    run = name if seed is None else f"{name}-{seed}"
    policy = e.policy if seed is None else f"{e.out}/train/{run}/policy"
    base = [f"test/{n}" for n, arm in e.arms.items() if arm.program is None and n != name]
    # References are found once, in the base's test; the others read them.
    needs += tuple(base) if seed is not None else ()
    return Step(f"test/{run}", name, "test", lambda: _evaluate(e, "test", run, e.test, policy),
                needs, e.test.get("minutes", 1.0))


def _evaluate(e: Experiment, place: str, run: str, what: dict, policy: str) -> list[str]:
    return [sys.executable, "launch/evaluate.py", "--config", f"{e.out}/evaluate.yaml",
            "--size", what["size"], "--seed", str(what["seed"]), "--out", f"{e.out}/{place}/{run}",
            "--policy", f"{run}={policy}"]


def _options(values: dict) -> list[str]:
    """``{"seed": 1}`` as ``--seed 1``; lists as several words, mappings as JSON."""
    words = []
    for key, value in values.items():
        if isinstance(value, bool) or value is None:
            value = json.dumps(value)
        parts = value if isinstance(value, list) else [value]
        words += [f"--{key}", *(json.dumps(p) if isinstance(p, dict) else str(p) for p in parts)]
    return words


# ---- checks ----


def _check_keys(found, cls: type, where: str) -> None:
    if not isinstance(found, dict):
        raise ComparisonError(f"{where} holds no settings")
    known = {f.name: f for f in fields(cls)}
    if unknown := [key for key in found if key not in known]:
        raise ComparisonError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(known)}")
    for key, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in found:
            raise ComparisonError(f"{where}: {key!r} is missing")


def _check(e: Experiment, where: str) -> None:
    sets = e.rows.get("sets", {})
    if not e.rows.get("config") or not sets:
        raise ComparisonError(f"{where}: rows needs `config` and `sets`")
    if e.jobs < 1 or e.threads < 1 or not e.seeds or len(set(e.seeds)) < len(e.seeds):
        raise ComparisonError(f"{where}: jobs and threads start at 1, and seeds are different ones")
    if e.sweep_seed in e.seeds:
        raise ComparisonError(f"{where}: sweep_seed {e.sweep_seed} is also a seed that is reported")
    for key in ("test", "validation"):
        what = getattr(e, key)
        if not isinstance(what, dict) or not {"size", "seed"} <= set(what):
            raise ComparisonError(f"{where}: {key} needs `size` and `seed`")
        if what["size"] not in e.evaluate.get("sizes", {}):
            raise ComparisonError(f"{where}: {key}: evaluate.sizes has no {what['size']!r}")
    if e.test["seed"] == e.validation["seed"]:
        raise ComparisonError(f"{where}: test and validation have the same seed; rates would be "
                              f"chosen on the test")
    if not any(arm.program is None for arm in e.arms.values()):
        raise ComparisonError(f"{where}: one arm must be the base, without a program")
    for name, arm in e.arms.items():
        if arm.program is None:
            continue
        if arm.program not in PROGRAMS:
            raise ComparisonError(f"{where}: arm {name}: program must be "
                                  f"{' or '.join(PROGRAMS)}, not {arm.program!r}")
        for rows in (arm.rows, *arm.beside.values()):
            if rows not in sets:
                raise ComparisonError(f"{where}: arm {name}: no rows {rows!r}; there are "
                                      f"{', '.join(sets)}")
        if bool(arm.rates) == bool(arm.rate_of):
            raise ComparisonError(f"{where}: arm {name} needs either rates or rate_of")
        if arm.rate_of and not (arm.rate_of in e.arms and e.arms[arm.rate_of].rates):
            raise ComparisonError(f"{where}: arm {name}: rate_of {arm.rate_of!r} is no arm with "
                                  f"rates")
    for pair in e.compare:
        if len(pair) != 2 or not set(pair) <= set(e.arms):
            raise ComparisonError(f"{where}: compare: {pair} are not two arms")
    for file in (e.rows["config"], e.accelerate, *(a.config for a in e.arms.values() if a.config)):
        if not in_root(file).is_file():
            raise ComparisonError(f"{where}: there is no file {file}")


def _rate_arm(e: Experiment, name: str) -> str:
    return e.arms[name].rate_of or name


def in_root(path: str) -> Path:
    """A path of the config: commands run in the repository's root."""
    return ROOT / path
