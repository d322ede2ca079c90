"""Measurements that earlier runs of ``byname bench_step`` kept, read and joined."""

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from data_gen.files.errors import InputError
from data_gen.files.files import is_file
from rl.sharing.cost import Prices
from rl.speed.compare import PHASES
from rl.speed.workload import Shape

MACHINE = ("model", "dtype", "device", "threads")
"""What runs must have in common to stand in one table."""

_SIDE = {"seconds": dict, "steps": dict, "tokens": int, "images": int}
_RESULT = {
    "case": str,
    "kind": str,
    "shape": dict,
    "bound": dict,
    "prices": dict,
    "image_price": (int, float),
    "shared": bool,
    "stock_scores_all": bool,
    "stock": dict,
    "ours": dict,
}


def read(file: Path) -> dict:
    """A run's ``speed.json``.

    Raises:
        InputError: there is none, or it is not what this program writes.
    """
    if not is_file(file):
        raise InputError(f"{file} is not there: join takes the --out of earlier bench_step runs")
    try:
        kept = json.loads(file.read_bytes())
        results = kept["results"]
        fine = all(key in kept for key in MACHINE) and results and all(map(_as_written, results))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        fine = False
    if not fine:
        raise InputError(
            f"{file} is not what this bench_step writes (an earlier one kept fewer numbers): "
            f"measure anew, or leave it out"
        )
    return kept


def join(kept: Sequence[dict]) -> tuple[dict, list[dict]]:
    """What was measured on (:data:`MACHINE` and versions), and the cases of all runs in order.

    Raises:
        InputError: the runs differ in what they were measured on, or have a case in common.
    """
    first, results = kept[0], []
    for other in kept:
        for key in MACHINE:
            if other[key] != first[key]:
                raise InputError(
                    f"the runs to join differ in {key} ({first[key]} and {other[key]}): only what "
                    f"was measured alike stands in one table"
                )
        for result in other["results"]:
            if any(result["case"] == there["case"] for there in results):
                raise InputError(
                    f"case '{result['case']}' is in two of the runs to join: leave one of them out"
                )
            results.append(result)
    on = {key: value for key, value in first.items() if key not in ("results", "prediction")}
    return on, results


def _as_written(result: dict) -> bool:
    """Whether a case has all that is computed from, in pairs of steps."""
    known = all(isinstance(result[key], kind) for key, kind in _RESULT.items())
    known = known and result["shape"].keys() == {each.name for each in fields(Shape)}
    known = known and result["prices"].keys() == {each.name for each in fields(Prices)}
    sides = [result["stock"], result["ours"]] if known else []
    rounds = {len(side["steps"][phase]) for side in sides for phase in PHASES}
    return len(rounds) == 1 and all(
        isinstance(side[key], kind) for side in sides for key, kind in _SIDE.items()
    )
