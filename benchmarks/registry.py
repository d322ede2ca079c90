"""The registry of benchmarks: name to import string, so that only the chosen one is imported."""

from importlib import import_module

from benchmarks.harness.benchmark import Benchmark
from data_gen.files.errors import InputError

BENCHMARKS = {
    "toybox": "benchmarks.toybox.benchmark:Toybox",
    "naming_odds": "benchmarks.toybox.naming_odds:NamingOdds",
    "methods": "benchmarks.toybox.methods:MethodsBenchmark",
    "naming": "benchmarks.published.naming:Naming",
    "recognition": "benchmarks.published.recognition:Recognition",
    "multiple_choice": "benchmarks.published.multiple_choice:MultipleChoice",
    "localization": "benchmarks.published.localization:Localization",
    "preferences": "benchmarks.preferences:Preferences",
    "mined_negatives": "benchmarks.mined_negatives:MinedNegatives",
}


def benchmark_class(name: str) -> type[Benchmark]:
    """The benchmark of that name.

    Raises:
        InputError: there is none.
    """
    if name not in BENCHMARKS:
        raise InputError(f"benchmark must be one of {', '.join(BENCHMARKS)}, not {name!r}")
    module, _, attribute = BENCHMARKS[name].partition(":")
    return getattr(import_module(module), attribute)
