"""Measure this trainer against stock TRL: same rows, weights and completions, step by step.

    OMP_NUM_THREADS=1 byname bench_step          # the tiny policy: a table and three curves
    byname bench_step --model PATH --cases tasks # any policy, some of the cases
    byname bench_step --model qwen2_5_vl_3b_random --cases large --dtype bfloat16   # a GPU
    byname bench_step --peak                     # peak memory, each trainer by itself

Writes ``speed.json``, ``speed.md`` and ``speed.png`` to ``--out``. Times are medians of
``--rounds`` steps after two for warming up, stock and ours by turns; in brackets the 95 % interval
of the ratios of paired steps (``--rounds 20`` for narrow ones). What a pass was predicted to
cost (``rl/sharing/cost.py``) stands beside what it did cost; the line at the end is the best fit of
that prediction's constants to this run (``--share on`` for all cases). On a CPU give it one thread,
as training does per process: the trainers take turns in two threads, whose helpers get in each
other's way.
"""

import json
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_no_folder, refuse_other_json, write_json
from data_gen.files.sentences import next_commands
from data_gen.files.settings import read_settings
from data_gen.toybox.weights import local_weights
from rl.policy.loading import load_policy, refuse_missing
from rl.sharing.cost import (
    MAX_COST_RATIO,
    OVERHEAD,
    ForwardPass,
    predicted_ratio,
    prices_of,
)
from rl.speed.compare import PHASES, compare
from rl.speed.random_policy import save_qwen2_5_vl_3b_random
from rl.speed.report import (
    draw,
    fit_line,
    fitted,
    line,
    table_of,
)
from rl.speed.workload import (
    Shape,
    bound,
    costs,
    image_price,
    prompt_length,
)
from rl.trainer import TrainerOptions

BASE = Shape()
CASES = {
    "tasks": {  # the toybox's own questions, then long prompts
        "yes or no": Shape(prompt=95, completion=2, prompts=8),
        "box": Shape(prompt=95, completion=26, prompts=8),
        "caption": Shape(prompt=160, completion=120, prompts=8),
        "500 / 64": Shape(prompt=500, completion=64),
        "500 / 128": Shape(prompt=500, completion=128),
        "500 / 64, reference": Shape(prompt=500, completion=64, beta=0.04),
        "500 / 64, LoRA": Shape(prompt=500, completion=64, lora=True),
        "500 / 64, dropout": Shape(prompt=500, completion=64, lora=True, dropout=0.05),
    },
    "G": {f"G {g}": replace(BASE, prompt=250, completion=64, G=g) for g in (2, 4, 8, 16, 32)},
    "prompt": {
        f"prompt {p}": replace(BASE, prompt=p, completion=64)
        for p in (60, 125, 250, 500, 1000, 2000, 4000)
    },
    "completion": {
        f"completion {c}": replace(BASE, prompt=250, completion=c) for c in (2, 8, 32, 128, 512)
    },
    "pictures": {  # of a user, and two candidates: benchmarks/preferences.py
        f"{n} pictures, chain": Shape(prompt=60 + 20 * n, completion=224, images=n) for n in (6, 12)
    },
    "large": {
        f"{what}, {p} / {c}": Shape(
            prompt=p, completion=c, image_px=448, beta=0.04, checkpointing=True, lora=True
        )
        for what, p, c in (
            ("yes or no", 700, 2),
            ("box", 700, 26),
            ("caption", 800, 128),
            ("long prompt", 2000, 128),
        )
    },
}
MODELS = {"tiny": "toybox_base"}
RANDOM_3B = "qwen2_5_vl_3b_random"


@dataclass
class BenchStepSettings:
    """What to measure."""

    model: str = field(
        default="tiny", metadata={"help": f"tiny, {RANDOM_3B}, or a policy directory or hub id."}
    )
    cases: list[str] = field(
        default_factory=lambda: [k for k in CASES if k not in ("pictures", "large")],
        metadata={"help": f"Of {', '.join(CASES)}."},
    )
    dtype: Literal["float32", "bfloat16"] = field(
        default="float32", metadata={"help": "Of the weights."}
    )
    share: Literal["auto", "on"] = field(
        default="auto",
        metadata={"help": "Whether our trainer shares prompts: where it pays, or always."},
    )
    rounds: int = field(default=5, metadata={"help": "Steps that are timed."})
    out: str = field(default="runs/speed", metadata={"help": "Output directory."})
    peak: bool = field(default=False, metadata={"help": "Measure peak memory instead."})
    one: list[str] | None = field(
        default=None,
        metadata={
            "help": "TRAINER SHAPE: peak memory of one, which --peak runs in a process each."
        },
    )

    def __post_init__(self):
        if unknown := [case for case in self.cases if case not in CASES]:
            raise InputError(f"cases must be of {', '.join(CASES)}, not {unknown[0]!r}")


def main(argv: list[str] | None = None) -> int:
    """Measure, write the tables and curves. Returns the exit status."""
    try:
        (args,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            BenchStepSettings,
            program="bench_step",
            doc=__doc__,
        )
        run(args)
    except (InputError, OSError) as error:
        print(f"bench_step: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbench_step: stopped; cases that were measured are kept", file=sys.stderr)
        return 130
    return 0


