"""Whether vLLM samples from the policy that is trained, asked before the first step.

A few prompts, from text to the most images, are completed by vLLM, and each token's
log-probability by vLLM is compared with the trainer's own. Wrong prompts, weights that were not
passed on, image features of old weights, another size of the images and another precision all show
here.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import TrainerCallback
from trl.data_utils import prepare_multimodal_messages

from data_gen.files.errors import InputError
from rl.policy.loading import vision_token_ids
from rl.sampler import plain_row
from rl.sharing.dropout import without_dropout
from rl.vllm.engine import PLAIN, compute_dtype
from rl.vllm.prompts import images_of

GAP = {torch.float32: 1e-3, torch.float16: 0.02, torch.bfloat16: 0.1}
"""Mean difference of log-probabilities, in nats per token, up to which it is rounding.

Logits of 16 to 32 are steps of 2e-6 apart in fp32, 0.016 in fp16 and 0.125 in bf16, and both sides
round: a mean of about one step is what two correct programs may differ by in half precision. In
fp32 only the order of sums differs (1e-6 was measured); 1e-3 leaves room for kernels that multiply
in TF32.
"""

KINDS = 4
"""Numbers of images that are compared, at most."""

COPIES, TOKENS = 2, 16
"""Completions of each prompt, and tokens of each, at most."""


class VllmCheck(TrainerCallback):
    """Refuses a training whose vLLM is another policy than the trainer's.

    Args:
        trainer: a :class:`rl.trainer.PolicyTrainer` with ``use_vllm``.

    Raises:
        InputError: from ``train``, in all processes, before the first step.
    """

    def __init__(self, trainer):
        self._trainer = trainer

    def on_train_begin(self, args, state, control, **_):
        gaps = engine_gaps(self._trainer)
        accelerator = self._trainer.accelerator
        refuse_gaps(gaps, compute_dtype(self._trainer.model, accelerator))
        if accelerator.is_main_process:
            found = ", ".join(f"{gap:.2g} ({kind})" for kind, gap in gaps.items())
            print(f"      vllm  log-probabilities differ by {found} nats per token", flush=True)


def engine_gaps(trainer) -> dict[str, float]:
    """Mean difference of vLLM's and the trainer's log-probabilities, by number of images.

    Weights are passed to vLLM first, as before any generation. Every process compares the same
    rows; of their means the largest counts.

    Returns:
        ``text``, ``1 image``, ``2 images`` ... -> nats per token.
    """
    engine, accelerator = trainer.vllm_generation, trainer.accelerator
    engine.sync_weights()
    trainer._last_loaded_step = trainer.state.global_step
    rows = trainer.train_dataset
    counts = [images_of(prompt) for prompt in rows["prompt"]]
    settings: dict[str, Any] = {**PLAIN, "structured_outputs_regex": None}
    settings["max_completion_length"] = min(TOKENS, engine.max_completion_length)
    barred: list[int] = []
    if not engine.plain:  # processed log-probabilities: nothing may be taken out of them
        settings["generation_kwargs"] = {}
        barred = vision_token_ids(trainer.model, trainer.processing_class)
    gaps = {}
    with (
        torch.no_grad(),
        without_dropout(trainer.model),
        trainer.sharing.generating(accelerator.unwrap_model(trainer.model), "train", fresh=True),
        engine.sampling(**settings),
    ):
        for place in rows_to_compare(counts):
            row = plain_row(rows[place])
            prompt = prepare_multimodal_messages(row["prompt"], images=row["images"])
            ids, images, _ = trainer._tokenize_prompts([prompt] * COPIES)
            _, drawn, theirs, _ = engine.generate(ids, images, COPIES)
            drawn = [before(each, barred) for each in drawn]
            ours = [_trainers_own(trainer, prompt, ids[0], each, images) for each in drawn]
            theirs = [
                [found[0] for found in each[: len(mine)]]
                for each, mine in zip(theirs, ours, strict=True)
            ]
            gap = torch.tensor([mean_gap(ours, theirs)], device=accelerator.device)
            gaps[kind_of(counts[place])] = accelerator.gather(gap).max().item()
    return gaps


def _trainers_own(trainer, prompt, ids, drawn, images) -> list[float]:
    """The trainer's log-probabilities of C drawn tokens after one prompt, in its own pass."""
    if not drawn:
        return []
    device = trainer.accelerator.device
    fields = {}
    if images is not None:
        fields = trainer.processing_class.apply_chat_template(
            [prompt],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            chat_template=trainer.chat_template,
            **trainer.chat_template_kwargs,
        )
        fields = {
            key: value.to(device)
            for key, value in fields.items()
            if key not in ("input_ids", "attention_mask")
        }
        fields["num_images"] = [len(images[0])]
        pixels = fields["pixel_values"]
        if "spatial_shapes" in fields or (pixels.ndim == 4 and len(pixels) != len(images[0])):
            fields["num_tiles"] = [len(pixels)]  # of the only row
    for key in ("token_type_ids", "mm_token_type_ids"):
        if key in fields:
            fields[key] = torch.nn.functional.pad(fields[key], (0, len(drawn)))
    whole = torch.tensor([[*ids, *drawn]], device=device)
    logps, _, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, whole, torch.ones_like(whole), len(drawn), 1, **fields
    )
    return logps[0].tolist()


def rows_to_compare(counts: Sequence[int]) -> list[int]:
    """The first row of each number of images; of more than :data:`KINDS` numbers, the smallest
    ones and the largest."""
    first: dict[int, int] = {}
    for place, count in enumerate(counts):
        first.setdefault(count, place)
    kinds = sorted(first)
    return [first[kind] for kind in kinds[: KINDS - 1] + kinds[KINDS - 1 :][-1:]]


def before(ids: Sequence[int], barred: Collection[int]) -> list[int]:
    """Tokens before the first that is barred: it stands for an image that is not there."""
    end = next((i for i, token in enumerate(ids) if token in barred), len(ids))
    return list(ids[:end])


def kind_of(images: int) -> str:
    """``text``, ``1 image``, ``2 images`` ..."""
    return "text" if not images else f"{images} image{'s' if images > 1 else ''}"


def mean_gap(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float | None]]) -> float:
    """Mean absolute difference per token; not a number where vLLM has none for a token, and where
    there are no tokens."""
    gaps = [
        abs(a - (math.nan if b is None else b))
        for mine, others in zip(ours, theirs, strict=True)
        for a, b in zip(mine, others, strict=True)
    ]
    return sum(gaps) / len(gaps) if gaps else math.nan


def refuse_gaps(gaps: dict[str, float], dtype: torch.dtype) -> None:
    """Refuse differences that are no rounding.

    Raises:
        InputError: where, how much, and what to do.
    """
    limit = GAP.get(dtype, GAP[torch.float32])
    wrong = {kind: gap for kind, gap in gaps.items() if not gap <= limit}
    if wrong:
        found = " and ".join(f"{gap:.2g} nats per token ({kind})" for kind, gap in wrong.items())
        raise InputError(
            f"vLLM is another policy than the one that is trained: log-probabilities differ by "
            f"{found}, and rounding in {str(dtype).removeprefix('torch.')} explains {limit:g}; see "
            f"docs/vllm.md for what it may be, train with use_vllm false, or set vllm_check to "
            f"false to train all the same"
        )
