"""Retrieval metrics: recall of the expected references; accuracy of the policy's verification."""

from collections.abc import Sequence

from benchmarks.metrics.intervals import Metric, ratio
from concepts.methods.protocol import Reply


def retrieval_metrics(
    expected: Sequence[Sequence[str]], replies: Sequence[Reply]
) -> dict[str, Metric]:
    """The scores of N replies; undefined for a system that was handed its references.

    Args:
        expected: N lists of the bare names of concepts in the image.
        replies: N replies.

    Returns:
        ``retrieved`` (share of expected names whose reference was retrieved), ``kept_right`` (share
        of right references that verification kept) and ``dropped_wrong`` (share of wrong ones that
        it dropped), 0-1. The latter two are undefined without verification.
    """
    retrieves = any(reply.concepts for reply in replies)
    found, wanted, kept, right, dropped, wrong = [], [], [], [], [], []
    for names, reply in zip(expected, replies, strict=True):
        folded = {name.casefold() for name in names}
        good = [one for one in reply.concepts if one.name.casefold() in folded]
        bad = [one for one in reply.concepts if one.name.casefold() not in folded]
        found.append(len(good))
        wanted.append(len(names) if retrieves else 0)
        kept.append(sum(one.used for one in good if one.p is not None))
        right.append(sum(one.p is not None for one in good))
        dropped.append(sum(not one.used for one in bad if one.p is not None))
        wrong.append(sum(one.p is not None for one in bad))
    return {
        "retrieved": ratio(found, wanted),
        "kept_right": ratio(kept, right),
        "dropped_wrong": ratio(dropped, wrong),
    }
