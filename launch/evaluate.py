"""Measure policies on a benchmark, side by side.

    python launch/evaluate.py --config configs/benchmarks/toybox.yaml \
        --policy rl/toybox_base --policy runs/toybox_demo/policy --out runs/toybox_demo/eval

Writes ``evaluation.json``, ``evaluation.md``, ``gallery.json`` (samples for the report), of the
toybox also ``columns.json`` (every metric row by row, to pool it over seeds), and
``predictions/<policy>/<set>.jsonl``; a run that was killed goes on from the latter, and
``--score_only true`` scores them where neither policy nor GPU is at hand. Under ``accelerate
launch`` its processes share the rows.

``benchmark: naming``, ``recognition`` or ``choices`` asks a published benchmark from its own files,
with its controls; ``settings`` then say where they are (:mod:`benchmarks.published`).
"""

import json
import re
import sys
import time
import warnings
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
import yaml
from accelerate import PartialState
from transformers.utils import logging
from trl import TrlParser

from benchmarks import published, toybox
from benchmarks.answers import answer_questions, read_answers, scored
from benchmarks.files import left_out_line, told
from benchmarks.gallery import sample
from benchmarks.policies import Policy, fingerprint, parse_policies
from benchmarks.questions import load_words, open_rows
from benchmarks.runner import Prediction, predict
from benchmarks.table import beside, markdown, tabulate
from benchmarks.toybox_found import FOUND, Retrieval
from rl.policy import load_policy
from rl.run import leave_together

LIMITS = ("oct", "vlt", "captions")


@dataclass
class EvaluateArguments:
    """What to measure and on which rows."""

    policy: list[str] = field(default_factory=list, metadata={
        "action": "extend",
        "help": "PATH or LABEL=PATH of a model, LoRA adapter or hub id; once for each. Policies "
                "after the first are compared with it."})
    out: str = field(default="runs/evaluation", metadata={"help": "Output directory."})
    benchmark: str = field(default="toybox", metadata={
        "help": "toybox, or a published one: naming, recognition, choices."})
    limit: int | None = field(default=None, metadata={
        "help": "Published benchmarks: the first so many questions."})
    score_only: bool = field(default=False, metadata={
        "help": "Score the predictions under `out`; load no policy."})
    size: str = field(default="full", metadata={"help": "Which of `sizes`."})
    sizes: dict = field(default_factory=dict, metadata={"help": "Size -> set -> rows."})
    seed: int = field(default=7001, metadata={"help": "Seed of the rows."})
    max_new_tokens: dict = field(default_factory=lambda: {"oct": 16, "vlt": 48, "captions": 224},
                                 metadata={"help": "Limits for oct, vlt and captions, in tokens."})
    batch_size: int = field(default=64, metadata={"help": "Rows per call of the model."})
    settings: dict = field(default_factory=dict, metadata={
        "help": "Toybox: reference_px, query_px, prompts. Published: where its files are."})
    retrieval: dict = field(default_factory=dict, metadata={
        "help": "Toybox: how references are found, for found_1 ...: toys, seed, encoder, regions, "
                "cache."})
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
    if unknown := sorted(set(args.retrieval) - {f.name for f in fields(Retrieval)}):
        raise ValueError(f"retrieval has no setting {unknown[0]!r}; it has "
                         f"{', '.join(f.name for f in fields(Retrieval))}")
    if not args.retrieval and any(counts.get(name) for name in FOUND):
        raise ValueError(f"sizes.{args.size} asks for references to be found; say how in "
                         f"`retrieval`, such as {{toys: 60, encoder: imagenet}}")
    if set(args.max_new_tokens) != set(LIMITS):
        raise ValueError(f"max_new_tokens needs exactly {', '.join(LIMITS)}, not "
                         f"{', '.join(args.max_new_tokens)}")
    # In the order of the benchmark, whatever the order of the config.
    return ({s: counts[s] for s in toybox.SETS if counts.get(s)},
            parse_policies(args.policy, check=not args.score_only))


