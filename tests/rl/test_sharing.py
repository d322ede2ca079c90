"""Sharing changes what is computed, never what comes out."""

import pytest
import torch
from transformers import set_seed

from rl.policy import LoraSettings
from rl.trainer import TrainerOptions
from tests.rl.letter_reward import vowels
from tests.rl.test_trainer import make, weights

ON = TrainerOptions(share_prompt="on", share_vision="on")


@pytest.mark.parametrize("settings", [
    dict(),
    dict(beta=0.1, loss_type="grpo", gradient_checkpointing=True),
    dict(beta=0.1, lora=LoraSettings(4, 8, 0.0)),
    dict(num_iterations=2, steps_per_generation=2, per_device_train_batch_size=4),
], ids=["plain", "kl, checkpointing", "lora", "old policy"])
def test_shared_training_ends_in_the_same_weights(policy_path, rows, tmp_path, settings):
    runs = []
    for options in (TrainerOptions(), ON):
        trainer = make(policy_path, rows, tmp_path, options=options, max_steps=3, **settings)
        start = weights(trainer)
        set_seed(0)
        trainer.train()
        runs.append(trainer)
    apart, shared = runs
    assert shared.sharing.prompt and shared.sharing.vision and shared.sharing.checked
    losses = [[x["loss"] for x in t.state.log_history if "loss" in x] for t in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    want, have = weights(apart), weights(shared)
    assert max((want[n] - start[n]).abs().max() for n in want) > 5e-4
    for name in want:
        torch.testing.assert_close(have[name], want[name], atol=1e-4, rtol=0, msg=name)
