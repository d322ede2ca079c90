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
