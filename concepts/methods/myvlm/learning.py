"""Learn the vector of a concept by gradient descent through the frozen policy.

Loss = cross-entropy of the target | image, vector, request + a penalty on attention, summed over
layers and pictures (MyVLM 2403.14599, Eq. 4 and section 3.3). One request and one view of each
picture make a step's batch. Every view goes through the frozen vision tower once.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, pad

from concepts.methods.myvlm.targets import Target
from concepts.methods.myvlm.vectors import (
    attention_penalty,
    decoder_of,
    eager_attention,
    vectors_behind_image,
)
from concepts.methods.myvlm.views import Augmentation, view
from data_gen.files.errors import InputError
from rl.sharing.image_cache import VisionFeatureCache, unsupported_reason


@dataclass(frozen=True)
class VectorSettings:
    """How a vector is learned; the defaults are the paper's for LLaVA.

    Args:
        steps: of AdamW.
        learning_rate: constant. It is large because the vector is normalised at every forward.
        weight_decay: AdamW's.
        clip: longest gradient.
        batch_size: pictures per step; a concept with fewer has all in each.
        penalty: weight of the attention penalty (the paper's 0.25; its code has 0.0075 for captions
            and 10 for questions).
        penalty_on: ``column``: attention that other tokens pay to the vector, as the paper says;
            ``row``: attention that the vector pays, as the released code has it.
        views: augmented views of each picture; 1: only the picture itself.
        captions: of each picture, one drawn a step; 1: no augmentation of captions.
        augmentation: of pictures.
        side: long side, in pixels, to which every picture is brought before a vector stands behind
            its tokens, in learning and in questions, as LLaVA's pictures have one size; null: as
            they are. A vector learned behind 16 tokens does not speak behind 36 (docs/methods.md).
    """

    steps: int = 100
    learning_rate: float = 1.0
    weight_decay: float = 1e-4
    clip: float = 0.05
    batch_size: int = 4
    penalty: float = 0.25
    penalty_on: Literal["column", "row"] = "column"
    views: int = 8
    captions: int = 5
    augmentation: Augmentation = Augmentation(flip=0.5, rotation=45.0, brightness=0.6)
    side: int | None = None

    def __post_init__(self):
        if self.side is not None and self.side < 1:
            raise InputError(f"side must be 1 pixel or more, not {self.side!r}")
        for name in ("steps", "batch_size", "views", "captions"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or more, not {getattr(self, name)!r}")
        if self.penalty < 0:
            raise InputError(f"penalty must be 0 or more, not {self.penalty!r}")


def learn_vector(
    model: Any,
    processor: Any,
    images: Sequence[Image.Image],
    targets: Sequence[Target],
    settings: VectorSettings,
    *,
    seed: int = 0,
    done: Callable[[float], object] = lambda loss: None,
) -> tuple[Tensor, list[float]]:
    """Learn one vector.

    Args:
        model: the policy, frozen (:func:`concepts.methods.soft_prompts.tokens.frozen`).
        images: N pictures of the concept, RGB.
        targets: what is imitated; at least one.
        settings: how.
        seed: of the first vector, the order of pictures and the views.
        done: called with the loss of each step.

    Returns:
        (D,) float32 of length 1, and the losses.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(f"myvlm/{seed}")
    dim = decoder_of(model).get_input_embeddings().weight.shape[1]
    first = normalize(torch.rand(dim, generator=generator) * 2 - 1, dim=0)
    vector = first.to(model.device).requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [vector], lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    of_picture: dict[int, list[Target]] = {}
    for target in targets:
        of_picture.setdefault(target.picture, []).append(target)
    shown: dict[tuple[int, int], Image.Image] = {}
    order: list[int] = []
    losses: list[float] = []
    with frozen_features(model, processor), eager_attention(model):
        for _ in range(settings.steps):
            if len(order) < min(settings.batch_size, len(of_picture)):
                order += rng.sample(sorted(of_picture), len(of_picture))
            chosen, order = order[: settings.batch_size], order[settings.batch_size :]
            batch = []
            for i in chosen:
                key = i, rng.randrange(settings.views)
                if key not in shown:
                    shown[key] = view(images[i], key[1], settings.augmentation)
                batch.append((rng.choice(of_picture[i]), shown[key]))
            loss = _loss(model, processor, vector, batch, settings)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([vector], settings.clip)
            optimizer.step()
            losses.append(float(loss.detach()))
            done(losses[-1])
    return normalize(vector.detach().float().cpu(), dim=0), losses


def _loss(
    model: Any,
    processor: Any,
    vector: Tensor,
    batch: Sequence[tuple[Target, Image.Image]],
    settings: VectorSettings,
) -> Tensor:
    tokenizer = processor.tokenizer
    ends = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    answers = [[*tokenizer.encode(t.text, add_special_tokens=False), *ends] for t, _ in batch]
    longest = max(map(len, answers))
    texts = processor.apply_chat_template(
        [target.prompt for target, _ in batch], add_generation_prompt=True
    )
    watched: list = []
    watches = watched if settings.penalty else None
    with vectors_behind_image(model, processor, [vector[None]] * len(batch), watches) as placing:
        # The chat template has already written every special token.
        made = placing(
            text=texts,
            images=[[image] for _, image in batch],
            add_special_tokens=False,
            padding=True,
            return_tensors="pt",
        )
        inputs = {key: value.to(model.device) for key, value in made.items()}
        shape = inputs["input_ids"].shape
        for key in [key for key, value in inputs.items() if value.shape == shape]:
            of_answers = {"input_ids": answers, "attention_mask": [[1] * len(a) for a in answers]}
            parts = of_answers.get(key, [[0] * len(a) for a in answers])
            more = [pad(inputs[key].new_tensor(p), (0, longest - len(p))) for p in parts]
            inputs[key] = torch.cat([inputs[key], torch.stack(more)], dim=1)
        logits = model(**inputs, logits_to_keep=longest + 1).logits[:, -longest - 1 : -1].float()
    labels = torch.tensor([[*a, *[-100] * (longest - len(a))] for a in answers])
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten().to(logits.device))
    if settings.penalty:
        (attentions,) = watched
        assert placing.places is not None
        loss = loss + settings.penalty * attention_penalty(
            attentions, placing.places, inputs["attention_mask"], settings.penalty_on
        )
    return loss


@contextmanager
def frozen_features(model: Any, processor: Any):
    """Context in which each distinct picture goes through processor and tower once, where the
    policy's family allows it."""
    if unsupported_reason(model, processor) is not None:
        yield
        return
    cache = VisionFeatureCache(model, processor)
    try:
        with cache.image_ids():
            yield
    finally:
        cache.close()
