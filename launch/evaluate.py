"""Measure systems on a benchmark, side by side.

    byname evaluate --config configs/benchmarks/toybox.yaml \\
        --policy toybox_base --policy runs/toybox_demo/policy --out runs/toybox_demo/eval
    byname evaluate --config configs/benchmarks/repic_naming.yaml \\
        --policy given=toybox_base --system retrieved=configs/systems/retrieval.yaml

A benchmark is named by ``benchmark`` (see ``benchmarks/registry.py``) and has settings of its own
beside those of every evaluation. Writes ``evaluation.html`` (to look at: scores, and samples with
their images; ``--shown 1000`` shows more of them), ``evaluation.md``, ``evaluation.json``,
``gallery.json`` (the samples), ``columns.json`` (every metric question by question, to pool it over
seeds), and ``predictions/<system>/<set>.jsonl``; a run that was killed resumes from the latter, and
``--score_only true`` scores them where neither policy nor GPU is at hand. With ``--draws 3`` the
benchmark is drawn three times, other questions and toys each time: each draw is evaluated in a
folder of its own, and the tables pool them. Under ``accelerate launch`` processes share the
questions.
"""

import sys
from pathlib import Path

import torch
from accelerate import PartialState

from benchmarks.harness.draws import evaluate_draws
from benchmarks.harness.evaluation import (
    EvaluateSettings,
    printed,
    refuse_other_evaluation,
    systems_of,
)
from benchmarks.registry import BENCHMARKS, benchmark_class
from data_gen.files.sentences import look_at, next_commands
from data_gen.files.settings import read_settings
from rl.run import quiet_libraries, shutdown_distributed


def main(argv: list[str] | None = None) -> None:
    """Read the settings, build the benchmark, evaluate, print the headlines."""
    quiet_libraries()
    try:
        settings, own = read_settings(
            sys.argv[1:] if argv is None else argv,
            EvaluateSettings,
            choose=lambda values: benchmark_class(values["benchmark"]).Settings,
            program="evaluate",
            doc=__doc__,
            listing=f"Benchmarks: {', '.join(BENCHMARKS)}; each has settings of its own, which "
            f"--benchmark NAME --help shows.",
        )
        # What is no policy, and where nothing can be written, is told before questions are drawn.
        systems_of(settings)
        refuse_other_evaluation(Path(settings.out), settings.benchmark)
        # Launchers do not tell processes on a CPU that they are to talk over gloo.
        PartialState(cpu=settings.device == "cpu" or not torch.accelerator.is_available())
        benchmark = benchmark_class(settings.benchmark)
        draws = [benchmark.redrawn(own, k) for k in range(settings.draws)]
        result = evaluate_draws(settings, lambda k: benchmark(draws[k], settings.limit))
    except (ValueError, OSError) as error:
        sys.exit(f"evaluate: {error}")
    except KeyboardInterrupt:
        sys.exit("evaluate: stopped; the same command resumes from the kept replies")
    if result is not None:
        print("\n" + printed(result))
        seconds = result["seconds"]
        print(
            f"{seconds['all']:.1f} s, of which {sum(seconds['generate'].values()):.1f} s in "
            f"generate"
        )
        print(
            f"wrote {settings.out}/evaluation.html (to look at), evaluation.md (all metrics) and "
            f"evaluation.json",
        )
        print(next_commands(*_next(Path(settings.out))), flush=True)
    shutdown_distributed()


def _next(out: Path) -> list[list[str | Path]]:
    """What to type after an evaluation: the page of the run that it lies in, or its own."""
    run = out.parent
    is_run = (run / "config.resolved.yaml").is_file()
    return [["byname", "report", run]] if is_run else [look_at(out / "evaluation.html")]


if __name__ == "__main__":
    main()
