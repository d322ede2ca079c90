"""What answers that do not look earn from the naming rewards, exactly, over rows that tell nothing.

R names are given, T subjects are in the image, m of either are both: R and T from 1 to 4 and m from
0 to the smaller, each evenly and independently.
"""

from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations

import pytest

from rewards import mention_balanced, mention_f1

GIVEN = ["bo", "mila", "zuri", "black widow"]
NOBODY_HALF_THE_TIME = Fraction(1, 2)


def rows(nobody: Fraction | None = None):
    """(probability, R, m) of every row; with `nobody`, m is 0 that often at any R and T, and the
    other m are alike."""
    for r in range(1, 5):
        for t in range(1, 5):
            most = min(r, t)
            for m in range(most + 1):
                share = Fraction(1, most + 1)
                if nobody is not None:
                    share = nobody if m == 0 else (1 - nobody) / most
                yield share / 16, r, m


def expected(reward, answers, nobody=None) -> float:
    """Mean reward of an answer: `answers(given names)` gives (probability, names written)."""
    shares = Counter()
    for row_share, r, m in rows(nobody):
        for share, written in answers(GIVEN[:r]):
            shares[r, m, tuple(written)] += row_share * share
    return sum(float(share) * paid(reward, *case) for case, share in shares.items())


@cache
def paid(reward, r: int, m: int, written: tuple) -> float:
    """The reward of a caption where the first m of the first r names are expected."""
    (value,) = reward(
        ["A picture of toys. " + " ".join(f"<{name}>" for name in written)],
        completion_ids=[[7]],
        task=["identity_consistency"],
        names=[GIVEN[:m]],
        absent_names=[GIVEN[m:r]],
        floor=0,
    )
    return value


def all_of_them(given):
    yield Fraction(1), given


def nobody(given):
    yield Fraction(1), []


def one_at_random(given):
    for name in given:
        yield Fraction(1, len(given)), [name]


def coins(given):
    for k in range(len(given) + 1):
        for some in combinations(given, k):
            yield Fraction(1, 2 ** len(given)), list(some)


BLIND = [all_of_them, one_at_random, coins]


def test_f1_pays_for_naming_everyone():
    """The limit that the docstring names: a caption that lists all names earns more than silence,
    and only rows that expect nobody as often as somebody turn that round."""
    assert expected(mention_f1, all_of_them) == pytest.approx(0.47, abs=0.005)
    assert expected(mention_f1, nobody) == pytest.approx(0.38, abs=0.005)
    assert expected(mention_f1, all_of_them, NOBODY_HALF_THE_TIME) == pytest.approx(0.38, abs=0.005)
    assert expected(mention_f1, nobody, NOBODY_HALF_THE_TIME) == pytest.approx(0.5)


@pytest.mark.parametrize("share", [None, NOBODY_HALF_THE_TIME])
def test_no_blind_answer_beats_silence_in_balanced_accuracy(share):
    silence = expected(mention_balanced, nobody, share)
    for answer in BLIND:
        assert expected(mention_balanced, answer, share) < silence < 1


def test_balanced_accuracy_pays_blind_answers_alike_where_there_is_something_to_tell():
    for answer in (nobody, *BLIND):
        cases = [(paid(mention_balanced, 4, 2, tuple(w)), share) for share, w in answer(GIVEN)]
        assert sum(value * float(share) for value, share in cases) == pytest.approx(0.5)


def test_balanced_accuracy_of_all_and_of_nobody():
    """The numbers in the docstring."""
    assert expected(mention_balanced, all_of_them) == pytest.approx(0.42, abs=0.005)
    assert expected(mention_balanced, nobody) == pytest.approx(0.58, abs=0.005)
