"""Greedy completions in batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.policy.generation import complete, generate, length_batches, row_size
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
    greedy = generate(
        model, processor, rows, max_new_tokens=5, batch_size=2, progress=finished.append
    )
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
    [(text, _)] = generate(model, processor, tiny_rows(1), max_new_tokens=5, batch_size=1)
    assert text  # special tokens would be neither counted nor decoded


def test_the_size_of_a_row_counts_images_pixels_and_characters():
    row = tiny_rows(1)[0]
    characters = sum(len(part["text"] or "") for m in row["prompt"] for part in m["content"])
    assert row_size(row) == (2, 2 * 64 * 64, pytest.approx(characters))


@pytest.fixture(scope="module")
def varied(policy_path):
    """A random policy whose answers depend on the question: at the usual scale of fresh weights it
    only repeats the last token."""
    model, processor = load_policy(policy_path)
    for name, weight in model.named_parameters():
        if weight.dim() >= 2 and "layers" in name:
            weight.data.mul_(12.0)
    return model, processor


@pytest.fixture(scope="module")
def mixed_rows():
    """Rows of one to two references, and two without images."""
    return tiny_rows(9, text_only=2)


def test_a_batch_says_what_one_row_alone_says(varied, mixed_rows):
    together = generate(*varied, mixed_rows, max_new_tokens=6, batch_size=5)
    alone = [generate(*varied, [row], max_new_tokens=6, batch_size=1)[0] for row in mixed_rows]
    assert together == alone
    assert len({text for text, _ in together}) > 1  # else the order would not show
    assert all(0 <= n <= 6 for _, n in together)


def test_completions_are_in_the_order_of_the_rows(varied, mixed_rows):
    forward = generate(*varied, mixed_rows, max_new_tokens=4, batch_size=3)
    backward = generate(*varied, mixed_rows[::-1], max_new_tokens=4, batch_size=3)
    assert forward == backward[::-1]


def test_the_length_leaves_end_and_padding_out(varied, mixed_rows):
    model, processor = varied
    eos, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
    words = processor.tokenizer("yes no yes")["input_ids"]

    class Ended:
        """A model that says three tokens, the end, and padding."""

        config, generation_config, device = model.config, model.generation_config, model.device

        def eval(self):
            return self

        def generate(self, input_ids, **_):
            new = torch.tensor([words + [eos, pad, pad]] * len(input_ids))
            return torch.cat([input_ids, new], dim=1)

    found = generate(Ended(), processor, mixed_rows[:1], max_new_tokens=9, batch_size=1)
    assert found == [("yes no yes", len(words))]
    assert eos == model.generation_config.eos_token_id


def test_generation_is_greedy_and_suppresses_vision_tokens(varied, mixed_rows):
    model, processor = varied
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    seen = []
    plain = model.generate

    def spy(**kwargs):
        seen.append(kwargs)
        return plain(**kwargs)

    model.generate = spy
    try:
        generate(model, processor, mixed_rows[:1], max_new_tokens=1, batch_size=1)
    finally:
        del model.generate
    assert image in seen[0]["suppress_tokens"] and seen[0]["do_sample"] is False


def test_samples_depend_on_their_seed_and_differ_from_greedy(policy_path):
    model, processor = load_policy(policy_path)
    rows = tiny_rows(1) * 4

    def texts(temperature, seed=0):
        return [text for text, _ in complete(model, processor, rows, 12, temperature, seed)]

    assert texts(1.0, 5) == texts(1.0, 5) != texts(1.0, 6)
    assert len(set(texts(1.0))) > 1 == len(set(texts(0.0)))
