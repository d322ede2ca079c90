"""Predicted memory beside measured memory, on a tiny policy."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from rl.planning.activations import Pass, activation_bytes
from rl.planning.memory import Workload, memory_of, needs_of, parameters_of
from rl.planning.parallel import Parallel
from rl.planning.peak import PeakMemory
from rl.planning.table import shape
from rl.policy.loading import LoraSettings, load_policy
from rl.trainer import TrainerOptions
from tests.rl.test_trainer import make

GROUP = 4


def test_peak_memory_counts_what_is_alive_at_once():
    weight = torch.zeros(100)
    with PeakMemory([weight]) as memory:
        a = weight + 1  # 400 bytes
        b = a.view(10, 10)  # the same bytes
        del a
        c = b * 2
        assert memory.now == 800
        del b
        assert memory.now == 400
        d = c + c
        del c, d
    assert (memory.now, memory.peak) == (0, 800)


def test_what_backward_keeps_is_counted():
    layer = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Sigmoid(), nn.Sigmoid())
    x = torch.ones(4, 8)
    with PeakMemory([*layer.parameters(), x]) as memory:
        out = layer(x)
        assert memory.now == 2 * 4 * 8 * 4  # a sigmoid keeps what it returns; both stay
        del out
    assert memory.peak >= 2 * 4 * 8 * 4


@pytest.mark.parametrize("share", ["off", "on"])
@pytest.mark.parametrize(
    ("prompt", "completion", "lora", "checkpointing"),
    [
        (300, 40, None, False),
        (300, 40, LoraSettings(4, 8, 0.0), True),
        (60, 250, None, False),
        (900, 20, LoraSettings(4, 8, 0.0), False),
    ],
)
def test_the_loss_peaks_where_it_is_predicted(
    policy_path, rows, tmp_path, share, prompt, completion, lora, checkpointing
):
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        lora=lora,
        per_device_train_batch_size=GROUP,
        gradient_checkpointing=checkpointing,
        options=TrainerOptions(share_prompt=share, share_vision=share),
    )
    measured = measure(trainer, prompt, completion)
    shared = share == "on"
    run = Pass(
        rows=1 if shared else GROUP,
        length=prompt + (GROUP if shared else 1) * completion,
        # On a CPU TRL scores all tokens, and this trainer the completions' alone.
        scored=GROUP * (completion if shared else prompt + completion),
        dtype=torch.float32,
        lora=lora,
        checkpointing=checkpointing,
    )
    predicted = activation_bytes(AutoConfig.from_pretrained(policy_path), run)
    assert predicted == pytest.approx(measured, rel=0.15)


def measure(trainer, length: int, width: int) -> int:
    """The most bytes alive in the real trainer's forward and backward pass over one group, beside
    weights and gradients."""
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(20, 300, (1, length), generator=generator).expand(GROUP, -1)
    completions = torch.randint(20, 300, (GROUP, width), generator=generator)
    ids = torch.cat([prompt, completions], dim=1)
    model = trainer.model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    trainer._get_per_token_logps_and_entropies(  # checks itself once, against the slow path
        model, ids, torch.ones_like(ids), width
    )
    with PeakMemory([*model.parameters(), *model.buffers(), *gradients, ids]) as memory:
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            model, ids, torch.ones_like(ids), width
        )
        logps.mean().backward()
    return memory.peak


WORK = Workload(prompt=200, completion=50, group=4, rows=4, sampled=8)


def test_what_is_split_over_processes(policy_path):
    config = AutoConfig.from_pretrained(policy_path)
    model, _ = load_policy(policy_path)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())

    needs = needs_of(config, WORK, dtype=torch.float32)
    one = memory_of(needs, Parallel("one"))
    assert one.parts == {"weights": 4 * total, "gradients": 4 * trained, "optimizer": 8 * trained}
    two = memory_of(needs, Parallel("zero2", 8, 2, deepspeed=True)).parts
    assert two["weights"] == 4 * total and two["gradients"] == pytest.approx(4 * trained / 8)
    assert two["optimizer"] == pytest.approx(12 * trained / 8)
    offloaded = Parallel("zero3", 8, 3, deepspeed=True, offload=("optimizer",))
    three = memory_of(needs, offloaded).parts
    assert three["weights"] == pytest.approx(4 * total / 8) and three["optimizer"] == 0
    beside = memory_of(replace(needs, reference=True), Parallel("one")).parts
    assert beside["reference"] == beside["weights"]
    # Keys and values of 8 sequences: 2 layers x 2 heads x 12 wide, keys and values, a prompt once.
    assert one.sampling == 8 * 2 * 2 * 2 * 12 * 4 * (200 / 4 + 50)
    assert one.peak == sum(one.parts.values()) + max(one.loss, one.sampling)

    lora = needs_of(config, WORK, dtype=torch.float32, lora=LoraSettings(4, 8, 0.0))
    adapters, whole = lora.counts.trainable, memory_of(lora, Parallel("one")).parts
    assert 0 < adapters < trained and whole["gradients"] == 4 * adapters
    assert whole["weights"] == 4 * (total + adapters)
    less = memory_of(replace(lora, quantized=True), Parallel("one")).parts
    # 4 bits and 0.127 for scales: section 3 of the QLoRA paper.
    packed = lora.linear * (4 + 0.127) / 8
    assert 4 * lora.linear - packed == pytest.approx(whole["weights"] - less["weights"], rel=1e-5)


def test_sharing_prompts_needs_less(policy_path):
    config = AutoConfig.from_pretrained(policy_path)
    work = Workload(prompt=600, completion=50, group=8, rows=8, sampled=8)
    ours, stock = (needs_of(config, replace(work, shared=shared)) for shared in (True, False))
    # The tiles of the LM head, which are alike, are most of what the tiny policy needs.
    assert ours.loss < stock.loss * 0.75 and ours.sampling < stock.sampling / 2


def test_the_3b_has_its_published_size():
    counts, linear = parameters_of(shape("3B"), None, True, True)
    assert counts.total == pytest.approx(3.75e9, rel=0.01)  # Qwen2.5-VL-3B-Instruct
    assert linear == 36 * 2048 * (2 * 2048 + 2 * 256 + 3 * 11_008)
