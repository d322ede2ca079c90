"""Logits of answers are the same whether what comes before the learned tokens is kept or not."""

import random

import pytest
import torch

from concepts.methods.soft_prompts.batches import Batches
from concepts.methods.soft_prompts.examples import Example, ask, personal_prompt, words_of
from concepts.methods.soft_prompts.phrasings import load_phrasings
from concepts.methods.soft_prompts.tokens import SoftTokens, frozen
from rl.policy.loading import load_policy
from tests.rl.families import save_tiny_llava, save_tiny_qwen3
from tests.tiny import drawing, save_tiny_policy

SAVE = {"qwen2.5": save_tiny_policy, "qwen3": save_tiny_qwen3, "llava": save_tiny_llava}


@pytest.mark.parametrize("family", SAVE)
def test_kept_keys_and_values_change_nothing(family, tmp_path):
    """Pictures of two sizes, words alone, answers of three lengths, a mirrored picture."""
    model, processor = load_policy(SAVE[family](tmp_path))
    tokens = SoftTokens(processor, [words_of("bo", 3)])
    personal = personal_prompt("bo", 3, load_phrasings())
    examples = [
        (Example(ask(personal, "Is <bo> here?", True), "", 0), False),
        (Example(ask(personal, "Is <bo> in this photo or is it not?", True), "", 0), True),
        (Example(ask(personal, "Who?", True), "", 1), False),
        (Example(ask(personal, "What colour is <bo>?", False), ""), False),
    ]
    answers = [[40, 41, 42], [40], [41, 42], []]
    rng = random.Random(0)
    images = [drawing(rng, "red", 64)[0], drawing(rng, "blue", 40)[0]]
    width = model.get_input_embeddings().weight.size(1)
    vectors = torch.randn(4, width, generator=torch.Generator().manual_seed(0))
    found, encoded = [], []
    with frozen(model):
        for keep in (True, False):
            batches = Batches(model, tokens, images, keep=keep)
            assert batches.keeps is keep
            leaf = vectors.clone().requires_grad_()
            with batches.open(), tokens.in_model(model, [leaf], [leaf[:1]]):
                for _ in range(2):  # the second time from what was kept
                    logits = batches.logits(examples, answers)
                    said = torch.cat(
                        [row[: 1 + len(a)] for row, a in zip(logits, answers, strict=True)]
                    )
                said[said.isfinite()].square().mean().backward()
                encoded.append(len(batches._kept))
            found.append((said.detach(), leaf.grad))
    assert encoded == [4, 0]
    for kept, computed in zip(*found, strict=True):
        torch.testing.assert_close(kept, computed, rtol=1e-4, atol=1e-4)
