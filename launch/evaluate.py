"""Measure policies on a benchmark, side by side.

    python launch/evaluate.py --config configs/benchmarks/toybox.yaml \
        --policy toybox_base --policy runs/toybox_demo/policy --out runs/toybox_demo/eval

Writes ``evaluation.html`` (to look at: scores, and samples with their pictures; ``--shown 1000``
shows more of them), ``evaluation.md``, ``evaluation.json``, ``gallery.json`` (the samples), of the
toybox also ``columns.json`` (every metric row by row, to pool it over seeds), and
``predictions/<policy>/<set>.jsonl``; a run that was killed goes on from the latter, and
``--score_only true`` scores them where neither policy nor GPU is at hand. Under ``accelerate
launch`` its processes share the rows. How long all of it took, and how long the policy's
``generate`` calls alone, stands in ``evaluation.json`` under ``seconds``.

``benchmark: naming``, ``recognition`` or ``choices`` asks a published benchmark from its own files,
with its controls, naming also with references found in the database
(:mod:`concepts.methods.in_context`); ``localization`` asks a detection set. ``settings`` then say
where they are (:mod:`benchmarks.published.benchmark`). ``captions`` adds scores of captions
(:mod:`benchmarks.captions.scores`).
"""

import sys
import warnings

import datasets
import torch
import yaml
from accelerate import PartialState
from transformers.utils import logging
from trl import TrlParser

from benchmarks.harness.evaluation import EvaluateArguments
from benchmarks.harness.table import markdown
from benchmarks.published.benchmark import KINDS
from benchmarks.published.localization import evaluate_localization
from benchmarks.published.run import evaluate_published
from benchmarks.toybox.run import evaluate_toybox
from rl.run import leave_together


def evaluate(args: EvaluateArguments) -> dict | None:
    """Run the benchmark, write its files under ``args.out``, return what evaluation.json holds;
    ``None`` in processes but the first."""
    if args.benchmark == "toybox":
        return evaluate_toybox(args)
    if args.benchmark == "localization":
        return evaluate_localization(args)
    if args.benchmark not in KINDS:
        raise ValueError(f"benchmark must be toybox, {', '.join(KINDS)}, not {args.benchmark!r}")
    return evaluate_published(args)


def main() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    datasets.disable_progress_bars()  # bars that last a moment only hide ours
    logging.disable_progress_bar()
    try:
        (args,) = TrlParser(EvaluateArguments).parse_args_and_config()
        # Launchers do not tell processes on a CPU that they are to talk over gloo.
        PartialState(cpu=args.device == "cpu" or not torch.accelerator.is_available())
        result = evaluate(args)
    except (ValueError, OSError, yaml.YAMLError) as error:
        sys.exit(f"evaluate: {error}")
    if result is not None:
        print("\n" + markdown(result, result["headlines"]))
        seconds = result["seconds"]
        print(f"{seconds['all']:.1f} s, of which {sum(seconds['generate'].values()):.1f} s in "
              f"generate")
        print(f"wrote {args.out}/evaluation.html (to look at), evaluation.md (all metrics) and "
              f"evaluation.json", flush=True)
    leave_together()


if __name__ == "__main__":
    main()
