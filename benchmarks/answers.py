"""Answers to a published benchmark's questions, made by a policy or read back from disk.

Pictures are opened a few questions at a time. ``<set>.jsonl`` holds what was written, a line for
each row, ``<set>.scores.jsonl`` what the policy's probabilities said; both are appended to, so that
a killed run goes on, and both can be scored where neither pictures nor policy are at hand.
Several processes share the writing; probabilities are asked for by the first one alone.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from accelerate import PartialState

from benchmarks.files import BenchmarkError, LeftOut, kept_lines, leave
from benchmarks.questions import QA, Question, open_rows
from benchmarks.runner import Prediction, predict, row_digest
from rl.likelihood import option_log_likelihoods, yes_probabilities

PART = 128
"""Questions whose pictures are held in memory at a time."""


def answer_questions(
    load: Callable,
    questions: Sequence[Question],
    words: dict,
    folder: str | Path,
    name: str,
    left_out: LeftOut,
    *,
    fingerprint: str,
    max_new_tokens: int,
    batch_size: int,
    likelihood: bool = False,
    size: int = 512,
    side: str = "long",
    title: str = "",
) -> None:
    """Ask a policy and keep what it says below ``folder``; see :func:`read_answers`.

    Args:
        load: called at most once, gives ``(model, processor)``.
        questions: of one set.
        words, size, side: see :func:`benchmarks.questions.open_rows`.
        name: of the set.
        left_out: is given the questions whose pictures do not open.
        fingerprint, max_new_tokens, batch_size, title: see :func:`benchmarks.runner.predict`.
        likelihood: also keep probabilities, for recognition and multiple choice.
    """
    path = Path(folder) / f"{name}.jsonl"
    for k in range(0, len(questions), PART):
        rows = list(open_rows(questions[k : k + PART], words, left_out, size, side))
        if rows:
            predict(load, rows, path, fingerprint=fingerprint, max_new_tokens=max_new_tokens,
                    batch_size=batch_size, title=f"{title} {k + 1}-{k + len(rows)}")
        if rows and likelihood and PartialState().is_main_process:
            _keep_scores(load, rows, path.with_suffix(".scores.jsonl"), fingerprint, batch_size)


def read_answers(
    folder: str | Path, name: str
) -> tuple[dict[str, Prediction], dict[str, list], set[str]]:
    """Kept predictions and scores of a set by row id, and the fingerprints of who made them.

    Raises:
        BenchmarkError: there is no prediction.
    """
    path = Path(folder) / f"{name}.jsonl"
    predictions, makers = {}, set()
    for entry in kept_lines(path):
        try:
            stamp = entry.pop("made_from")
            found = Prediction(**entry)
        except (KeyError, TypeError):
            continue
        if isinstance(found.text, str) and isinstance(found.n_tokens, int):
            predictions[found.id] = found
            makers.add(str(stamp[0]) if isinstance(stamp, list) and stamp else "")
    if not predictions:
        raise BenchmarkError(f"{path} holds no predictions; run without --score_only first")
    return predictions, _scores(path.with_suffix(".scores.jsonl")), makers


def scored(
    questions: Sequence[Question], answers: dict[str, dict[str, Prediction]], name: str,
    left_out: LeftOut,
) -> list[Question]:
    """The questions of a set that every policy has answered; the others are noted.

    Args:
        questions: of the set.
        answers: policy label -> id -> prediction.
        name: of the set.
        left_out: is given the questions without an answer.

    Raises:
        BenchmarkError: none is left.
    """
    kept = []
    for question in questions:
        silent = [label for label, found in answers.items() if question.id not in found]
        if silent:
            leave(left_out, "question without a prediction", f"{name}: {question.id} of "
                                                             f"{', '.join(silent)}")
        else:
            kept.append(question)
    if not kept:
        raise BenchmarkError(f"set {name}: no question has been answered by all policies; do the "
                             f"pictures open, and do the predictions belong to this benchmark?")
    return kept


def _keep_scores(load, rows: list[dict], path: Path, fingerprint: str, batch_size: int) -> None:
    stamps = {row["id"]: [fingerprint, row_digest(row)] for row in rows}
    kept = {entry.get("id") for entry in kept_lines(path)
            if stamps.get(entry.get("id")) == entry.get("made_from")}
    todo = [row for row in rows if row["id"] not in kept]
    for k in range(0, len(todo), batch_size):
        part = todo[k : k + batch_size]
        model, processor = load()
        if part[0]["task"] == QA:
            found = [option_log_likelihoods(model, processor, row, row["options"]) for row in part]
        else:
            found = [[p] for p in yes_probabilities(model, processor, part,
                                                    batch_size=batch_size)]
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn)
            for row, numbers in zip(part, found, strict=True):
                file.write(json.dumps({"id": row["id"], "scores": numbers,
                                       "made_from": stamps[row["id"]]}) + "\n")


def _scores(path: Path) -> dict[str, list]:
    """The last line of an id counts."""
    return {entry["id"]: entry["scores"] for entry in kept_lines(path)
            if {"id", "scores"} <= set(entry)}
