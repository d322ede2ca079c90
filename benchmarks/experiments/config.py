"""Read and check the config of an experiment of several arms.

An arm is a policy after one kind of training, or the base as it is. Each is trained once for each
seed on that seed's rows, and measured on the same test rows. Learning rates are chosen by a sweep
of its own: another training seed, other rows, and validation toys that are not the test's.

Its steps are planned in :mod:`benchmarks.experiments.plan`.
"""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path

from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.files.settings import find_config, read_yaml

PROGRAMS = {"grpo": "launch.grpo", "sft": "launch.sft"}


class ExperimentError(InputError):
    """What is wrong with an experiment, as one sentence."""


@dataclass(frozen=True)
class Arm:
    """One kind of training.

    Attributes:
        title: its label in tables.
        program: a key of :data:`PROGRAMS`; ``None`` is the base as it is, or ``policy_of``.
        config: of the program.
        rows: which of the row sets.
        extra_rows: option -> row set, for programs that take a second one.
        set: option -> value, laid over the config.
        rates: learning rates to choose from.
        rate_of: the arm whose chosen rate is taken instead.
        start: the arm whose policy, of the same seed, training begins with; empty: the
            experiment's.
        policy_of: the arm whose policies are measured, behind ``system``; nothing is trained.
        system: file of a system (configs/methods) whose method and settings these policies get.
        minutes: one training takes about so long on one core.
        paper: set -> figure of the paper's own counterpart, as text.
    """

    title: str
    program: str | None = None
    config: str = ""
    rows: str = ""
    extra_rows: dict[str, str] = field(default_factory=dict)
    set: dict = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    rate_of: str = ""
    start: str = ""
    policy_of: str = ""
    system: str = ""
    minutes: float = 1.0
    paper: dict[str, str] = field(default_factory=dict)

    @property
    def is_base(self) -> bool:
        """Whether it is the base as it is: measured once, not once for each seed."""
        return self.program is None and not self.policy_of


@dataclass(frozen=True)
class Experiment:
    """What a config of launch/compare.py says; its comments explain each key."""

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
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    accelerate: str = "configs/accelerate/cpu.yaml"
    jobs: int = 1
    threads: int = 1
    notes: str = ""


def read_experiment(path: str | Path, changes: dict | None = None) -> Experiment:
    """Read and check a config.

    Args:
        changes: keys laid over the file's.

    Raises:
        ExperimentError: what is wrong, in one sentence.
    """
    try:
        config = read_yaml(path) | (changes or {})
    except InputError as error:
        raise ExperimentError(str(error)) from None
    _check_keys(config, Experiment, str(path))
    arms = {}
    for name, arm in (config["arms"] or {}).items():
        _check_keys(arm, Arm, f"{path}: arm {name}")
        if not name.replace("_", "").isalnum():
            raise ExperimentError(f"{path}: an arm's name is letters, digits and _, not {name!r}")
        arms[name] = Arm(**arm)
    # A column's title may be a number to YAML.
    tables = {
        str(title): {figure: str(column) for figure, column in columns.items()}
        for title, columns in (config.get("tables") or {}).items()
    }
    experiment = Experiment(**{**config, "arms": arms, "tables": tables})
    _check(experiment, str(path))
    return experiment


def identity(experiment: Experiment) -> dict:
    """What an experiment is, part by part: results from two in which a part differs do not belong
    together. Seeds and whole arms may be added later."""
    from concepts.methods.systems import policy_fingerprint  # loads torch: a plan is there at once

    e = experiment
    files = {e.rows["config"]}.union(*({arm.config, arm.system} for arm in e.arms.values())) - {""}
    labels = {"minutes", "paper", "title"}  # they do not change what an arm is
    # What experiments from before these keys were stays what it is.
    later = {"start", "policy_of", "system"}
    parts = {
        "policy": policy_fingerprint(e.policy),
        "evaluate": e.evaluate,
        "sweep_seed": e.sweep_seed,
        "choose": e.choose,
        **{
            part: {k: v for k, v in getattr(e, part).items() if k != "minutes"}
            for part in ("test", "validation")
        },
        **{f"rows {name}": rows for name, rows in e.rows["sets"].items()},
        **{
            f"arm {name}": {
                k: v for k, v in asdict(arm).items() if k not in labels and (v or k not in later)
            }
            for name, arm in e.arms.items()
        },
        **{
            file: fingerprint_of(json.dumps(read_yaml(file), sort_keys=True))[:12] for file in files
        },
    }
    return json.loads(json.dumps(parts))


