"""Who decides which candidate it is: retrieval, reasoning, verification, or one pair after another.

The stages of R2P, each of which can be switched off; an open verdict asks about each candidate by
itself, and the one with the largest p(yes) is chosen.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from data_gen.files.errors import InputError

TEXT, REASONING, VERIFICATION, PAIRWISE = "text", "reasoning", "verification", "pairwise"

STAGES = (TEXT, REASONING, VERIFICATION, PAIRWISE)
"""Beyond retrieval by images: retrieval by texts too, attributes compared by the policy, those
attributes verified by an encoder, and pairs of images compared by the policy."""


@dataclass(frozen=True)
class Verdict:
    """Which candidate it is.

    Attributes:
        option: its rank in retrieval, from 0; ``None``: the pairs decide.
        by: who decided, a few words that are counted.
    """

    option: int | None
    by: str


def check_stages(stages: Sequence[str]) -> None:
    """Refuse stages that there are not, or that need one that is missing.

    Raises:
        InputError: which.
    """
    for stage in stages:
        if stage not in STAGES:
            raise InputError(f"stages: there is no {stage!r}, only {', '.join(STAGES)}")
    if VERIFICATION in stages and REASONING not in stages:
        raise InputError(
            f"stages: {VERIFICATION} checks the attributes that {REASONING} found; add {REASONING}"
        )


def verdict(
    stages: Collection[str], options: int, answer: int | None, verified: int | None
) -> Verdict:
    """Which of N candidates it is, before any pair is asked about.

    Args:
        stages: those of :data:`STAGES` that are on.
        options: N, in the order of retrieval.
        answer: what reasoning answered; ``None``: its reply or a candidate's fingerprint could not
            be read, or it was not asked.
        verified: the candidate whose attributes fit the image best; ``None``: none had any.
    """
    if options == 1:
        return Verdict(0, "the only candidate")
    if REASONING not in stages:
        return Verdict(None, "pairs") if PAIRWISE in stages else Verdict(0, "retrieval")
    if answer is None:
        return Verdict(0, "retrieval, as words cannot be read")
    if VERIFICATION not in stages and PAIRWISE not in stages:
        return Verdict(answer, "reasoning")
    # Without verification, retrieval is what reasoning may disagree with.
    second = verified if VERIFICATION in stages else 0
    if second == answer:
        return Verdict(answer, "agreement")
    if PAIRWISE in stages:
        return Verdict(None, "pairs")
    if second is None:
        return Verdict(answer, "reasoning, with nothing to verify")
    return Verdict(min(answer, second), "the better retrieved of two")


def best_verified(scores: Sequence[float | None], answer: int, margin: float = 0.0) -> int | None:
    """The option whose attributes fit the image best; ``None`` where no option has any.

    Args:
        scores: of N options, ``None`` where one has no attributes: it cannot be the best.
        answer: the one that is the best unless another fits better by more than ``margin``.
    """
    known = [score for score in scores if score is not None]
    if not known:
        return None
    own, best = scores[answer], max(known)
    return answer if own is not None and best - own <= margin else list(scores).index(best)
