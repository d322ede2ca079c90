"""A published benchmark, from the settings of an evaluation to its files; some pictures may be
missing. Localization, whose rows come from detection sets, is in
:mod:`benchmarks.published.localization`.
"""

from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState

from benchmarks.captions.scores import (
    caption_settings,
)
from benchmarks.harness.evaluation import (
    EvaluateArguments,
    Times,
    announce,
    folder_of,
    loader,
    made_by,
    mark_of,
    write,
)
from benchmarks.harness.predictions import read_answers, scored
from benchmarks.harness.question import open_rows
from benchmarks.harness.samples import SHOWN, sample
from benchmarks.harness.systems import parse_policies
from benchmarks.harness.table import beside, markdown, tabulate
from benchmarks.published import benchmark as published
from benchmarks.published.loading import answer_questions
from benchmarks.published.naming import naming_columns
from concepts.methods import verification as published_verified
from concepts.methods.in_context import FILE
from concepts.methods.prompting import load_words
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import left_out_line, told


def evaluate_published(args: EvaluateArguments) -> dict | None:
    """As :func:`benchmarks.toybox.run.evaluate_toybox`."""
    times, kind = Times(), args.benchmark
    settings = published.published_settings(args.settings)
    captions = caption_settings(args.captions)
    if captions.scores and kind != "naming":
        raise BenchmarkError(f"captions.scores: {kind} asks for no captions; leave them out")
    words = load_words(settings.prompts)
    policies = parse_policies(args.policy, check=not args.score_only)
    with PartialState().main_process_first():  # what one finds, the others read
        sets, left_out = published.build_sets(kind, settings, args.limit,
                                              found_in=Path(args.out) / FILE,
                                              score_only=args.score_only)
    announce(args, policies,
             ", ".join(f"{name} {len(questions)}" for name, questions in sets.items()),
             left_out_line(left_out))

    likelihood = settings.likelihood and kind != "naming"
    folders = {policy.label: folder_of(policy, args) for policy in policies}
    for policy in [] if args.score_only else policies:
        load, mark = loader(policy, args, times), mark_of(policy, args)
        with times.sitting_of(policy.label):
            for name, questions in sets.items():
                if name == published_verified.SET:
                    questions = published_verified.verified_questions(
                        load, questions, folders[policy.label], left_out, fingerprint=mark,
                        threshold=settings.retrieval["verify"], batch_size=args.batch_size,
                        size=settings.size, side=settings.side,
                        title=f"{policy.label}: references looked at")
                answer_questions(
                    load, questions, words, folders[policy.label], name, left_out,
                    fingerprint=mark,
                    max_new_tokens=args.max_new_tokens.get(kind, published.LIMITS[kind]),
                    batch_size=args.batch_size, likelihood=likelihood, size=settings.size,
                    side=settings.side, title=f"{policy.label}: {name}")
    if not PartialState().is_main_process:
        return None
    metrics = {label: {} for label in folders}
    makers, samples, counts, corpus = {}, [], {}, {}
    most = SHOWN if args.shown is None else args.shown
    for name, questions in sets.items():
        read = {label: read_answers(folder, name) for label, folder in folders.items()}
        answers = {label: found for label, (found, _, _) in read.items()}
        asked = scored(questions, answers, name, left_out)
        counts[name] = len(asked)
        # Scored for all policies or for none.
        known = likelihood and all(q.id in scores for _, scores, _ in read.values() for q in asked)
        for label, (found, scores, made_from) in read.items():
            makers[label] = sorted({*makers.get(label, ()), *made_from})
            metrics[label] |= published.score(
                name, asked, [found[q.id] for q in asked],
                [scores[q.id] for q in asked] if known else None, settings)
            if name == published_verified.SET:
                looked = published_verified.verified_metrics(asked, folders[label])
                metrics[label] |= {f"{name}/{key}": metric for key, metric in looked.items()}
        if name == kind and captions.scores:
            said = {label: [found[q.id] for q in asked] for label, found in answers.items()}
            found, corpus = naming_columns(asked, said, captions, settings, words, left_out)
            for label, of in found.items():
                metrics[label] |= {f"{name}/{key}": metric for key, metric in of.items()}
        samples += [
            sample(row, published.titles(kind)[name],
                   {label: found[row["id"]] for label, found in answers.items()})
            for row in open_rows(asked[:most], words, {}, settings.size, settings.side)]
    result = {
        "benchmark": kind, "counts": counts, "resamples": args.resamples,
        "settings": asdict(settings), "captions": asdict(captions), "left_out": told(left_out),
        **made_by(policies, makers, times),
        **tabulate(metrics, published.titles(kind),
                   published.HEADLINES[kind], resamples=args.resamples),
    }
    parts = [beside(result, {head: key for head, key in published.columns(kind).items()
                             if key in result["metrics"]}), markdown(result)]
    if corpus:
        result["corpus_bleu"] = corpus
        parts.append("BLEU-4 over all captions: " + ", ".join(
            f"{label} {100 * score:.1f}" for label, score in corpus.items()) + ".\n")
    parts.append(left_out_line(left_out))
    return write(args, result, samples, "\n".join(parts).rstrip() + "\n")
