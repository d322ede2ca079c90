"""Greedy completions in batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.policy.generation import generate, length_batches, row_size
from rl.policy.loading import load_policy, vision_token_ids
from tests.tiny import tiny_rows

sizes = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 99), st.integers(0, 99)), max_size=20)


@given(sizes, st.integers(1, 6))
def test_every_row_is_in_one_batch_with_rows_of_its_kind(sizes, batch_size):
    batches = length_batches(sizes, batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    for batch in batches:
        assert 0 < len(batch) <= batch_size
        assert len({sizes[row][0] > 0 for row in batch}) == 1  # with images, or all without
    of_all = [sizes[row] for batch in batches for row in batch]
    assert of_all == sorted(sizes, reverse=True)


def test_a_policys_own_sampling_defaults_do_not_apply(policy_path):
    model, processor = load_policy(policy_path)
    rows = tiny_rows(3, text_only=1)
    finished = []
    greedy = generate(model, processor, rows, max_new_tokens=5, batch_size=2,
                      progress=finished.append)
    assert finished == [2, 1, 1]
    config = model.generation_config
    config.do_sample, config.temperature, config.repetition_penalty = True, 5.0, 3.0
    assert generate(model, processor, rows, max_new_tokens=5, batch_size=4) == greedy


def test_no_vision_token_is_generated(policy_path):
    model, processor = load_policy(policy_path)
    banned = vision_token_ids(model, processor)

    def push(module, args, logits):
        logits[..., banned] += 100.0
        return logits

    model.lm_head.register_forward_hook(push)
    [(text, length)] = generate(model, processor, tiny_rows(1), max_new_tokens=5, batch_size=1)
    assert length > 0 and text  # special tokens would be neither counted nor decoded


def test_the_size_of_a_row_counts_images_pixels_and_characters():
    row = tiny_rows(1)[0]
    characters = sum(len(part["text"] or "") for m in row["prompt"] for part in m["content"])
    assert row_size(row) == (2, 2 * 64 * 64, pytest.approx(characters))
