"""An adapter is merged when weights are passed to vLLM, and unmerged after."""

import pytest
import torch

from rl.policy.loading import LoraSettings
from rl.vllm.check import engine_gaps
from tests.vllm.engines import (
    CLOSE,
    KINDS,
    differences,
    mixed_rows,
    need_vllm,
    save_tiny_qwen2_5,
    vllm_trainer,
)

need_vllm()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    out = tmp_path_factory.mktemp("lora")
    rows, policy = mixed_rows(out / "rows"), save_tiny_qwen2_5(out / "policy")
    lora = LoraSettings(4, 8, 0.05)
    with vllm_trainer(policy, rows, out, frozen=True, lora=lora, learning_rate=5e-2) as trainer:
        trainer.train()
        yield trainer


def test_vllm_samples_from_the_adapted_policy(trainer):
    """Its log-probabilities are those of the adapter without dropout; the trainer's old ones are
    drawn with it, so only the check compares the two."""
    trained = {n: p for n, p in trainer.model.named_parameters() if "lora_B" in n}
    assert max(p.abs().max() for p in trained.values()) > 0.05
    gaps = engine_gaps(trainer)
    print("lora", differences(trainer), gaps)
    assert tuple(gaps) == KINDS and max(gaps.values()) <= CLOSE, gaps
    with torch.no_grad(), trainer.model.disable_adapter():
        base = engine_gaps_of_base(trainer)
    assert max(base.values()) > 5 * CLOSE


def engine_gaps_of_base(trainer):
    """The trainer without its adapter beside vLLM, which keeps the adapted weights."""
    engine = trainer.vllm_generation
    engine.sync_weights = lambda: None
    try:
        return engine_gaps(trainer)
    finally:
        del engine.sync_weights
