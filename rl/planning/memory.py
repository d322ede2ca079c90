"""Memory of one GPU in a GRPO run, part by part, from the policy's config alone."""

from dataclasses import dataclass, field
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForImageTextToText

from rl.planning.activations import Pass, activation_bytes
from rl.planning.parallel import Parallel
from rl.policy.loading import LoraSettings, Trainable, freeze, trainable_parameters

BUCKET = 500_000_000
"""Elements that DeepSpeed collects before it reduces gradients, and again to gather weights."""

QUANTIZED = 0.5625
"""Bytes of a weight of 4 bits (nf4 in blocks of 64, whose scales are stored in 8 bits)."""


@dataclass(frozen=True)
class Workload:
    """What one process does in a step.

    Attributes:
        prompt: tokens of the longest prompt, images included.
        completion: tokens of a completion, at most.
        group: completions per prompt, G.
        rows: completions of a micro-batch.
        sampled: completions that are sampled at once.
        reference: whether there is a reference policy (``beta`` above 0).
        shared: whether the completions of a group share their prompt.
    """

    prompt: int
    completion: int
    group: int
    rows: int
    sampled: int
    reference: bool = False
    shared: bool = True


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        parts: what stays through the run: weights, gradients, optimizer, reference, buckets.
        loss: activations of the loss's forward and backward pass.
        sampling: keys and values of all sequences that are sampled at once.
        trainable: counts of parameters.
    """

    parts: dict[str, float]
    loss: float
    sampling: float
    trainable: Trainable = field(repr=False)

    @property
    def peak(self) -> float:
        """Sampling and the loss come one after the other."""
        return sum(self.parts.values()) + max(self.loss, self.sampling)


def memory_of(
    config: Any,
    work: Workload,
    parallel: Parallel,
    *,
    dtype: torch.dtype = torch.bfloat16,
    lora: LoraSettings | None = None,
    checkpointing: bool = False,
    freeze_vision: bool = True,
    freeze_projector: bool = True,
    quantized: bool = False,
) -> Memory:
    """Predict the memory of one GPU.

    Not counted: what the framework itself takes (about 1 GB of a GPU), fragmentation, and what a
    vision tower that is trained keeps.

    Args:
        config: of the policy; no weights are needed.
        quantized: whether frozen weights of linear layers are of 4 bits (QLoRA).
    """
    counts, linear = parameters_of(config, lora, freeze_vision, freeze_projector)
    size = dtype.itemsize
    base = counts.total - (counts.trainable if lora else 0)
    # peft keeps adapters in fp32, whatever the weights are.
    trained_size = 4 if lora is not None else size
    packed = linear if quantized else 0
    weights = (base - packed) * size + packed * QUANTIZED
    weights += counts.trainable * trained_size if lora else 0
    master = 12 if parallel.deepspeed else 2 * trained_size
    parts = {
        "weights": 0.0 if "param" in parallel.offload else weights / parallel.share(3),
        "gradients": counts.trainable * trained_size / parallel.share(2),
        "optimizer": 0.0
        if "optimizer" in parallel.offload
        else counts.trainable * master / parallel.share(1),
    }
    if work.reference and lora is None:
        parts["reference"] = weights / parallel.share(3)
    if parallel.deepspeed and parallel.stage >= 2:
        parts["buckets"] = 2 * min(BUCKET, counts.trainable) * size
    rows, length = work.rows, work.prompt + work.completion
    if work.shared:
        groups = max(1, work.rows // work.group)
        rows, length = groups, work.prompt + work.rows // groups * work.completion
    scored = work.rows * work.completion
    loss = activation_bytes(config, Pass(rows, length, scored, dtype, lora, checkpointing))
    return Memory(parts, loss, work.sampled * _cache(config, work, dtype), counts)


def parameters_of(
    config: Any, lora: LoraSettings | None, freeze_vision: bool, freeze_projector: bool
) -> tuple[Trainable, int]:
    """Counts of parameters, and how many are weights of the language model's linear layers."""
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config)
        freeze(model, vision=freeze_vision, projector=freeze_projector)
        linear = sum(
            module.weight.numel()
            for module in model.get_decoder().modules()
            if isinstance(module, torch.nn.Linear)
        )
        if lora is not None:
            model = get_peft_model(model, lora.config_for(model))
    return trainable_parameters(model), linear


def _cache(config: Any, work: Workload, dtype: torch.dtype) -> float:
    """Bytes of keys and values of one sequence; a prompt is there once for its group."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    prompt = work.prompt / (work.group if work.shared else 1)
    return 2 * text.num_hidden_layers * heads * width * dtype.itemsize * (prompt + work.completion)
