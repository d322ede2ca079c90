"""Measure this trainer against stock TRL: same rows, weights and completions, step by step.

    python launch/bench.py                           # the tiny policy: a table and three curves
    python launch/bench.py --model PATH --cases long # any policy, one set of cases
    python launch/bench.py --peak                    # peak memory, each trainer in its own process

Writes ``speed.json``, ``speed.md`` and ``speed.png`` to ``--out``. Times are medians of
``--rounds`` steps after two for warming up, stock and ours by turns.
"""

import argparse
import json
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from rl.policy import load_policy
from rl.speed import PHASES, Shape, bound, compare, prompt_length

BASE = Shape()
CASES = {
    "tasks": {  # the toybox's own questions, then long prompts
        "yes or no": Shape(prompt=95, completion=2, prompts=8),
        "box": Shape(prompt=95, completion=26, prompts=8),
        "caption": Shape(prompt=160, completion=120, prompts=8),
        "500 / 64": Shape(prompt=500, completion=64),
        "500 / 128": Shape(prompt=500, completion=128),
        "500 / 64, reference": Shape(prompt=500, completion=64, beta=0.04),
    },
    "G": {f"G {g}": replace(BASE, prompt=250, completion=64, G=g) for g in (2, 4, 8, 16, 32)},
    "prompt": {f"prompt {p}": replace(BASE, prompt=p, completion=64)
               for p in (60, 125, 250, 500, 1000, 2000, 4000)},
    "completion": {f"completion {c}": replace(BASE, prompt=250, completion=c)
                   for c in (2, 8, 32, 128, 512)},
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="rl/toybox_base", help="policy directory or hub id")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/speed"))
    parser.add_argument("--peak", action="store_true", help="measure peak memory instead")
    parser.add_argument("--one", nargs=2, metavar=("TRAINER", "SHAPE"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(peak_of_one(args.model, args.one[0], Shape(**json.loads(args.one[1])))))
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    if args.peak:
        lines = [f"| {name} | {a / 2**20:.0f} | {b / 2**20:.0f} | {b / a:.2f} |"
                 for name, a, b in peaks(args.model)]
        head = ["| case | stock, MiB | ours, MiB | ratio |", "|---|---|---|---|"]
        table = "\n".join([*head, *lines])
        (args.out / "memory.md").write_text(table + "\n")
        print(table)
        return 0
    results = []
    for kind in args.cases:
        for name, shape in CASES[kind].items():
            found = measure(args.model, shape, args.rounds)
            results.append({"kind": kind, "case": name, **found})
            print(line(results[-1]), flush=True)
            (args.out / "speed.json").write_text(json.dumps(
                {"model": args.model, "torch": torch.__version__, "threads":
                 torch.get_num_threads(), "results": results}, indent=1))
    (args.out / "speed.md").write_text(table_of(results))
    draw(results, args.out / "speed.png")
    print(f"wrote {args.out}/speed.json, speed.md and speed.png")
    return 0


def measure(model: str, shape: Shape, rounds: int) -> dict:
    """Both trainers on one shape: medians per phase, tokens, pictures, and the bound."""
    both = compare(model, shape, rounds=rounds)
    prompt = prompt_length(model, shape)
    found = {name: {"seconds": {phase: run.median(phase) for phase in PHASES},
                    "tokens": run.tokens, "pictures": run.pictures, "loss": run.losses[-1]}
             for name, run in both.items()}
    return {"shape": {**asdict(shape), "prompt": prompt}, "bound": bound(shape, prompt), **found}


def faster(result: dict, phase: str) -> float:
    """Stock's time over ours."""
    return result["stock"]["seconds"][phase] / max(result["ours"]["seconds"][phase], 1e-9)


def line(result: dict) -> str:
    """One row of the table."""
    stock, ours, least = result["stock"], result["ours"], result["bound"]
    return (f"| {result['case']} | {stock['seconds']['step']:.2f} | {faster(result, 'step'):.2f} | "
            f"{faster(result, 'loss'):.2f} | {faster(result, 'generation'):.2f} | "
            f"{stock['tokens']} / {ours['tokens']} / {least['tokens']} | "
            f"{stock['pictures']} / {ours['pictures']} / {least['pictures']} |")


def table_of(results: list[dict]) -> str:
    """Markdown: stock's step in seconds, how many times faster ours is, and what was counted."""
    head = ("| case | stock step, s | step × | loss × | generation × | tokens stock / ours / least "
            "| pictures through the tower |")
    return "\n".join([head, "|" + "---|" * 7, *map(line, results)]) + "\n"


def draw(results: list[dict], path: Path) -> None:
    """Three curves: how many times faster against G, prompt length and completion length."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = [k for k in ("G", "prompt", "completion") if any(r["kind"] == k for r in results)]
    if not kinds:
        return
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4.2 * len(kinds), 3.2), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        mine = [r for r in results if r["kind"] == kind]
        x = [r["shape"][kind] for r in mine]
        for phase in ("step", "loss", "generation"):
            axis.plot(x, [faster(r, phase) for r in mine], marker="o", label=phase)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(xscale="log", xlabel={"G": "completions per prompt"}.get(kind, f"{kind} tokens"),
                 ylabel="times faster than stock TRL", xticks=x)
        axis.set_xticklabels(x)
        axis.minorticks_off()
    axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def peaks(model: str):
    """(case, stock bytes, our bytes): what a step adds to a process that has loaded the model."""
    for name in ("500 / 64", "500 / 128"):
        shape = json.dumps(asdict(CASES["tasks"][name]))
        found = [json.loads(subprocess.run(
            [sys.executable, __file__, "--model", model, "--one", which, shape],
            check=True, capture_output=True, text=True).stdout.splitlines()[-1])
            for which in ("stock", "ours")]
        yield name, *found


def peak_of_one(model: str, which: str, shape: Shape) -> int:
    """Bytes at the peak above what the loaded model needs."""
    if torch.cuda.is_available():
        load_policy(model)[0].cuda()
        before = torch.cuda.max_memory_allocated()
        compare(model, shape, rounds=1, warmup=1, which=(which,))
        return torch.cuda.max_memory_allocated() - before
    load_policy(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compare(model, shape, rounds=1, warmup=1, which=(which,))
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
