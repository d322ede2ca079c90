"""Measure the generate command: rows per second and core, peak memory, bytes per row.

    byname bench_data --config configs/data/toybox.yaml --rows 2000 20000 200000
    byname bench_data --config configs/data/subjects200k.yaml \\
        --pairs ../shared/data/subjects200k

Runs ``byname generate`` in a process of its own for each size, the config's counts scaled to it,
then ``--inspect`` on what it made. The sets lie in a new folder below ``--out``, which is removed
in the end. Writes ``<out>/measured.json`` and prints a Markdown table. Rates include starting up;
memory is the process's largest resident set. With ``--pairs``, a small set of image pairs is
repeated until it has as many as rows are asked for, and reading and cropping them is timed against
merely decoding them. Further ``--key value`` pairs are handed to the generate command.

Expect for 200,000 toybox rows: ten minutes of one core and 2 GB of disk; docs/data.md has
what was measured.
"""

import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_other_json
from data_gen.files.sentences import next_commands
from data_gen.files.settings import config_path, read_settings, take_options
from data_gen.images.photos import open_image_bytes
from data_gen.sources.image_pairs import Pairs
from data_gen.sources.pair_parquet import GROUP_ROWS, PART_ROWS, parquet_files
from data_gen.sources.subjects200k import SCORES, read_pairs, thresholds
from launch.generate import DEFAULT, read

MIB = 2**20


@dataclass
class BenchDataSettings:
    """What to measure; all other options are the generate command's."""

    rows: list[int] = field(
        default_factory=lambda: [2_000, 20_000, 200_000], metadata={"help": "Sizes of sets."}
    )
    out: str = field(default="runs/measure", metadata={"help": "Output directory."})
    pairs: str | None = field(
        default=None,
        metadata={"help": "A small set of image pairs, repeated until it has as many as rows."},
    )


