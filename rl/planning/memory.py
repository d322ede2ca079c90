"""Memory of one GPU in a GRPO run, part by part, from the policy's config alone."""

from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForImageTextToText

from rl.planning.activations import Pass, activation_bytes
from rl.planning.parallel import Parallel
from rl.policy.loading import LoraSettings, Trainable, freeze, trainable_parameters

BUCKET = 500_000_000
"""Elements that DeepSpeed collects before it reduces gradients, and again to gather weights."""

QUANTIZED = (4 + 8 / 64 + 32 / (64 * 256)) / 8
"""Bytes of a weight of 4 bits: nf4 in blocks of 64, whose scales are stored in 8 bits, with a scale
in fp32 for 256 of these (QLoRA, arXiv 2305.14314, section 3)."""


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
class Needs:
    """What a run needs however it is spread.

    Attributes:
        counts: of parameters.
        linear: of them, weights of the language model's linear layers.
        dtype: of the weights.
        adapter: whether an adapter is trained, and the weights are frozen.
        quantized: whether those linear layers are of 4 bits (QLoRA).
        reference: whether there is a reference policy.
        loss: bytes of activations of the loss's forward and backward pass.
        sampling: bytes of keys and values of all sequences that are sampled at once.
    """

    counts: Trainable
    linear: int
    dtype: torch.dtype
    adapter: bool
    quantized: bool
    reference: bool
    loss: float
    sampling: float


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU.

    Attributes:
        parts: what stays through the run: weights, gradients, optimizer, reference, buckets.
        loss, sampling: as in :class:`Needs`.
    """

    parts: dict[str, float]
    loss: float
    sampling: float

    @property
    def peak(self) -> float:
        """Sampling and the loss come one after the other."""
        return sum(self.parts.values()) + max(self.loss, self.sampling)


def needs_of(
    config: Any,
    work: Workload,
    *,
    dtype: torch.dtype = torch.bfloat16,
    lora: LoraSettings | None = None,
    checkpointing: bool = False,
    freeze_vision: bool = True,
    freeze_projector: bool = True,
    quantized: bool = False,
) -> Needs:
    """Predict what a run needs from the policy's config; no weights are needed.

    Not counted: what the framework itself takes (about 1 GB of a GPU), fragmentation, and what a
    vision tower that is trained keeps.
    """
    counts, linear = parameters_of(config, lora, freeze_vision, freeze_projector)
    rows, length = work.rows, work.prompt + work.completion
    if work.shared:
        rows = max(1, work.rows // work.group)
        length = work.prompt + work.rows // rows * work.completion
    scored = work.rows * work.completion
    loss = activation_bytes(config, Pass(rows, length, scored, dtype, lora, checkpointing))
    sampling = work.sampled * _cache(config, work, dtype)
    reference = work.reference and lora is None
    return Needs(counts, linear, dtype, lora is not None, quantized, reference, loss, sampling)


def memory_of(needs: Needs, parallel: Parallel) -> Memory:
    """Memory of one GPU of a run that is spread so."""
    size, trained = needs.dtype.itemsize, needs.counts.trainable
    # peft keeps adapters in fp32, whatever the weights are.
    trained_size = 4 if needs.adapter else size
    packed = needs.linear if needs.quantized else 0
    whole = needs.counts.total - (trained if needs.adapter else 0)
    weights = (whole - packed) * size + packed * QUANTIZED
    weights += trained * trained_size if needs.adapter else 0
    # DeepSpeed: an fp32 copy and AdamW's two moments; else the moments alone.
    optimizer = trained * (12 if parallel.deepspeed else 2 * trained_size)
    parts = {
        "weights": 0.0 if "param" in parallel.offload else weights / parallel.share(3),
        "gradients": trained * trained_size / parallel.share(2),
        "optimizer": 0.0 if "optimizer" in parallel.offload else optimizer / parallel.share(1),
    }
    if needs.reference:
        parts["reference"] = weights / parallel.share(3)
    if parallel.deepspeed and parallel.stage >= 2:
        parts["buckets"] = 2 * min(BUCKET, trained) * size
    return Memory(parts, needs.loss, needs.sampling)


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