def loader(policy: Policy, args: EvaluateArguments):
    """Loads the policy when it is first asked for, and only once."""
    loaded: list = []

    def load():
        if args.score_only:
            raise ValueError(f"policy {policy.label}: rows without a prediction under {args.out}; "
                             f"run without --score_only to make them")
        if not loaded:
            model, processor = load_policy(
                policy.path, dtype=args.dtype, trust_remote_code=args.trust_remote_code,
                attn_implementation=args.attn_implementation)
            auto = "cuda" if torch.cuda.is_available() else "cpu"
            if PartialState().num_processes > 1:
                auto = PartialState().device
            loaded.extend((model.to(auto if args.device == "auto" else args.device), processor))
        return loaded

    return load


def folder_of(policy: Policy, args: EvaluateArguments) -> Path:
    """Where a policy's predictions are kept."""
    return Path(args.out) / "predictions" / re.sub(r"[^\w.-]+", "_", policy.label)


def mark_of(policy: Policy, args: EvaluateArguments) -> str:
    """What predictions depend on, beside rows and limits."""
    return f"{fingerprint(policy.path)}-{args.dtype}-{args.box_convention}"


def answer(
    policy: Policy, rows: dict[str, list[dict]], args: EvaluateArguments
) -> dict[str, list[Prediction]]:
    """Predictions of one policy for all sets, made or read back."""
    load = loader(policy, args)
    return {
        name: predict(load, of_set, folder_of(policy, args) / f"{name}.jsonl",
                      fingerprint=mark_of(policy, args),
                      max_new_tokens=args.max_new_tokens[name if name in LIMITS else "captions"],
                      batch_size=args.batch_size, wants_box=name == "vlt",
                      box_convention=args.box_convention,
                      title=f"{policy.label}: {name}")
        for name, of_set in rows.items()
    }


def evaluate(args: EvaluateArguments) -> dict | None:
    """Run the benchmark, write its files under ``args.out``, return what evaluation.json holds;
    ``None`` in processes but the first, which only help with the predictions."""
    if args.benchmark != "toybox":
        return evaluate_published(args)
    counts, policies = check(args)
    settings = toybox.toybox_settings(args.settings)
    processes = PartialState()
    if processes.is_main_process:
        print(f"{sum(counts.values())} rows: "
              + ", ".join(f"{name} {count}" for name, count in counts.items()))
        for policy in policies:
            print(f"policy {policy.label}: {policy.path}")
        print(f"output: {args.out}", flush=True)

    retrieval = Retrieval(**args.retrieval) if args.retrieval else None
    with processes.main_process_first():  # what one finds, the others read
        rows = {s: toybox.build_set(s, n, args.seed, settings, retrieval)
                for s, n in counts.items()}
    predictions, seconds = {}, {}
    for policy in policies:
        start = time.perf_counter()
        predictions[policy.label] = answer(policy, rows, args)
        seconds[policy.label] = round(time.perf_counter() - start, 1)
    if not processes.is_main_process:
        return None
    metrics = {label: toybox.score(rows, found) for label, found in predictions.items()}
    result = {
        "benchmark": "toybox",
        "size": args.size, "seed": args.seed, "counts": counts, "resamples": args.resamples,
        "settings": asdict(settings), "max_new_tokens": args.max_new_tokens,
        "policies": [{**asdict(p), "fingerprint": fingerprint(p.path), "dtype": args.dtype,
                      "seconds": seconds[p.label]} for p in policies],
        "versions": {name: version(name) for name in ("byname", "torch", "transformers")},
        **tabulate(metrics, {**toybox.SETS, **toybox.POOLS}, toybox.HEADLINES,
                   resamples=args.resamples),
    }
    samples = [
        sample(rows[name][i], toybox.SETS[name],
               {label: found[name][i] for label, found in predictions.items()})
        for name, most in toybox.GALLERY.items() for i in range(min(most, counts.get(name, 0)))
    ]
    columns = {label: {key: [[list(top), list(bottom)] for top, bottom in metric]
                       for key, metric in of.items()} for label, of in metrics.items()}
    Path(args.out).mkdir(parents=True, exist_ok=True)
    _write(Path(args.out) / "columns.json", json.dumps(columns))
    return write(args, result, samples, markdown(result))


