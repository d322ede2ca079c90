"""Which subject comes next, and which subject is its negative."""

import random
from collections import Counter

import pytest

from data_gen.tasks.sampling import SMALL, Index, SubjectSampler, draw
from data_gen.tasks.subjects import Subject, View


def subjects(n: int, *, kinds: int = 3, views: int = 2, blocks: int = 1) -> list[Subject]:
    def view(i: int, v: int) -> View:
        return View(f"{i}/{v}", lambda: None)

    return [
        Subject(
            str(i), tuple(view(i, v) for v in range(views)), f"Kind {i % kinds}", block=i % blocks
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("blocks", [1, 3])
def test_all_subjects_come_equally_often(blocks):
    sampler = SubjectSampler(subjects(7, blocks=blocks), "seed", 0.5)
    drawn = [sampler.shuffled_index("a", k) for k in range(70)]
    assert Counter(drawn) == dict.fromkeys(range(7), 10)
    assert drawn == [
        SubjectSampler(subjects(7, blocks=blocks), "seed", 0.5).shuffled_index("a", k)
        for k in range(70)
    ]
    assert drawn[:7] != [sampler.shuffled_index("b", k) for k in range(7)]


def test_subjects_of_a_block_come_together():
    sampler = SubjectSampler(subjects(12, blocks=3), "seed", 0.5)
    blocks = [sampler.shuffled_index("a", k) % 3 for k in range(12)]
    assert all(len(set(blocks[start : start + 4])) == 1 for start in (0, 4, 8))


def test_categories_are_compared_whatever_their_case_and_none_is_like_no_other():
    index = Index(
        [Subject("a", (), "Dog"), Subject("b", (), " dog"), Subject("c", ()), Subject("d", ())]
    )
    assert index.same_category(0, 1) and not index.same_category(2, 3)
    assert index.words == {"dog"} and index.single == {0, 1, 2, 3}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_hard_negatives_are_of_the_same_category(share):
    sampler = SubjectSampler(subjects(9), "seed", share)
    for seed in range(40):
        negative, how = sampler.negative(random.Random(seed), 4, [4], set())
        assert negative != 4 and (negative % 3 == 1) == (share == 1.0)
        assert how == ("hard" if share else "other")


def test_there_may_be_no_negative():
    sampler = SubjectSampler(subjects(2), "seed", 0.5)
    assert sampler.negative(random.Random(0), 0, [0, 1], set()) is None
    assert sampler.negative(random.Random(0), 0, [0], set()) == (1, "other")


def test_negatives_are_subjects_that_could_be_the_right_answer_or_of_those_asked_for():
    once = [*subjects(4), *subjects(2, views=1)]
    sampler = SubjectSampler(once, "seed", 0.25)
    drawn = {sampler.negative(random.Random(s), 0, [0], set())[0] for s in range(60)}
    assert drawn == {1, 2, 3}
    among = sampler.only([2, 5])
    drawn = {sampler.negative(random.Random(s), 0, [0], set(), among)[0] for s in range(60)}
    assert drawn == {2, 5}


def test_a_small_pool_is_searched_and_a_large_one_given_up():
    rng = random.Random(0)
    assert draw(rng, range(SMALL), lambda i: i == 7) == 7
    assert draw(rng, range(10 * SMALL), lambda i: False) is None
    assert draw(rng, (), lambda i: True) is None
