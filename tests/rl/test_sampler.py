from collections import Counter

import pytest
from trl.trainer.utils import RepeatSampler

from rl.sampler import GroupSampler, RowType

IMAGE, TEXT, OTHER = RowType("a", True), RowType("a", False), RowType("b", True)


def test_one_type_comes_in_trls_own_order_epoch_by_epoch():
    settings = dict(shuffle=True, seed=3)
    stock = RepeatSampler(range(23), mini_repeat_count=2, batch_size=4, repeat_count=3, **settings)
    epoch = 0
    ours = GroupSampler([IMAGE] * 23, prompts=4, group=2, repeat=3, epoch=lambda: epoch, **settings)
    assert len(ours) == len(stock)
    assert list(ours) == list(stock)
    epoch = 1
    second = list(stock)
    assert list(ours) == second
    assert list(ours) == second  # asking again changes nothing: a resume finds the same order


def test_rows_with_and_without_images_are_never_in_one_batch():
    types = [IMAGE, IMAGE, TEXT] * 7
    sampler = GroupSampler(types, prompts=3, group=2, seed=1)
    batches = sampler.batches(0)
    assert all(len({types[i].images for i in batch}) == 1 for batch in batches)
    assert {types[batch[0]].images for batch in batches} == {True, False}
    assert len(list(sampler)) == len(sampler) == len(batches) * 6


def test_the_only_batch_of_a_rare_type_is_filled_up():
    types = [IMAGE] * 8 + [TEXT]
    batches = GroupSampler(types, prompts=4, group=2).batches(0)
    assert [8, 8, 8, 8] in batches and len(batches) == 3


def test_task_mix_gives_each_task_its_share_and_every_epoch_the_same_length():
    types = [IMAGE] * 30 + [OTHER] * 10
    sampler = GroupSampler(types, prompts=4, group=1, mix={"a": 1, "b": 3})
    drawn = Counter(types[i].task for i in sampler)
    assert drawn == {"a": 10, "b": 30}
    assert len(sampler.batches(5)) == len(sampler.batches(0))
    with pytest.raises(ValueError, match="task_mix names 'c', but the rows hold: a, b"):
        GroupSampler(types, prompts=4, group=1, mix={"c": 1})


def test_processes_have_as_many_rows_of_each_task_whatever_their_number():
    types = [IMAGE] * 60 + [OTHER] * 20
    mix = {"a": 3, "b": 1}
    for batch in GroupSampler(types, prompts=16, group=1, seed=4, mix=mix).batches(0):
        of_other = sum(types[i] == OTHER for i in batch)
        for processes in (2, 4, 8):
            part = 16 // processes
            counts = [
                sum(types[i] == OTHER for i in batch[k : k + part]) for k in range(0, 16, part)
            ]
            assert max(counts) - min(counts) <= 1 and sum(counts) == of_other


def test_either_side_of_a_task_may_have_a_share_of_its_own():
    yes, no = RowType("a", True, True), RowType("a", True, False)
    types = [yes] * 30 + [no] * 10 + [OTHER] * 20
    mix = {"a/expected": 1, "a/not_expected": 2, "b": 1}
    drawn = Counter(types[i] for i in GroupSampler(types, prompts=4, group=1, mix=mix))
    assert drawn == {yes: 15, no: 30, OTHER: 15}
    with pytest.raises(ValueError, match="'a/perhaps', but the rows hold: a, a/expected, a/not_"):
        GroupSampler(types, prompts=4, group=1, mix={"a/perhaps": 1})
    with pytest.raises(ValueError, match="a share to 'a/expected' and to its whole task"):
        GroupSampler(types, prompts=4, group=1, mix={"a": 1, "a/expected": 1})


@pytest.mark.parametrize("mix", [None, {"a": 1, "b": 1}])
def test_rows_of_a_pair_come_in_one_batch(mix):
    types = [IMAGE, OTHER] * 20 + [IMAGE] * 8
    pairs = [f"pair {i // 2}" for i in range(40)] + [None] * 8
    sampler = GroupSampler(types, prompts=4, group=2, seed=2, mix=mix, pairs=pairs)
    batches = sampler.batches(0)
    assert len(batches) == 12 and all(len(batch) == 4 for batch in batches)
    assert batches != sampler.batches(1)
    where = {}
    for n, batch in enumerate(batches):
        for i in batch:
            where.setdefault(pairs[i] or i, []).append(n)
    torn = [pair for pair, places in where.items() if isinstance(pair, str) and len(places) == 1]
    together = [places for pair, places in where.items() if isinstance(pair, str)]
    assert len(torn) <= (0 if mix is None else 4)  # 24 of `a`'s 28 rows fill its share
    assert all(places.count(n) % 2 == 0 for places in together for n in places) or mix
    if mix is None:
        assert len({i for batch in batches for i in batch}) == 48  # each once


def test_a_batch_that_no_pair_fits_into_repeats_its_own_rows():
    pairs = [f"{i // 3}" for i in range(12)]
    for batch in GroupSampler([IMAGE] * 12, prompts=4, group=1, pairs=pairs).batches(0):
        assert len({pairs[i] for i in batch}) == 1 and len(set(batch)) == 3 and len(batch) == 4
    with pytest.raises(ValueError, match="pair '0' has 3 rows, but a generation batch has 2"):
        GroupSampler([IMAGE] * 12, prompts=2, group=1, pairs=pairs)