def config_file(path: str) -> Path:
    """A file of the config: from the working directory, or the shipped one of that name.

    Everything is relative to the working directory, in which the commands run, too.
    """
    return find_config(path)


def _check_keys(found, cls: type, where: str) -> None:
    if not isinstance(found, dict):
        raise ExperimentError(f"{where} holds no settings")
    known = {f.name: f for f in fields(cls)}
    if unknown := [key for key in found if key not in known]:
        raise ExperimentError(f"{where}: unknown key {unknown[0]!r}; there are {', '.join(known)}")
    for key, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and key not in found:
            raise ExperimentError(f"{where}: {key!r} is missing")


def _check_start(e: Experiment, name: str, arm: Arm, where: str) -> None:
    """An arm that begins with another one's policy has one rate: the sweep's seed has no policy."""
    seen = {name}
    while arm.start:
        if arm.start in seen or arm.start not in e.arms or e.arms[arm.start].program is None:
            raise ExperimentError(
                f"{where}: arm {name}: start {arm.start!r} is no other arm that is trained before"
            )
        if len(e.arms[arm.rate_of].rates if arm.rate_of else arm.rates) > 1:
            raise ExperimentError(
                f"{where}: arm {name} begins with {arm.start}: give one rate; a sweep has no "
                f"policy of {arm.start}"
            )
        seen.add(arm.start)
        arm = e.arms[arm.start]


def _check(e: Experiment, where: str) -> None:
    sets = e.rows.get("sets", {})
    if not e.rows.get("config") or not sets:
        raise ExperimentError(f"{where}: rows needs `config` and `sets`")
    if e.jobs < 1 or e.threads < 1 or not e.seeds or len(set(e.seeds)) < len(e.seeds):
        raise ExperimentError(f"{where}: jobs and threads start at 1, and seeds are different ones")
    if e.sweep_seed in e.seeds:
        raise ExperimentError(f"{where}: sweep_seed {e.sweep_seed} is also a seed that is reported")
    for key in ("test", "validation"):
        what = getattr(e, key)
        if not isinstance(what, dict) or not {"size", "seed"} <= set(what):
            raise ExperimentError(f"{where}: {key} needs `size` and `seed`")
        if what["size"] not in e.evaluate.get("sizes", {}):
            raise ExperimentError(f"{where}: {key}: evaluate.sizes has no {what['size']!r}")
    if not any(arm.is_base for arm in e.arms.values()):
        raise ExperimentError(f"{where}: one arm must be the base, without a program")
    for name, arm in e.arms.items():
        if bool(arm.policy_of) != bool(arm.system) or (arm.policy_of and arm.program):
            raise ExperimentError(
                f"{where}: arm {name}: policy_of and system stand together, without a program"
            )
        if arm.policy_of and e.arms.get(arm.policy_of, arm).program is None:
            raise ExperimentError(
                f"{where}: arm {name}: policy_of {arm.policy_of!r} is no arm that is trained"
            )
        if arm.program is None:
            continue
        if arm.program not in PROGRAMS:
            raise ExperimentError(
                f"{where}: arm {name}: program must be {' or '.join(PROGRAMS)}, not {arm.program!r}"
            )
        for rows in (arm.rows, *arm.extra_rows.values()):
            if rows not in sets:
                raise ExperimentError(
                    f"{where}: arm {name}: no rows {rows!r}; there are {', '.join(sets)}"
                )
        if bool(arm.rates) == bool(arm.rate_of):
            raise ExperimentError(f"{where}: arm {name} needs either rates or rate_of")
        if arm.rate_of and not (arm.rate_of in e.arms and e.arms[arm.rate_of].rates):
            raise ExperimentError(
                f"{where}: arm {name}: rate_of {arm.rate_of!r} is no arm with rates"
            )
    for name, arm in e.arms.items():
        _check_start(e, name, arm, where)
    for pair in e.compare:
        if len(pair) != 2 or not set(pair) <= set(e.arms):
            raise ExperimentError(f"{where}: compare: {pair} are not two arms")
    files = (file for arm in e.arms.values() for file in (arm.config, arm.system) if file)
    for file in (e.rows["config"], e.accelerate, *files):
        if not config_file(file).is_file():
            raise ExperimentError(f"{where}: there is no file {file}")
