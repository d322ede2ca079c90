"""Who decides: one rule per stage."""

import pytest

from concepts.methods.r2p.decision import (
    PAIRWISE,
    REASONING,
    STAGES,
    TEXT,
    VERIFICATION,
    Verdict,
    best_verified,
    check_stages,
    verdict,
)
from data_gen.files.errors import InputError

VERIFIED = (TEXT, REASONING, VERIFICATION)


@pytest.mark.parametrize(
    ("stages", "answer", "verified", "expected"),
    [
        # retrieval alone, and pairs alone
        ((), None, None, Verdict(0, "retrieval")),
        ((TEXT,), None, None, Verdict(0, "retrieval")),
        ((TEXT, PAIRWISE), None, None, Verdict(None, "pairs")),
        # reasoning's answer counts; where pairs are on, retrieval may disagree with it
        ((REASONING,), 2, None, Verdict(2, "reasoning")),
        ((REASONING, PAIRWISE), 0, None, Verdict(0, "agreement")),
        ((REASONING, PAIRWISE), 1, None, Verdict(None, "pairs")),
        # a reply that cannot be read is decided by retrieval, whatever else is on
        ((REASONING,), None, None, Verdict(0, "retrieval, as words cannot be read")),
        (STAGES, None, None, Verdict(0, "retrieval, as words cannot be read")),
        # verification agrees, or does not
        (VERIFIED, 2, 2, Verdict(2, "agreement")),
        (VERIFIED, 2, 1, Verdict(1, "the better retrieved of two")),
        (VERIFIED, 1, 2, Verdict(1, "the better retrieved of two")),
        (VERIFIED, 2, None, Verdict(2, "reasoning, with nothing to verify")),
        (STAGES, 2, 2, Verdict(2, "agreement")),
        (STAGES, 2, 1, Verdict(None, "pairs")),
        (STAGES, 2, None, Verdict(None, "pairs")),
    ],
)
def test_who_decides(stages, answer, verified, expected):
    assert verdict(stages, 3, answer, verified) == expected


def test_one_candidate_is_it():
    assert verdict(STAGES, 1, None, None) == Verdict(0, "the only candidate")


@pytest.mark.parametrize(
    ("scores", "answer", "best"),
    [
        ([0.2, 0.3, 0.1], 0, 1),
        ([None, 0.1, None], 0, 1),  # an option without attributes cannot be the best
        ([None, None, None], 1, None),
        ([0.3, 0.3, 0.1], 1, 1),  # a tie does not contradict the answer
        ([0.3, 0.1, 0.3], 1, 0),
        ([-0.2, None, -0.1], 0, 2),
    ],
)
def test_the_best_verified_option(scores, answer, best):
    assert best_verified(scores, answer) == best


def test_verification_disagrees_by_more_than_its_margin_alone():
    scores = [0.50, 0.53, None]
    assert [best_verified(scores, 0, margin) for margin in (0.0, 0.02, 0.04)] == [1, 1, 0]
    assert best_verified(scores, 2, 0.9) == 1, "an option without attributes cannot be the best"


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        (["texts"], "there is no 'texts', only text, reasoning"),
        (["text", "verification"], "add reasoning"),
    ],
)
def test_stages_that_cannot_be_are_refused(stages, sentence):
    with pytest.raises(InputError, match=sentence):
        check_stages(stages)


def test_all_stages_and_none_are_allowed():
    check_stages(STAGES)
    check_stages([])
