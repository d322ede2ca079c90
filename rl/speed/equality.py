"""How far shared and unshared passes in half precision are from the unshared pass in fp32."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig
from trl.trainer.grpo_config import GRPOConfig

from data_gen.toybox.weights import local_weights
from rl.policy.loading import LoraSettings, load_policy
from rl.sharing.attention import kernel_differs
from rl.speed.compare import alternating
from rl.speed.workload import Shape, rows_of_shape
from rl.trainer import PolicyTrainer, TrainerOptions

WORSE = 1.25
"""Shared passes may be so many times further from fp32 than unshared ones: both only round."""


@dataclass(frozen=True)
class Distances:
    """Distances from the unshared pass in fp32.

    Args:
        logps: mean difference of log-probabilities, in nats per token: shared, unshared.
        gradients: norm of the gradients' difference relative to theirs: shared, unshared.
        fused: whether packed rows were attended to by fused kernels.
    """

    logps: tuple[float, float]
    gradients: tuple[float, float]
    fused: bool

    @property
    def as_exact(self) -> bool:
        """Whether shared passes are as near to fp32 as unshared ones."""
        pairs = (self.logps, self.gradients)
        return all(shared <= WORSE * apart + 1e-6 for shared, apart in pairs)


def distances(path: str, shape: Shape, dtype: torch.dtype = torch.bfloat16) -> Distances:
    """Log-probabilities and gradients of one micro-batch, computed three times.

    Args:
        path: policy directory or hub id.
        shape: of the micro-batch; adapters are trained, without dropout.
        dtype: of the passes that are compared with fp32.
    """
    (exact,) = _passes(path, shape, torch.float32, (False,))
    shared, apart = _passes(path, shape, dtype, (True, False))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    text = AutoConfig.from_pretrained(local_weights(path)).get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Distances(
        logps=(
            (shared.logps - exact.logps).abs().mean().item(),
            (apart.logps - exact.logps).abs().mean().item(),
        ),
        gradients=(
            ((shared.gradient - exact.gradient).norm() / exact.gradient.norm()).item(),
            ((apart.gradient - exact.gradient).norm() / exact.gradient.norm()).item(),
        ),
        fused=not kernel_differs(device, dtype, size),
    )


class _Pass(NamedTuple):
    """Log-probabilities of completions and the gradient of a weighted sum of them."""

    logps: torch.Tensor
    gradient: torch.Tensor


def _passes(path: str, shape: Shape, dtype: torch.dtype, shares: tuple[bool, ...]) -> list[_Pass]:
    """Passes in ``dtype``, shared or not; what they gave is in fp32 on the CPU."""
    model, processor = load_policy(path, dtype=dtype)
    rows = rows_of_shape(processor, shape, shape.prompts, seed=0)
    batch = shape.prompts * shape.G
    args = GRPOConfig(
        output_dir="runs/speed",
        per_device_train_batch_size=batch,
        num_generations=shape.G,
        max_completion_length=shape.completion,
        gradient_checkpointing=shape.checkpointing,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
    )
    trainer = PolicyTrainer(
        model,
        [alternating],
        args,
        rows,
        processor,
        options=TrainerOptions(share_prompt="on", share_vision="off"),
        peft_config=LoraSettings(dropout=0.0).config_for(model),
    )
    generator = torch.Generator().manual_seed(0)
    whole: Any = trainer.model
    for name, parameter in whole.named_parameters():
        if "lora_" in name:  # the second matrix begins at zero, and so would the first's gradient
            drawn = 0.02 * torch.randn(parameter.shape, generator=generator)
            parameter.data.copy_(drawn)
    whole.train()
    given = _micro_batch(processor, rows, shape, generator, trainer.accelerator.device)
    found = []
    for share in shares:
        trainer.sharing.prompt = share
        whole.zero_grad()
        logps, _, _ = trainer._get_per_token_logps_and_entropies(whole, **given)
        weight = torch.linspace(-1, 1, logps.numel(), device=logps.device).view_as(logps)
        (logps * weight).sum().backward()
        flat = [p.grad.flatten().float() for p in whole.parameters() if p.grad is not None]
        found.append(_Pass(logps.detach().float().cpu(), torch.cat(flat).cpu()))
    return found


def _micro_batch(processor, rows, shape: Shape, generator, device) -> dict[str, Any]:
    """Each row G times with completions of random words, as the trainer's passes take them."""
    rows = [row for row in rows for _ in range(shape.G)]
    texts = [
        processor.apply_chat_template(row["prompt"], add_generation_prompt=True) for row in rows
    ]
    images = [row["images"] for row in rows]
    inputs = processor(text=texts, images=images, padding=True, return_tensors="pt").to(device)
    words = [i for t, i in sorted(processor.tokenizer.get_vocab().items()) if t.isalpha()]
    size = (len(rows), shape.completion)
    drawn = torch.tensor(words)[torch.randint(len(words), size, generator=generator)].to(device)
    given = dict(inputs)
    given["input_ids"] = torch.cat([given["input_ids"], drawn], 1)
    given["attention_mask"] = torch.nn.functional.pad(
        given["attention_mask"], (0, shape.completion), value=1
    )
    if "mm_token_type_ids" in given:
        given["mm_token_type_ids"] = torch.nn.functional.pad(
            given["mm_token_type_ids"], (0, shape.completion)
        )
    return {**given, "logits_to_keep": shape.completion, "num_images": [len(i) for i in images]}
