"""Export a published benchmark and its controls as row sets, for programs such as lmms-eval.

``<out>/<set>/data/*.parquet``, a row set each (:mod:`data_gen.rows`), with the columns ``options``
and ``correct`` in addition to the contract's. With ``retrieval`` settings there is one set more,
``<set>_retrieved``, whose prompts hold the retrieved references.
"""

from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path

from datasets import List, Value

from benchmarks.harness.benchmark import Benchmark, Question, contract_row
from concepts.methods.finding import ReferenceFinder, RetrievalSettings
from concepts.methods.in_context import InContext
from data_gen.files.errors import InputError
from data_gen.images.photos import PhotoError
from data_gen.rows import RowError, check_row, write_rows
from rewards.names import name_key

COLUMNS = {"options": List(Value("string")), "correct": Value("int64")}


def export(
    benchmark: Benchmark,
    out: str | Path,
    config: str,
    retrieval: RetrievalSettings | None = None,
    *,
    replace: bool = False,
) -> dict[str, int]:
    """Write every set of a benchmark below ``out``; set -> number of rows.

    Args:
        benchmark: its sets are built.
        out: folder of the sets.
        config: recorded in the manifests.
        retrieval: also export the retrieval sets, with references retrieved so.
        replace: replace sets that were exported with other settings.

    Raises:
        InputError: retrieval that the benchmark does not have.
        RowError: no row of a set has images that open.
        PlanError: a set that was exported with other settings is there.
        FileExistsError: something else is there.
    """
    asked = InContext(list, benchmark.write, size=benchmark.size, side=benchmark.side)
    sets = dict(benchmark.sets)
    if retrieval is not None:
        if not benchmark.owned:
            raise InputError(f"retrieval: {benchmark.name} has no database to find references in")
        finder = ReferenceFinder(benchmark.owned, retrieval, benchmark.skipped)
        for name in benchmark.retrieval_sets:
            sets[f"{name}_retrieved"] = [retrieved(q, finder) for q in benchmark.sets[name]]
    counts = {}
    for name, questions in sets.items():
        manifest = write_rows(
            _rows(benchmark, asked, questions),
            Path(out) / name,
            seed=getattr(benchmark.settings, "seed", 0),
            generator="benchmarks.published.export",
            settings={
                "config": config,
                "set": name,
                "questions": len(questions),
                "retrieval": retrieval and asdict(retrieval),
                "benchmark": asdict(benchmark.settings),
            },
            extra_features=COLUMNS,
            replace=replace,
        )
        counts[name] = manifest["rows"]
    return counts


def retrieved(question: Question, finder: ReferenceFinder) -> Question:
    """The question with retrieved references in place of the true ones."""
    found = finder.find(question.query)
    expected = {name_key(name) for name in question.names}
    return changed(
        question,
        references=tuple(finder.owned[one.name] for one in found),
        absent_names=tuple(one.name for one in found if name_key(one.name) not in expected),
    )


def _rows(benchmark: Benchmark, asked: InContext, questions):
    for question in questions:
        try:
            question = benchmark.open(question)
            opened = asked.open(question.query)
            row = contract_row(question, asked.row(opened, opened.references or ()))
            check_row(row, question.source)
        except PhotoError as reason:
            benchmark.skipped.add(f"image that does not open: {reason}", question.id)
        except RowError as error:
            benchmark.skipped.add(error.kind, question.id)
        else:
            yield row
