"""Write a published benchmark, with its controls, as row sets: for programs such as lmms-eval.

    byname export_benchmark --config configs/benchmarks/repic_naming.yaml \\
        --out runs/lmms_eval
    byname export_benchmark --config configs/benchmarks/repic_naming.yaml \\
        --out runs/lmms_eval --retrieval.encoder imagenet

The config is one of ``byname evaluate``. ``<out>/<set>/`` is a row set for each of its sets; with
``retrieval`` there is one more, ``<set>_retrieved``, whose prompts hold the references found.
"""

import sys
from dataclasses import dataclass, field

from benchmarks.harness.evaluation import EvaluateSettings
from benchmarks.published.export import export
from benchmarks.registry import benchmark_class
from data_gen.files.sentences import figures, next_commands
from data_gen.files.settings import read_settings


@dataclass
class ExportSettings:
    """What an export is told beside an evaluation's settings."""

    replace: bool = field(
        default=False,
        metadata={"help": "Replace sets exported with other settings, which is else refused."},
    )


def main(argv: list[str] | None = None) -> None:
    """Read the settings, build the benchmark, write its sets."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        settings, exporting, own = read_settings(
            argv,
            EvaluateSettings,
            ExportSettings,
            program="export_benchmark",
            doc=__doc__,
            choose=lambda values: benchmark_class(values["benchmark"]).Settings,
        )
        benchmark = benchmark_class(settings.benchmark)(own, settings.limit)
        counts = export(
            benchmark,
            settings.out,
            settings.benchmark,
            settings.retrieval,
            replace=exporting.replace,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"export_benchmark: {error}")
    except KeyboardInterrupt:
        sys.exit("export_benchmark: stopped; sets that were finished are kept")
    print(benchmark.skipped.line() or "nothing skipped", file=sys.stderr)
    print(f"wrote {settings.out}/, rows: {figures(counts)}")
    first = f"{settings.out}/{next(iter(counts))}"
    print(next_commands(["byname", "generate", "--inspect", first]))


if __name__ == "__main__":
    main()
