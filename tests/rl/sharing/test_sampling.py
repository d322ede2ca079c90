"""Tokens are drawn faster, from the same distribution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import GenerationConfig

from rl.policy.loading import load_policy
from rl.sharing import sampling
from rl.sharing.prefill import prompts_prefilled_once
from rl.sharing.sampling import BLOCK, draw


@pytest.mark.parametrize("size", [1, 5, BLOCK, BLOCK + 1, 5 * BLOCK - 3])
def test_frequencies_are_the_probabilities(size):
    """Chi-square of 100,000 draws, in some of which whole blocks have no weight."""
    torch.manual_seed(size)
    weights = torch.rand(size) ** 6
    weights[torch.rand(size) < 0.3] = 0
    weights[: BLOCK if size > 2 * BLOCK else 0] = 0
    weights[-1] = 0.7
    n = 100_000
    found = draw(weights.expand(n, -1)).bincount(minlength=size)
    expected = n * weights.double() / weights.double().sum()
    assert found[weights == 0].sum() == 0
    often = expected > 5
    chi = ((found - expected)[often] ** 2 / expected[often]).sum().item()
    degrees = max(int(often.sum()) - 1, 1)
    assert chi < degrees + 5 * (2 * degrees) ** 0.5


weights = arrays.arrays(
    "float32", st.tuples(st.integers(1, 4), st.integers(1, 200)), elements=st.floats(0, 1, width=32)
)


@given(weights, st.sampled_from([0.0, 0.3, 1 - 2**-53]))
@settings(deadline=None, max_examples=60)
def test_what_has_no_weight_is_never_drawn(found, number):
    """Whatever the weights and however near to 1 the random number, which is patched here."""
    given_ = torch.from_numpy(found)
    given_[given_.sum(1) == 0, -1] = 1e-30
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling.torch, "rand_like", lambda x: torch.full_like(x, number))
        tokens = draw(given_)
    before = torch.cat([given_.new_zeros(len(given_), 1), given_], 1).double().cumsum(1)
    share = before / before[:, -1:]
    for row, token in enumerate(tokens.tolist()):
        assert given_[row, token] > 0
        assert share[row, token] <= number + 1e-9 and number - 1e-9 <= share[row, token + 1]


def test_a_generation_draws_by_the_processed_scores_and_seeds_reproduce(policy_path, rows):
    model, processor = load_policy(policy_path)
    text = processor.apply_chat_template(rows[0]["prompt"], add_generation_prompt=True)
    one, inputs = (
        processor(text=[text] * n, images=[rows[0]["images"]] * n, return_tensors="pt")
        for n in (1, 300)
    )
    config = GenerationConfig(
        do_sample=True, max_new_tokens=2, top_k=4, temperature=0.7, pad_token_id=0, eos_token_id=2
    )
    length, ends = inputs["input_ids"].size(1), []
    with torch.no_grad():
        scores = model(**one).logits[0, -1]
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            with prompts_prefilled_once(model, fast_sampling=True):
                ends.append(model.generate(**inputs, generation_config=config)[:, length:])
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    top = scores.topk(4)
    expected = torch.softmax(top.values / 0.7, 0)
    found = torch.cat([ends[0], ends[2]])[:, 0]
    shares = torch.stack([(found == i).float().mean() for i in top.indices])
    assert torch.isin(found, top.indices).all()
    assert ((shares - expected).abs() < 4.5 * (expected * (1 - expected) / 600).sqrt()).all()
