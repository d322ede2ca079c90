"""The held-out toybox, from the settings of an evaluation to its files."""

import json
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from benchmarks.captions.scores import CaptionSettings, caption_columns, caption_settings
from benchmarks.harness.evaluation import (
    EvaluateArguments,
    Times,
    announce,
    folder_of,
    loader,
    made_by,
    mark_of,
    write,
    write_text,
)
from benchmarks.harness.predictions import Prediction, predict, read_answers
from benchmarks.harness.samples import sample
from benchmarks.harness.systems import Policy, parse_policies
from benchmarks.harness.table import markdown, tabulate
from benchmarks.metrics.intervals import Metric
from benchmarks.toybox import benchmark as toybox
from benchmarks.toybox.owned import FOUND, Retrieval
from data_gen.files.settings import check_settings
from rewards.parsing import prompt_text

LIMITS = ("oct", "vlt", "captions")
NO_CAPTIONS = ("oct", "vlt", "list")


def check(args: EvaluateArguments) -> tuple[dict[str, int], list[Policy], CaptionSettings]:
    """Rows per set, the policies and the caption scores, with every mistake found before weights
    load.

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
    check_settings(args.retrieval, Retrieval, "retrieval")
    if not args.retrieval and any(counts.get(name) for name in FOUND):
        raise ValueError(f"sizes.{args.size} asks for references to be found; say how in "
                         "`retrieval`, such as {toys: 60, encoder: toybox_clip}")
    if set(args.max_new_tokens) != set(LIMITS):
        raise ValueError(f"max_new_tokens needs exactly {', '.join(LIMITS)}, not "
                         f"{', '.join(args.max_new_tokens)}")
    captions = caption_settings(args.captions)
    if captions.references:
        raise ValueError("captions.references: the toybox has no true captions of its pictures; "
                         "its attributes are compared instead")
    # In the order of the benchmark, whatever the order of the config.
    return ({s: counts[s] for s in toybox.SETS if counts.get(s)},
            parse_policies(args.policy, check=not args.score_only), captions)


def answer(
    policy: Policy, rows: dict[str, list[dict]], args: EvaluateArguments, times: Times
) -> dict[str, list[Prediction]]:
    """Predictions of one policy for all sets, made or read back."""
    load = loader(policy, args, times)
    mark = None if args.score_only else mark_of(policy, args)
    return {
        name: predict(load, of_set, folder_of(policy, args) / f"{name}.jsonl",
                      fingerprint=mark,
                      max_new_tokens=args.max_new_tokens[name if name in LIMITS else "captions"],
                      batch_size=args.batch_size, wants_box=name == "vlt",
                      box_convention=args.box_convention,
                      title=f"{policy.label}: {name}")
        for name, of_set in rows.items()
    }


def evaluate_toybox(args: EvaluateArguments) -> dict | None:
    """Run the benchmark, write its files under ``args.out``, return what evaluation.json holds;
    ``None`` in processes but the first, which only help with the predictions."""
    times = Times()
    counts, policies, captions = check(args)
    settings = toybox.toybox_settings(args.settings, args.split)
    processes = PartialState()
    announce(args, policies, f"{sum(counts.values())} rows: "
             + ", ".join(f"{name} {count}" for name, count in counts.items()))

    retrieval = Retrieval(**args.retrieval) if args.retrieval else None

    def build(name: str) -> list[dict]:
        return toybox.build_set(name, counts[name], args.seed, settings, retrieval)

    with processes.main_process_first():  # what one finds, the others read
        found = {name: build(name) for name in counts if name in FOUND}
    rows = {name: found.get(name) or build(name) for name in counts}
    predictions = {}
    for policy in policies:
        with times.sitting_of(policy.label):
            predictions[policy.label] = answer(policy, rows, args, times)
    if not processes.is_main_process:
        return None
    metrics = {label: toybox.score(rows, found) for label, found in predictions.items()}
    _add_columns(metrics, rows, predictions, captions)
    table = tabulate(metrics, {**toybox.SETS, **toybox.POOLS}, toybox.HEADLINES,
                     resamples=args.resamples)
    gallery = toybox.GALLERY if args.shown is None else dict.fromkeys(counts, args.shown)
    samples = [
        sample(rows[name][i], toybox.SETS[name],
               {label: found[name][i] for label, found in predictions.items()})
        for name, most in gallery.items() for i in range(min(most, counts.get(name, 0)))
    ]
    columns = {label: {key: [[list(top), list(bottom)] for top, bottom in metric]
                       for key, metric in of.items()} for label, of in metrics.items()}
    Path(args.out).mkdir(parents=True, exist_ok=True)
    write_text(Path(args.out) / "columns.json", json.dumps(columns))
    makers = {p.label: sorted({maker for name in rows for maker in
                               read_answers(folder_of(p, args), name)[2]}) for p in policies}
    return write(args, {
        "benchmark": "toybox",
        "size": args.size, "seed": args.seed, "counts": counts, "resamples": args.resamples,
        "settings": asdict(settings), "max_new_tokens": args.max_new_tokens, "dtype": args.dtype,
        "captions": asdict(captions), **made_by(policies, makers, times), **table,
    }, samples, markdown(table))


def _add_columns(
    metrics: dict[str, dict[str, Metric]], rows: dict[str, list[dict]],
    predictions: dict[str, dict[str, list[Prediction]]], captions: CaptionSettings,
) -> None:
    """The caption scores of every set that holds captions."""
    for name, of_set in rows.items() if captions.scores else ():
        if name in NO_CAPTIONS:
            continue
        found = caption_columns(
            {label: of[name] for label, of in predictions.items()}, captions,
            infos=[prompt_text(row["prompt"]) for row in of_set],
            pictures=lambda of_set=of_set: ((i, row["images"]) for i, row in enumerate(of_set)))
        for label, of in found.items():
            metrics[label] |= {f"{name}/{key}": metric for key, metric in of.items()}