def run(args: BenchStepSettings) -> None:
    """Measure what the settings ask for, write the tables and curves.

    Raises:
        InputError: no such policy.
        FileExistsError: a file of another program is where the tables go.
    """
    args.model = MODELS.get(args.model) or args.model
    if args.one:
        print(json.dumps(peak_of_one(args.model, args.one[0], Shape(**json.loads(args.one[1])))))
        return
    refuse_no_folder(args.out, "out")
    out = Path(args.out)
    if args.peak:
        refuse_other_json(out / "memory.json", {"model", "peaks"}, ["memory.md"])
    else:
        refuse_other_json(out / "speed.json", {"model", "results"}, ["speed.md", "speed.png"])
    if args.model != RANDOM_3B:
        refuse_missing(args.model)
    out.mkdir(parents=True, exist_ok=True)
    if args.model == RANDOM_3B:
        args.model = str(out / RANDOM_3B)
        if not (out / RANDOM_3B / "processor_config.json").is_file():  # written last
            save_qwen2_5_vl_3b_random(args.model)
    if args.peak:
        found = list(peaks(args.model))
        lines = [
            f"| {name} | {a / 2**20:.0f} | {b / 2**20:.0f} | {b / a:.2f} |" for name, a, b in found
        ]
        head = ["| case | stock, MiB | ours, MiB | ratio |", "|---|---|---|---|"]
        table = "\n".join([*head, *lines])
        write_json(out / "memory.json", {"model": args.model, "peaks": found})
        (out / "memory.md").write_text(table + "\n")
        print(table)
        return
    results = []
    for kind in args.cases:
        for name, shape in CASES[kind].items():
            found = measure(args.model, shape, args.rounds, args.share, args.dtype)
            results.append({"kind": kind, "case": name, **found})
            print(line(results[-1]), flush=True)
            (out / "speed.json").write_text(
                json.dumps(
                    {
                        "model": args.model,
                        "dtype": args.dtype,
                        "device": device(),
                        "torch": torch.__version__,
                        "threads": torch.get_num_threads(),
                        "fit": fitted(results),
                        "results": results,
                    },
                    indent=1,
                )
            )
    text = f"{table_of(results)}\n{device()}, {args.dtype}. {fit_line(results)}\n"
    (out / "speed.md").write_text(text)
    print(fit_line(results))
    draw(results, out / "speed.png")
    print(f"wrote {out}/speed.json, speed.md and speed.png")
    print(next_commands(["cat", f"{out}/speed.md"]))


def measure(model: str, shape: Shape, rounds: int, share: str, dtype: str) -> dict:
    """Both trainers on one shape: medians per phase, tokens, images, bound and prediction."""
    both = compare(
        model,
        shape,
        rounds=rounds,
        dtype=getattr(torch, dtype),
        options=TrainerOptions(share_prompt=share, share_vision="auto", fast_sampling=True),
    )
    prompt = prompt_length(model, shape)
    found = {
        name: {
            "seconds": {phase: run.median(phase) for phase in PHASES},
            "steps": {phase: run.seconds[phase] for phase in ("step", "loss")},
            "tokens": run.tokens,
            "images": run.images,
            "loss": run.losses[-1],
        }
        for name, run in both.items()
    }
    groups = [list(range(i * shape.G, (i + 1) * shape.G)) for i in range(shape.prompts)]
    config = AutoConfig.from_pretrained(local_weights(model))
    prices, image = prices_of(config), image_price(config, shape.image_px)
    cost = costs(shape, prompt, prices, image)
    whole = [ForwardPass(groups, prompt, shape.completion)]
    ratio = predicted_ratio(whole, prompt, shape.completion, prices)
    shared = share == "on" or ratio <= MAX_COST_RATIO
    return {
        "shape": {**asdict(shape), "prompt": prompt},
        "bound": bound(shape, prompt),
        "prices": asdict(prices),
        "image_price": image,
        "shared": shared,
        "predicted": (OVERHEAD + cost["stock"]) / (OVERHEAD + cost["ours"]) if shared else 1.0,
        **found,
    }


def device() -> str:
    """What it ran on, in a few words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"


def peaks(model: str):
    """(case, stock bytes, our bytes): what a step adds to a process that has loaded the model."""
    for name in ("500 / 64", "500 / 128"):
        shape = json.dumps(asdict(CASES["tasks"][name]))
        found = [
            json.loads(
                subprocess.run(
                    [
                        sys.executable,
                        "-m",
                        "launch.tools.bench_step",
                        "--model",
                        model,
                        "--one",
                        which,
                        shape,
                    ],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
            for which in ("stock", "ours")
        ]
        yield name, *found


def peak_of_one(model: str, which: str, shape: Shape) -> int:
    """Bytes at the peak above what the loaded model needs."""
    if torch.cuda.is_available():
        policy: Any = load_policy(model)[0]
        policy.cuda()
        before = torch.cuda.max_memory_allocated()
        compare(model, shape, rounds=1, warmup=1, which=(which,))
        return torch.cuda.max_memory_allocated() - before
    load_policy(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    compare(model, shape, rounds=1, warmup=1, which=(which,))
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    sys.exit(main())
