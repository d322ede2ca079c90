"""A published benchmark, from the settings of an evaluation to its files; some pictures may be
missing. Localization, whose rows come from detection sets, is in
:mod:`benchmarks.localization_run`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState
from PIL import Image

from benchmarks import published, published_verified
from benchmarks.answers import answer_questions, read_answers, scored
from benchmarks.caption_columns import (
    CaptionSettings,
    caption_columns,
    caption_settings,
    corpus_bleu,
)
from benchmarks.caption_files import read_true_captions
from benchmarks.evaluation import (
    EvaluateArguments,
    Times,
    announce,
    folder_of,
    loader,
    made_by,
    mark_of,
    write,
)
from benchmarks.files import BenchmarkError, LeftOut, left_out_line, told
from benchmarks.gallery import SHOWN, sample
from benchmarks.intervals import Metric
from benchmarks.policies import parse_policies
from benchmarks.published import PublishedSettings
from benchmarks.published_found import FILE
from benchmarks.questions import Question, load_words, open_rows
from benchmarks.runner import Prediction
from benchmarks.table import beside, markdown, tabulate


def evaluate_published(args: EvaluateArguments) -> dict | None:
    """As :func:`benchmarks.toybox_run.evaluate_toybox`."""
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
            found, corpus = _columns(asked, said, captions, settings, words, left_out)
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


def _columns(
    asked: Sequence[Question], said: dict[str, list[Prediction]], captions: CaptionSettings,
    settings: PublishedSettings, words: dict, left_out: LeftOut,
) -> tuple[dict[str, dict[str, Metric]], dict[str, float]]:
    """The caption scores of the questions that were answered, and corpus BLEU where asked for."""
    truths = (read_true_captions(captions.references, settings.roots, left_out)
              if captions.references else {})
    places = {question.id: i for i, question in enumerate(asked)}

    def pictures() -> Iterator[tuple[int, list[Image.Image]]]:
        for row in open_rows(asked, words, left_out, settings.size, settings.side):
            yield places[row["id"]], row["images"]

    true = [truths.get(question.query.resolve(), ()) for question in asked]
    found = caption_columns(
        said, captions, pictures=pictures, truths=true,
        infos=["\n".join(r.info for r in q.references if r.info) for q in asked])
    return found, corpus_bleu(said, true) if "bleu" in captions.scores else {}
