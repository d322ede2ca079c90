"""What retrieval and verification were worth."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.question import Question
from benchmarks.metrics.intervals import Metric, ratio
from concepts.methods.retrieval_cache import read_found
from concepts.methods.verification import FILE as VERIFIED_FILE


def verified_metrics(questions: Sequence[Question], folder: Path) -> dict[str, Metric]:
    """What a policy's looking was worth.

    Returns:
        ``kept_right`` (share of right references that it kept) and ``dropped_wrong`` (share of
        wrong ones that it dropped), 0-1.
    """
    known = read_found(folder / VERIFIED_FILE)
    kept = [set(known.get(question.id, ())) for question in questions]
    wrong = [{r.name for r in q.references} & set(q.absent_names) for q in questions]
    right = [{r.name for r in q.references} - of for q, of in zip(questions, wrong, strict=True)]
    return {
        "kept_right": ratio([len(k & of) for k, of in zip(kept, right, strict=True)],
                            [len(of) for of in right]),
        "dropped_wrong": ratio([len(of - k) for k, of in zip(kept, wrong, strict=True)],
                               [len(of) for of in wrong]),
    }


def _retrieved(questions: Sequence[Question]) -> Metric:
    shown = [{reference.name.casefold() for reference in q.references} for q in questions]
    return ratio([sum(name.casefold() in of for name in q.names)
                  for q, of in zip(questions, shown, strict=True)],
                 [len(q.names) for q in questions])
