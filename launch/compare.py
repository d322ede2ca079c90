"""An experiment of several arms: train each, measure each, write one table.

    python launch/compare.py --config configs/benchmarks/rl_vs_sft.yaml --plan    # what it would do
    python launch/compare.py --config configs/benchmarks/rl_vs_sft.yaml

Every training and every evaluation is the command that one would type. Stopped, however rudely, it
goes on when the same command is given again. ``--only ARM`` (several are allowed) does what that
arm needs. Writes ``results.md``, ``results.json`` and ``results.png`` under the config's ``out``
whenever an arm has been measured, and a log of each command.
"""

import argparse
import sys

from benchmarks.experiments.config import (
    ComparisonError,
    Experiment,
    in_root,
    read_experiment,
)
from benchmarks.experiments.plan import plan
from benchmarks.experiments.results import write_results
from benchmarks.experiments.run import (
    claimed,
    is_done,
    run_steps,
    seconds_left,
)

DEFAULT = "configs/benchmarks/rl_vs_sft.yaml"


def main(argv: list[str] | None = None) -> None:
    """Print the plan; do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", default=DEFAULT)
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument("--only", action="append", metavar="ARM", help="an arm; once for each")
    parser.add_argument("--out", help="another directory than the config's")
    parser.add_argument("--jobs", type=int, help="commands at a time")
    args = parser.parse_args(argv)
    changes = {key: value for key in ("out", "jobs") if (value := getattr(args, key)) is not None}
    try:
        experiment = read_experiment(args.config, changes)
        steps = plan(experiment, args.only)
        if args.plan:
            print(told(experiment, steps))
            return
        with claimed(experiment) as out:
            print(told(experiment, steps), flush=True)
            run_steps(experiment, out, steps, lambda step: step.kind == "test"
                      and write_results(experiment, every=False))
            print(write_results(experiment))
            print(f"wrote {out}/results.md, results.json and results.png")
    except (ComparisonError, ValueError, OSError) as error:
        sys.exit(f"compare: {error}")
    except KeyboardInterrupt:
        sys.exit("compare: stopped; the same command goes on where it was")


def told(experiment: Experiment, steps: list) -> str:
    """The plan as text: each step, whether it is done, and how long is left."""
    out = in_root(experiment.out)
    left, _ = seconds_left(out, steps)
    lines = [f"{'done' if is_done(out, step) else f'{step.minutes:g} min':>8}  {step.name}"
             for step in steps]
    done = sum(is_done(out, step) for step in steps)
    return "\n".join([
        *lines, "",
        f"{len(steps)} steps, {done} done; about {left / 60:.0f} minutes of one core left, "
        f"{left / 60 / experiment.jobs:.0f} with {experiment.jobs} at a time",
        f"output: {out}"])


if __name__ == "__main__":
    main()