def main(argv: list[str] | None = None) -> None:
    """Measure every size, write the results, print the table."""
    own, rest = take_options(
        sys.argv[1:] if argv is None else argv, *(f.name for f in fields(BenchDataSettings)), "help"
    )
    try:
        (args,) = read_settings(own, BenchDataSettings, program="bench_data", doc=__doc__)
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        refuse_other_json(out / "measured.json", {"sizes", "processor"})
        with TemporaryDirectory(prefix="bench_data-", dir=out) as folder:
            report = measure_all(args, rest, Path(folder))
    except (InputError, OSError) as error:
        sys.exit(f"bench_data: {error}")
    except KeyboardInterrupt:
        sys.exit("bench_data: stopped; nothing was measured")
    (out / "measured.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"{table(report)}\nwrote {out}/measured.json")
    print(next_commands(["cat", out / "measured.json"]))


def measure_all(args: BenchDataSettings, options: list[str], folder: Path) -> dict:
    """Measure every size; what measured.json is to hold.

    Args:
        options: of the generate command.
        folder: an empty one for the sets.
    """
    pairs = folder / "pairs"
    rest = options + (["--path", str(pairs), "--limit", "null"] if args.pairs else [])
    counts = read([*rest, "--out", str(folder / "rows")])[0].counts
    sizes = []
    for number, rows in enumerate(args.rows):
        if args.pairs:
            pairs = folder / f"pairs-{number}"
            repeat_pairs(Path(args.pairs), pairs, rows)
            rest = [*options, "--path", str(pairs), "--limit", "null"]
        sizes.append(measure(rest, scaled(counts, rows), folder / f"rows-{number}"))
    return {
        "config": str(config_path(rest) or DEFAULT),
        "settings": rest,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "sizes": sizes,
        "peak_of_last_to_that_before": round(
            sizes[-1]["generate"]["peak_mib"] / sizes[-2]["generate"]["peak_mib"], 3
        )
        if len(sizes) > 1
        else None,
        "reading_and_cropping_to_decoding": crops_to_decoding(pairs) if args.pairs else None,
    }


def scaled(counts: dict[str, int], rows: int) -> dict[str, int]:
    """``counts`` in the same proportions, ``rows`` in all."""
    whole, given, scaled_counts = sum(counts.values()), 0, {}
    for task, count in counts.items():
        before, given = given, given + count
        scaled_counts[task] = given * rows // whole - before * rows // whole
    return scaled_counts


def measure(options: list[str], counts: dict[str, int], out: Path) -> dict:
    """Make a set and inspect it. Memory in MiB, times in seconds.

    Args:
        options: of the generate command.
    """
    made = measured([*options, "--counts", json.dumps(counts), "--out", str(out)])
    manifest = json.loads((out / "manifest.json").read_text())
    seen = measured(["--inspect", str(out), "--out", str(out.with_name(f"{out.name}-inspected"))])
    rows, size = manifest["rows"], sum(shard["bytes"] for shard in manifest["shards"])
    for part in (made, seen):
        part["rows_per_cpu_s"] = round(rows / part["cpu_s"], 1)
    return {
        "rows": rows,
        "shards": len(manifest["shards"]),
        "bytes_per_row": round(size / rows),
        "generate": made,
        "inspect": seen,
    }


def repeat_pairs(path: Path, out: Path, rows: int) -> None:
    """A set of ``rows`` pairs, those at ``path`` again and again. One file is written and the
    others are links to it: the disk holds little, and readers see as many files as there would
    be."""
    out.mkdir(parents=True)
    few = pa.concat_tables([pq.read_table(file) for file in parquet_files(path)])

    def write(name: str, n: int) -> None:
        pq.write_table(
            few.take([i % len(few) for i in range(n)]), out / name, row_group_size=GROUP_ROWS
        )

    whole, rest = divmod(rows, PART_ROWS)
    if whole:
        write("part-00000.parquet", PART_ROWS)
    for k in range(1, whole):
        os.link(out / "part-00000.parquet", out / f"part-{k:05d}.parquet")
    if rest:
        write(f"part-{whole:05d}.parquet", rest)


def crops_to_decoding(path: Path, most: int = PART_ROWS) -> float:
    """How many pairs are read from their files and cropped in the time in which one is merely
    decoded; by turns, so that what else the machine does slows both. Those of the first file, at
    ``path`` :func:`repeat_pairs` made it."""
    pairs = Pairs(path, 1, 4096, "long")
    read_pairs(pairs, thresholds(dict.fromkeys(SCORES, 0)), keep_unassessed=True, limit=most)
    images = pq.read_table(parquet_files(path)[0], columns=["image"]).column("image").to_pylist()
    spent = {"decoded": 0.0, "cropped": 0.0}
    for i in range(len(pairs)):
        data = images[pairs.group[i] * GROUP_ROWS + pairs.row[i]]["bytes"]
        start = time.perf_counter()
        open_image_bytes(data)
        spent["decoded"] += time.perf_counter() - start
        start = time.perf_counter()
        for view in pairs[i].views:
            view.open()
        spent["cropped"] += time.perf_counter() - start
    return round(spent["decoded"] / spent["cropped"], 3)


def measured(arguments: list[str]) -> dict:
    """Run the generate command to its end. What it took, as the operating system counts."""
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.generate", *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("bench_data: the generate command failed; it says why above")
    # ru_maxrss is in KiB on Linux.
    return {
        "wall_s": round(time.monotonic() - start, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mib": round(usage.ru_maxrss * 1024 / MIB, 1),
    }


def table(report: dict) -> str:
    """The results as Markdown."""
    lines = [
        "| rows | rows/s per core | peak MiB | bytes per row | inspecting: rows/s | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for size in report["sizes"]:
        made, seen = size["generate"], size["inspect"]
        lines.append(
            f"| {size['rows']:,} | {made['rows_per_cpu_s']:,.0f} | {made['peak_mib']:.0f} "
            f"| {size['bytes_per_row']:,} | {seen['rows_per_cpu_s']:,.0f} "
            f"| {seen['peak_mib']:.0f} |"
        )
    if report["reading_and_cropping_to_decoding"]:
        lines += [
            "",
            "Reading and cropping goes at "
            f"{100 * report['reading_and_cropping_to_decoding']:.0f} % of the rate of "
            "decoding.",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
