"""Trainers that sample with vLLM on a CPU, and rows with no image, one, two and three."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import set_seed

from data_gen.rows import read_rows, write_rows
from data_gen.toybox.models.policy import build_model
from rl.policy.loading import load_policy
from rl.trainer import TrainerOptions
from tests.rl.families import save_tiny_llava
from tests.rl.test_trainer import make
from tests.tiny import SHAPE, tiny_processor, tiny_rows

WHY = "vLLM is not installed here: `make test-vllm` makes an environment that has it"
KINDS = ("text", "1 image", "2 images", "3 images")
CLOSE = 1e-3  # nats per token in fp32
HEAD = 32  # the least size of a head that vLLM's attention has on a CPU


def save_tiny_qwen2_5(path):
    """A random Qwen2.5-VL, as ``tests.tiny.save_tiny_policy`` but with larger heads."""
    torch.manual_seed(0)
    processor = tiny_processor()
    shape = replace(SHAPE, hidden_size=2 * HEAD, heads=2, kv_heads=1)
    build_model(processor.tokenizer, shape).save_pretrained(path)
    processor.save_pretrained(path)
    return path


def save_tiny_llava_of_the_hub(path):
    """A LLaVA whose tower has the names that the hub's checkpoints have, and vLLM reads."""
    file = save_tiny_llava(path, head_dim=HEAD) / "model.safetensors"
    weights = load_file(file)
    old, new = "vision_tower.", "vision_tower.vision_model."
    assert not any(new in name for name in weights)
    save_file({n.replace(old, new): w for n, w in weights.items()}, file, {"format": "pt"})
    return path


def mixed_rows(path):
    """Eight rows: text alone, one image, two images (pairs and boxes), three images (captions)."""
    rows = tiny_rows(6, text_only=4)
    one = dict(rows[2], id="one image", images=rows[2]["images"][:1], names=[], absent_names=[])
    one["prompt"] = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    ]
    rows = [one, *rows[:3], *rows[6:]]
    write_rows(rows, path, seed=0, generator="tests/vllm/engines.py")
    return read_rows(path)


@contextmanager
def vllm_trainer(policy, rows, out, *, options=None, engine=None, frozen=False, **settings):
    """A trainer whose tower and projector are trained, unless ``frozen``, and whose first step
    follows the check of vLLM; its engine is gone after the context."""
    from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

    model, _ = load_policy(policy, freeze_vision=frozen, freeze_projector=frozen)
    options = options or TrainerOptions(share_prompt="auto", share_vision="auto")
    options.vllm_check, options.vllm_options = True, {"enforce_eager": True, **(engine or {})}
    set_seed(0)
    trainer = make(
        policy,
        rows,
        out,
        model=model,
        options=options,
        **{
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_max_model_length": 1024,
            "per_device_train_batch_size": 16,
            "max_steps": 3,
            "learning_rate": 1e-2,
            **settings,
        },
    )
    try:
        yield trainer
    finally:
        del trainer.vllm_generation.llm
        cleanup_dist_env_and_memory()


def differences(trainer) -> list[float]:
    """The largest difference of log-probabilities in each step, as the run logged it."""
    key = "sampling/sampling_logp_difference/max"
    return [line[key] for line in trainer.state.log_history if key in line]


def need_vllm():
    """Skip the module where there is no vLLM."""
    return pytest.importorskip("vllm", reason=WHY)
