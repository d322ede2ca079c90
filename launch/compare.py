"""An experiment of several arms: train each, measure each, write one table.

    byname compare --config configs/benchmarks/rl_vs_sft.yaml --plan    # what it would do
    byname compare --config configs/benchmarks/rl_vs_sft.yaml

Every training and every evaluation is the command that one would type. The same command resumes an
experiment that was stopped, however rudely. ``--only ARM ...`` does what those arms need. Writes
``results.md``, ``results.json`` and ``results.png`` under the config's ``out`` whenever an arm has
been measured, and a log of each command.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.experiments.config import (
    Experiment,
    read_experiment,
)
from benchmarks.experiments.plan import Step, plan
from benchmarks.experiments.results import write_results
from benchmarks.experiments.run import (
    claimed,
    is_done,
    run_steps,
    seconds_left,
)
from data_gen.files.sentences import next_commands
from data_gen.files.settings import config_path, read_settings, take_options

DEFAULT = "configs/benchmarks/rl_vs_sft.yaml"


@dataclass
class CompareSettings:
    """What to do of an experiment; its config says what it is."""

    plan: bool = field(default=False, metadata={"help": "Print the plan and stop."})
    only: list[str] | None = field(default=None, metadata={"help": "Arms; null: all."})
    out: str | None = field(default=None, metadata={"help": "Another directory than the config's."})
    jobs: int | None = field(default=None, metadata={"help": "Commands at a time."})
    seeds: list[int] | None = field(
        default=None,
        metadata={"help": "Other seeds than the config's; more may be added later."},
    )


def main(argv: list[str] | None = None) -> None:
    """Print the plan; carry it out."""
    config, rest = take_options(sys.argv[1:] if argv is None else argv, "config")
    try:
        (settings,) = read_settings(rest, CompareSettings, program="compare", doc=__doc__)
        changes = {
            key: value
            for key in ("out", "jobs", "seeds")
            if (value := getattr(settings, key)) is not None
        }
        experiment = read_experiment(config_path(config) or DEFAULT, changes)
        steps = plan(experiment, settings.only)
        if settings.plan:
            print(plan_text(experiment, steps))
            return
        with claimed(experiment) as out:
            print(plan_text(experiment, steps), flush=True)
            run_steps(
                experiment,
                out,
                steps,
                lambda step: write_tables(experiment, step),
            )
            print(write_results(experiment))
            print(f"wrote {out}/results.md, results.json and results.png")
            print(next_commands(["cat", f"{out}/results.md"]))
    except (ValueError, OSError) as error:
        sys.exit(f"compare: {error}")
    except KeyboardInterrupt:
        sys.exit("compare: stopped; the same command resumes it")


def write_tables(experiment: Experiment, step: Step) -> None:
    """Write the tables again after a step that measured something."""
    if step.kind == "test":
        write_results(experiment, every=False)


def plan_text(experiment: Experiment, steps: list) -> str:
    """The plan as text: each step, whether it is done, and how long is left."""
    out = Path(experiment.out)
    left, _ = seconds_left(out, steps)
    lines = [
        f"{'done' if is_done(out, step) else f'{step.minutes:g} min':>8}  {step.name}"
        for step in steps
    ]
    done = sum(is_done(out, step) for step in steps)
    return "\n".join(
        [
            *lines,
            "",
            f"{len(steps)} steps, {done} done; about {left / 60:.0f} minutes of one core left, "
            f"{left / 60 / experiment.jobs:.0f} with {experiment.jobs} at a time",
            f"output: {out}",
        ]
    )


if __name__ == "__main__":
    main()
