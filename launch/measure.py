"""Measure the generate command: rows per second and core, peak memory, bytes per row.

    python launch/measure.py --config configs/data/toybox.yaml --rows 2000 20000 200000

Runs ``launch/generate.py`` in a process of its own for each size, the config's counts scaled to it,
then ``--inspect`` on what it made, and removes the set. Writes ``<out>/measured.json`` and prints a
Markdown table. Rates include starting up; memory is the process's largest resident set. Further
``--key value`` pairs are handed to the generate command.

Expect for 200,000 toybox rows: ten minutes or so of one core and 2 GB of disk.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

GENERATE = str(Path(__file__).with_name("generate.py"))
MIB = 2**20


def main(argv: list[str] | None = None) -> None:
    """Measure every size, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--config", default="configs/data/toybox.yaml")
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000, 20_000, 200_000])
    parser.add_argument("--out", type=Path, default=Path("runs/measure"))
    args, rest = parser.parse_known_args(argv)
    counts = yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))["counts"]
    sizes = [measure(args.config, rest, scaled(counts, rows), args.out / "rows")
             for rows in args.rows]
    report = {
        "config": args.config,
        "settings": rest,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "sizes": sizes,
        "peak_of_last_to_that_before": round(sizes[-1]["generate"]["peak_mib"]
                                             / sizes[-2]["generate"]["peak_mib"], 3)
        if len(sizes) > 1 else None,
    }
    (args.out / "measured.json").write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


def scaled(counts: dict[str, int], rows: int) -> dict[str, int]:
    """``counts`` in the same proportions, ``rows`` in all."""
    whole, given, scaled_counts = sum(counts.values()), 0, {}
    for task, count in counts.items():
        before, given = given, given + count
        scaled_counts[task] = given * rows // whole - before * rows // whole
    return scaled_counts


def measure(config: str, rest: list[str], counts: dict[str, int], out: Path) -> dict:
    """Make a set and inspect it. Memory in MiB, times in seconds."""
    shutil.rmtree(out, ignore_errors=True)
    made = measured(["--config", config, *rest, "--counts", json.dumps(counts), "--out", str(out)])
    manifest = json.loads((out / "manifest.json").read_text())
    seen = measured(["--inspect", str(out), "--out", str(out.with_name("inspected"))])
    shutil.rmtree(out)
    rows, size = manifest["rows"], sum(shard["bytes"] for shard in manifest["shards"])
    for part in (made, seen):
        part["rows_per_cpu_s"] = round(rows / part["cpu_s"], 1)
    return {"rows": rows, "shards": len(manifest["shards"]), "bytes_per_row": round(size / rows),
            "generate": made, "inspect": seen}


def measured(arguments: list[str]) -> dict:
    """Run the generate command to its end. What it took, as the operating system counts."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, GENERATE, *arguments], stdout=subprocess.DEVNULL,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit("measure: the generate command failed; it says why above")
    # ru_maxrss is in KiB on Linux.
    return {"wall_s": round(time.monotonic() - start, 2),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_mib": round(usage.ru_maxrss * 1024 / MIB, 1)}


def table(report: dict) -> str:
    """The results as Markdown."""
    lines = ["| rows | rows/s per core | peak MiB | bytes per row | inspecting: rows/s | peak MiB "
             "|", "|---|---|---|---|---|---|"]
    for size in report["sizes"]:
        made, seen = size["generate"], size["inspect"]
        lines.append(f"| {size['rows']:,} | {made['rows_per_cpu_s']:,.0f} | {made['peak_mib']:.0f} "
                     f"| {size['bytes_per_row']:,} | {seen['rows_per_cpu_s']:,.0f} "
                     f"| {seen['peak_mib']:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
