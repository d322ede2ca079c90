"""A published benchmark, with its controls, as row sets: for other programs, such as lmms-eval.

    python -m benchmarks.published.export --config configs/benchmarks/repic_naming.yaml --out runs/lmms_eval

writes ``<out>/<set>/data/*.parquet``, a row set each (:mod:`data_gen.rows`), with the columns
``options`` and ``correct`` beside the contract's.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from datasets import List, Value

from benchmarks.harness.question import open_rows
from benchmarks.published.benchmark import build_sets, published_settings
from concepts.methods.in_context import FILE
from concepts.methods.prompting import load_words
from concepts.methods.verification import SET as VERIFIED
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import left_out_line
from data_gen.rows import RowError, write_rows


def export(config: str | Path, out: str | Path, limit: int | None = None) -> dict[str, int]:
    """Write every set of a benchmark's config below ``out``; set -> number of rows.

    Raises:
        BenchmarkError: the config or its files cannot be used.
        RowError: no row of a set has pictures that open.
    """
    try:
        given = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BenchmarkError(f"{config} cannot be read ({error})") from None
    if not isinstance(given, dict) or not isinstance(given.get("settings"), dict):
        raise BenchmarkError(f"{config} has no 'settings' of a published benchmark")
    settings = published_settings(given["settings"])
    sets, left_out = build_sets(given.get("benchmark", "toybox"), settings, limit,
                                found_in=Path(out) / FILE)
    sets.pop(VERIFIED, None)  # of every policy another one
    words = load_words(settings.prompts)
    counts = {}
    for name, questions in sets.items():
        rows = open_rows(questions, words, left_out, settings.size, settings.side)
        manifest = write_rows(
            rows, Path(out) / name, seed=settings.seed, generator="benchmarks.published.export",
            settings={"config": Path(config).name, "set": name},
            extra_features={"options": List(Value("string")), "correct": Value("int64")})
        counts[name] = manifest["rows"]
    print(left_out_line(left_out) or "nothing left out", file=sys.stderr)
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published.export",
                                     description="A published benchmark as row sets")
    parser.add_argument("--config", required=True, help="as for launch/evaluate.py")
    parser.add_argument("--out", required=True, help="folder of the sets")
    parser.add_argument("--limit", type=int, help="the first so many questions")
    args = parser.parse_args(arguments)
    try:
        counts = export(args.config, args.out, args.limit)
    except (BenchmarkError, RowError, OSError) as error:
        sys.exit(f"export: {error}")
    print(", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
