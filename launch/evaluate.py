"""Measure policies on a benchmark, side by side.

    python launch/evaluate.py --config configs/benchmarks/toybox.yaml \
        --policy rl/toybox_base --policy runs/toybox_demo/policy --out runs/toybox_demo/eval

Writes ``evaluation.json``, ``evaluation.md``, ``gallery.json`` (samples for the report) and
``predictions/<policy>/<set>.jsonl``; a run that was killed goes on from the latter.
"""

import json
import re
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
import yaml
from transformers.utils import logging
from trl import TrlParser

from benchmarks import toybox
from benchmarks.gallery import sample
from benchmarks.policies import Policy, fingerprint, parse_policies
from benchmarks.runner import Prediction, predict
from benchmarks.table import markdown, tabulate
from rl.policy import load_policy

LIMITS = ("oct", "vlt", "captions")


@dataclass
class EvaluateArguments:
    """What to measure and on which rows."""

    policy: list[str] = field(default_factory=list, metadata={
        "action": "extend",
        "help": "PATH or LABEL=PATH of a model, LoRA adapter or hub id; once for each. Policies "
                "after the first are compared with it."})
    out: str = field(default="runs/evaluation", metadata={"help": "Output directory."})
    size: str = field(default="full", metadata={"help": "Which of `sizes`."})
    sizes: dict = field(default_factory=dict, metadata={"help": "Size -> set -> rows."})
    seed: int = field(default=7001, metadata={"help": "Seed of the rows."})
    max_new_tokens: dict = field(default_factory=lambda: {"oct": 16, "vlt": 48, "captions": 224},
                                 metadata={"help": "Limits for oct, vlt and captions, in tokens."})
    batch_size: int = field(default=64, metadata={"help": "Rows per call of the model."})
    settings: dict = field(default_factory=dict, metadata={
        "help": "reference_px, query_px, prompts."})
    resamples: int = field(default=2000, metadata={"help": "Bootstrap resamples."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1 ... or auto."})
    box_convention: str | None = field(default=None, metadata={
        "help": "pixels, thousand or unit; default: the family's."})
    attn_implementation: str | None = field(default=None, metadata={"help": "As in transformers."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the model."})


def check(args: EvaluateArguments) -> tuple[dict[str, int], list[Policy]]:
    """Rows per set and the policies, with every mistake found before weights load.

    Raises:
        ValueError: one sentence that says what to change.
    """
    if args.size not in args.sizes:
        raise ValueError(f"size {args.size!r} is none of the config's: "
                         f"{', '.join(args.sizes) or 'it has no `sizes`'}")
    counts = args.sizes[args.size] or {}
    if unknown := sorted(set(counts) - set(toybox.SETS)):
        raise ValueError(f"sizes.{args.size}: no set {unknown[0]!r}; the benchmark has "
                         f"{', '.join(toybox.SETS)}")
    for name, count in counts.items():
        if not isinstance(count, int) or count < 0:
            raise ValueError(f"sizes.{args.size}.{name} is {count!r}; it must be a number of rows")
    if not any(counts.values()):
        raise ValueError(f"sizes.{args.size} asks for no rows; an empty benchmark scores nothing")
    if set(args.max_new_tokens) != set(LIMITS):
        raise ValueError(f"max_new_tokens needs exactly {', '.join(LIMITS)}, not "
                         f"{', '.join(args.max_new_tokens)}")
    # In the order of the benchmark, whatever the order of the config.
    return {s: counts[s] for s in toybox.SETS if counts.get(s)}, parse_policies(args.policy)


def answer(
    policy: Policy, rows: dict[str, list[dict]], args: EvaluateArguments
) -> dict[str, list[Prediction]]:
    """Predictions of one policy for all sets, made or read back."""
    loaded: list = []

    def load():
        if not loaded:
            model, processor = load_policy(
                policy.path, dtype=args.dtype, trust_remote_code=args.trust_remote_code,
                attn_implementation=args.attn_implementation)
            auto = "cuda" if torch.cuda.is_available() else "cpu"
            loaded.extend((model.to(auto if args.device == "auto" else args.device), processor))
        return loaded

    mark = f"{fingerprint(policy.path)}-{args.dtype}-{args.box_convention}"
    folder = Path(args.out) / "predictions" / re.sub(r"[^\w.-]+", "_", policy.label)
    return {
        name: predict(load, of_set, folder / f"{name}.jsonl", fingerprint=mark,
                      max_new_tokens=args.max_new_tokens[name if name in LIMITS else "captions"],
                      batch_size=args.batch_size, wants_box=name == "vlt",
                      box_convention=args.box_convention,
                      title=f"{policy.label}: {name}")
        for name, of_set in rows.items()
    }


def evaluate(args: EvaluateArguments) -> dict:
    """Run the benchmark, write its files under ``args.out``, return what evaluation.json holds."""
    counts, policies = check(args)
    settings = toybox.toybox_settings(args.settings)
    print(f"{sum(counts.values())} rows: "
          + ", ".join(f"{name} {count}" for name, count in counts.items()))
    for policy in policies:
        print(f"policy {policy.label}: {policy.path}")
    print(f"output: {args.out}", flush=True)

    rows = {s: toybox.build_set(s, n, args.seed, settings) for s, n in counts.items()}
    predictions, seconds = {}, {}
    for policy in policies:
        start = time.perf_counter()
        predictions[policy.label] = answer(policy, rows, args)
        seconds[policy.label] = round(time.perf_counter() - start, 1)
    result = {
        "benchmark": "toybox",
        "size": args.size, "seed": args.seed, "counts": counts, "resamples": args.resamples,
        "settings": asdict(settings), "max_new_tokens": args.max_new_tokens,
        "policies": [{**asdict(p), "fingerprint": fingerprint(p.path), "dtype": args.dtype,
                      "seconds": seconds[p.label]} for p in policies],
        "versions": {name: version(name) for name in ("byname", "torch", "transformers")},
        **tabulate({label: toybox.score(rows, found) for label, found in predictions.items()},
                   {**toybox.SETS, **toybox.POOLS}, toybox.HEADLINES, resamples=args.resamples),
    }
    samples = [
        sample(rows[name][i], toybox.SETS[name],
               {label: found[name][i] for label, found in predictions.items()})
        for name, most in toybox.GALLERY.items() for i in range(min(most, counts.get(name, 0)))
    ]
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "gallery.json", json.dumps(samples, ensure_ascii=False))
    _write(out / "evaluation.md", markdown(result))
    _write(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def main() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    datasets.disable_progress_bars()  # bars that last a moment only hide ours
    logging.disable_progress_bar()
    try:
        (args,) = TrlParser(EvaluateArguments).parse_args_and_config()
        result = evaluate(args)
    except (ValueError, OSError, yaml.YAMLError) as error:
        sys.exit(f"evaluate: {error}")
    print("\n" + markdown(result, result["headlines"]))
    print(f"wrote {args.out}/evaluation.md (all metrics), evaluation.json and gallery.json")


def _write(path: Path, text: str) -> None:
    """Whole or not at all. A lone surrogate, which a model can write, becomes a question mark."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="replace")
    partial.rename(path)


if __name__ == "__main__":
    main()