def evaluate_published(args: EvaluateArguments) -> dict | None:
    """The same for a published benchmark, whose pictures may be missing in part."""
    kind = args.benchmark
    settings = published.published_settings(args.settings)
    words = load_words(settings.prompts)
    sets, left_out = published.build_sets(kind, settings, args.limit)
    policies = parse_policies(args.policy, check=not args.score_only)
    if PartialState().is_main_process:
        print(", ".join(f"{name} {len(questions)}" for name, questions in sets.items()),
              left_out_line(left_out), *(f"policy {p.label}: {p.path}" for p in policies),
              f"output: {args.out}", sep="\n", flush=True)

    likelihood = settings.likelihood and kind != "naming"
    for policy in [] if args.score_only else policies:
        load, mark = loader(policy, args), mark_of(policy, args)
        for name, questions in sets.items():
            answer_questions(
                load, questions, words, folder_of(policy, args), name, left_out, fingerprint=mark,
                max_new_tokens=args.max_new_tokens.get(kind, published.LIMITS[kind]),
                batch_size=args.batch_size, likelihood=likelihood, size=settings.size,
                side=settings.side, title=f"{policy.label}: {name}")
    if not PartialState().is_main_process:
        return None
    metrics = {policy.label: {} for policy in policies}
    makers, samples, counts = {}, [], {}
    for name, questions in sets.items():
        read = {p.label: read_answers(folder_of(p, args), name) for p in policies}
        answers = {label: found for label, (found, _, _) in read.items()}
        asked = scored(questions, answers, name, left_out)
        counts[name] = len(asked)
        # Scored for all policies or for none.
        known = likelihood and all(q.id in scores for _, scores, _ in read.values() for q in asked)
        for label, (found, scores, made_by) in read.items():
            makers[label] = sorted({*makers.get(label, ()), *made_by})
            metrics[label] |= published.score(
                name, asked, [found[q.id] for q in asked],
                [scores[q.id] for q in asked] if known else None, settings)
        samples += [
            sample(row, published.titles(kind)[name],
                   {label: found[row["id"]] for label, found in answers.items()})
            for row in open_rows(asked[:4], words, {}, settings.size, settings.side)]
    result = {
        "benchmark": kind, "counts": counts, "resamples": args.resamples,
        "settings": asdict(settings), "left_out": told(left_out),
        "policies": [{**asdict(p), "made_from": makers[p.label]} for p in policies],
        "versions": {name: version(name) for name in ("byname", "torch", "transformers")},
        **tabulate(metrics, published.titles(kind),
                   [f"{kind}/{key}" for key in published.HEADLINES[kind]],
                   resamples=args.resamples),
    }
    table = beside(result, {head: key for head, key in published.columns(kind).items()
                            if key in result["metrics"]})
    return write(args, result, samples,
                 "\n".join([table, markdown(result), left_out_line(left_out)]).rstrip() + "\n")


def write(args: EvaluateArguments, result: dict, samples: list[dict], text: str) -> dict:
    """The three files of a result, which is given back."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "gallery.json", json.dumps(samples, ensure_ascii=False))
    _write(out / "evaluation.md", text)
    _write(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def main() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    datasets.disable_progress_bars()  # bars that last a moment only hide ours
    logging.disable_progress_bar()
    try:
        (args,) = TrlParser(EvaluateArguments).parse_args_and_config()
        # Launchers do not tell processes on a CPU that they are to talk over gloo.
        PartialState(cpu=args.device == "cpu" or not torch.accelerator.is_available())
        result = evaluate(args)
    except (ValueError, OSError, yaml.YAMLError) as error:
        sys.exit(f"evaluate: {error}")
    if result is not None:
        print("\n" + markdown(result, result["headlines"]))
        print(f"wrote {args.out}/evaluation.md (all metrics), evaluation.json and gallery.json",
              flush=True)
    leave_together()


def _write(path: Path, text: str) -> None:
    """Whole or not at all. A lone surrogate, which a model can write, becomes a question mark."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="replace")
    partial.rename(path)


if __name__ == "__main__":
    main()
