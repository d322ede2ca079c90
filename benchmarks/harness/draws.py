"""One evaluation of a benchmark that is drawn several times: other questions, other toys each time.

Each draw is an evaluation of its own, in a folder of its own below ``out``; the tables in ``out``
itself pool them. A system that is asked in the first draw alone (``once``) stands in that draw's
tables.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
from accelerate import PartialState

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.evaluation import (
    EvaluateSettings,
    evaluate,
    systems_of,
    tables,
    write,
    write_columns,
)
from benchmarks.harness.table import tabulate
from benchmarks.metrics.intervals import Metric
from concepts.methods.systems import System
from data_gen.files.errors import InputError


def evaluate_draws(settings: EvaluateSettings, draw: Callable[[int], Benchmark]) -> dict | None:
    """Evaluate each draw of a benchmark in turn, and pool them.

    Args:
        settings: what to measure; draw k, from 0 on, is written to ``<out>/<k + 1>``.
        draw: makes the k-th benchmark.

    Returns:
        What ``evaluation.json`` of the pooled evaluation holds; of one draw, of that evaluation;
        ``None`` in processes but the first.

    Raises:
        InputError: as :func:`benchmarks.harness.evaluation.evaluate`; or ``once`` names no system
            that can be asked in the first draw alone.
    """
    systems = systems_of(settings)
    in_all = _in_all_draws(settings, systems)
    if settings.draws == 1:
        return evaluate(settings, draw(0), systems)
    results, benchmark = [], None
    for k in range(settings.draws):
        if PartialState().is_main_process:
            print(f"draw {k + 1} of {settings.draws}", flush=True)
        benchmark = draw(k)
        of_draw = replace(settings, out=f"{settings.out}/{k + 1}")
        results.append(evaluate(of_draw, benchmark, in_all if k else systems))
    found = [result for result in results if result is not None]
    return pool(settings, benchmark, found, in_all) if benchmark and found else None


def pool(
    settings: EvaluateSettings,
    benchmark: Benchmark,
    results: Sequence[dict],
    systems: Sequence[System],
) -> dict:
    """Pool the evaluations of several draws, and write the files of the pooled one.

    A metric's rows are those of all draws, one behind the other: each has been drawn anew, so
    intervals and paired differences are over all of them. A metric that is not defined in every
    draw is left out. Samples are the first draw's.

    Args:
        settings: of the evaluation; the draws lie below its ``out``.
        benchmark: of any draw.
        results: what ``evaluation.json`` of each draw holds.
        systems: those that were asked in every draw.
    """
    out = Path(settings.out)
    labels = [system.label for system in systems]
    columns = [json.loads((out / f"{k + 1}/columns.json").read_text()) for k in range(len(results))]
    keys = [
        key
        for key in columns[0][labels[0]]
        if all(key in of[label] for of in columns for label in labels)
    ]
    metrics = {
        label: {key: pooled_rows([of[label][key] for of in columns]) for key in keys}
        for label in labels
    }
    table = tabulate(metrics, benchmark.titles, benchmark.headlines, resamples=settings.resamples)
    first = results[0]
    result = {
        **first,
        "counts": {name: sum(r["counts"][name] for r in results) for name in first["counts"]},
        "draws": [r["settings"] for r in results],
        "skipped": {
            f"draw {k + 1}: {reason}": about
            for k, r in enumerate(results)
            for reason, about in r["skipped"].items()
        },
        "systems": [system for system in first["systems"] if system["label"] in labels],
        "learned": {
            label: [cost for r in results for cost in r["learned"].get(label, ())]
            for label in labels
            if label in first["learned"]
        },
        "seconds_per_query": {
            label: fmean(known) if (known := _known(results, label)) else None for label in labels
        },
        "seconds": _sums([r["seconds"] for r in results]),
        **table,
    }
    parts = tables(result, benchmark)
    if settings.once:
        parts.append(
            f"In the first draw alone, whose tables are in 1/: {', '.join(settings.once)}."
        )
    samples = json.loads((out / "1/gallery.json").read_text())
    for one in samples:
        one["outputs"] = {label: one["outputs"][label] for label in labels}
    write_columns(out, metrics)
    return write(out, result, samples, "\n".join(parts).rstrip() + "\n")


def pooled_rows(draws: Sequence[list]) -> Metric:
    """A metric of several draws as one over the rows of all of them.

    Args:
        draws: of each draw K ratios, ``[numerators, denominators]`` of its rows.
    """
    return [
        (
            np.concatenate([np.asarray(of[k][0], np.float64) for of in draws]),
            np.concatenate([np.asarray(of[k][1], np.float64) for of in draws]),
        )
        for k in range(len(draws[0]))
    ]


def _in_all_draws(settings: EvaluateSettings, systems: Sequence[System]) -> list[System]:
    labels = [system.label for system in systems]
    for label in settings.once:
        if label not in labels:
            raise InputError(f"once: there is no system {label!r}, only {', '.join(labels)}")
        if label == labels[0]:
            raise InputError(
                f"once: {label} is the first system, which the others are compared with; "
                f"it is asked in every draw"
            )
    return [system for system in systems if system.label not in settings.once]


def _known(results: Sequence[dict], label: str) -> list[float]:
    each = [result["seconds_per_query"].get(label) for result in results]
    return [seconds for seconds in each if seconds is not None]


def _sums(seconds: Sequence[dict]) -> dict:
    """The seconds of all draws together, part by part."""
    parts = ("systems", "generate")
    return {
        "all": sum(of["all"] for of in seconds),
        **{
            part: {
                label: sum(of[part].get(label, 0.0) for of in seconds)
                for label in dict.fromkeys(label for of in seconds for label in of[part])
            }
            for part in parts
        },
    }
