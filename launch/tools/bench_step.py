"""Measure this trainer against stock TRL: same rows, weights and completions, step by step.

    OMP_NUM_THREADS=1 byname bench_step          # the tiny policy: a table and three curves
    byname bench_step --model PATH --cases tasks # any policy, some of the cases
    byname bench_step --model qwen2_5_vl_3b_random --cases large --dtype bfloat16   # a GPU
    byname bench_step --peak                     # peak memory, each trainer by itself
    byname bench_step --join runs/speed_g runs/speed_prompts   # one table of several runs

Writes ``speed.json``, ``speed.md`` and ``speed.png`` to ``--out``. Times are medians of
``--rounds`` steps after two for warming up, stock and ours by turns; × is the median of the ratios
of paired steps, in brackets its 95 % interval (``--rounds 20`` for narrow ones). What a pass was
predicted to cost (``rl/sharing/cost.py``) stands beside what it did cost. The lines at the end say
which cases are slower than stock, how far the prediction is off, with intervals, and which
constants would fit best (``--share on`` for all cases). ``--join`` measures nothing: it does all
that anew from the ``speed.json`` of earlier runs on one machine. On a CPU give it one thread, as
training does per process: the trainers take turns in two threads, whose helpers get in each other's
way.
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
from data_gen.files.files import refuse_no_folder, refuse_other_json, write_json, write_text
from data_gen.files.sentences import next_commands
from data_gen.files.settings import read_settings
from data_gen.toybox.weights import local_weights
from rl.policy.loading import load_policy, refuse_missing
from rl.sharing.cost import MAX_COST_RATIO, ForwardPass, predicted_ratio, prices_of
from rl.sharing.scoring import scores_all
from rl.speed.compare import PHASES, compare
from rl.speed.kept import join, read
from rl.speed.random_policy import save_qwen2_5_vl_3b_random
from rl.speed.report import draw, errors_table, line, prediction, summary, table_of
from rl.speed.workload import Shape, bound, image_price, prompt_length
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
SINGLE = {name: kind for kind, cases in CASES.items() for name in cases}
"""Case -> the kind that it is of."""

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
        metadata={"help": f"Of {', '.join(CASES)}; or single ones, such as 'G 16'."},
    )
    dtype: Literal["float32", "bfloat16"] = field(
        default="float32", metadata={"help": "Of the weights."}
    )
    share: Literal["auto", "on"] = field(
        default="auto",
        metadata={"help": "Whether our trainer shares prompts: where it pays, or always."},
    )
    rounds: int = field(
        default=7, metadata={"help": "Steps that are timed; six or more for an interval."}
    )
    out: str = field(default="runs/speed", metadata={"help": "Output directory."})
    join: list[str] = field(
        default_factory=list,
        metadata={"help": "Output directories of earlier runs, to make one table of."},
    )
    peak: bool = field(default=False, metadata={"help": "Measure peak memory instead."})
    one: list[str] | None = field(
        default=None,
        metadata={
            "help": "TRAINER SHAPE: peak memory of one, which --peak runs in a process each."
        },
    )

    def __post_init__(self):
        if unknown := [case for case in self.cases if case not in CASES and case not in SINGLE]:
            raise InputError(
                f"cases must be of {', '.join(CASES)}, or single ones of {', '.join(SINGLE)}, not "
                f"{unknown[0]!r}"
            )
        if self.rounds < 1:
            raise InputError(f"rounds must be at least 1, not {self.rounds}")


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
    if args.join:
        on, results = join([read(Path(folder) / "speed.json") for folder in args.join])
        out.mkdir(parents=True, exist_ok=True)
        keep(on, results, out)
        print(table_of(results))
        tell(on, results, out)
        return
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
    on = {
        "model": args.model,
        "dtype": args.dtype,
        "device": device(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    results: list[dict] = []
    for kind, name in chosen(args.cases):
        found = measure(args.model, CASES[kind][name], args.rounds, args.share, args.dtype)
        results.append({"kind": kind, "case": name, **found})
        print(line(results[-1]), flush=True)
        keep(on, results, out)
    tell(on, results, out)


def chosen(cases: list[str]) -> list[tuple[str, str]]:
    """(kind, case) of all that is asked for, each once."""
    found = [
        (kind, name)
        for case in cases
        for kind, name in (
            [(case, name) for name in CASES[case]] if case in CASES else [(SINGLE[case], case)]
        )
    ]
    return list(dict.fromkeys(found))


def keep(on: dict, results: list[dict], out: Path) -> None:
    """Write the JSON file: on what was measured, what was measured, how far predictions are off."""
    write_json(out / "speed.json", {**on, "prediction": prediction(results), "results": results})


def tell(on: dict, results: list[dict], out: Path) -> None:
    """Write tables and curves; print what they come to."""
    parts = [
        table_of(results),
        f"{on['device']}, {on['dtype']}.\n",
        errors_table(results),
        summary(results),
    ]
    write_text(out / "speed.md", "\n".join(part for part in parts if part) + "\n")
    print(summary(results))
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
            "steps": {phase: run.seconds[phase] for phase in PHASES},
            "tokens": run.tokens,
            "images": run.images,
            "loss": run.losses[-1],
        }
        for name, run in both.items()
    }
    groups = [list(range(i * shape.G, (i + 1) * shape.G)) for i in range(shape.prompts)]
    config = AutoConfig.from_pretrained(local_weights(model))
    whole = [ForwardPass(groups, prompt, shape.completion)]
    ratio = predicted_ratio(whole, prompt, shape.completion, prices_of(config))
    on = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "shape": {**asdict(shape), "prompt": prompt},
        "bound": bound(shape, prompt),
        "prices": asdict(prices_of(config, attention=1.0)),
        "image_price": image_price(config, shape.image_px),
        "stock_scores_all": scores_all(on),
        "shared": share == "on" or ratio <= MAX_COST_RATIO,
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
