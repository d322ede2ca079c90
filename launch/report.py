"""Draw a run's page: curves, completions, evaluation, settings, in one HTML file.

byname report runs/toybox_demo
"""

import sys
from dataclasses import dataclass, field

from benchmarks.report.run_page import write_report
from data_gen.files.sentences import look_at, next_commands
from data_gen.files.settings import read_settings


@dataclass
class ReportSettings:
    """Of which run."""

    run: str = field(metadata={"help": "The run's directory; the option's name may be left away."})


def main(argv: list[str] | None = None) -> None:
    """Write the page, say where."""
    try:
        (settings,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            ReportSettings,
            positional="run",
            program="report",
            doc=__doc__,
        )
        page = write_report(settings.run)
        print(f"wrote {page}\n{next_commands(look_at(page))}")
    except (ValueError, OSError) as error:
        sys.exit(f"report: {error}")
    except KeyboardInterrupt:
        sys.exit("report: stopped; nothing was written")


if __name__ == "__main__":
    main()
