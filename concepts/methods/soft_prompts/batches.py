"""Training examples as batches, with all that does not depend on the learned vectors kept.

A picture goes through the frozen tower once. What stands before the first learned token, the
picture among it, goes through the decoder once: later calls begin from its keys and values, so that
an optimizer step computes the personal prompt, the question and the answer alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from concepts.methods.soft_prompts.examples import Example
from concepts.methods.soft_prompts.tokens import SoftTokens
from rl.sharing import packed
from rl.sharing.image_cache import VisionFeatureCache, unsupported_reason

KEPT_BYTES = 2_000_000_000
"""Most memory for keys and values that are kept; what does not fit is computed anew each time."""

KeysValues = list[tuple[Tensor, Tensor]]
"""Of each layer, (1, heads, tokens, D)."""


@dataclass(frozen=True)
class Prompt:
    """One prompt as the policy reads it.

    Attributes:
        tensors: the processor's; those of its L tokens are (1, L).
        positions: (axes, L), as the policy counts them.
        first: place of the first learned token; 0 where what comes before it is not kept.
        key: equal for prompts that are equal up to there.
    """

    tensors: dict[str, Tensor]
    positions: Tensor
    first: int
    key: tuple


class Batches:
    """Reads examples and gives the logits of their answers.

    Args:
        model: the policy, frozen.
        tokens: the learned tokens.
        images: N opened pictures.
        keep: whether keys and values are kept, where the policy's attention allows it.
    """

    def __init__(
        self, model, tokens: SoftTokens, images: Sequence[Image.Image], *, keep: bool = True
    ):
        self.model, self.processor, self.images = model, tokens.processor, images
        self.plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self.caches_features = unsupported_reason(model, self.processor) is None
        self.keeps = keep and self.caches_features and packed.unsupported_reason(self.plain) is None
        self._learned = torch.tensor([i for of in tokens.ids for i in of])
        tokenizer = self.processor.tokenizer
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        self._prompts: dict[tuple[int, bool], Prompt] = {}
        self._kept: dict[tuple, KeysValues] = {}
        self._bytes = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Context in which features, keys and values are kept."""
        if not self.caches_features:
            yield
            return
        cache = VisionFeatureCache(self.model, self.processor)
        try:
            with cache.image_ids():
                yield
        finally:
            cache.close()
            self._prompts.clear()
            self._kept.clear()
            self._bytes = 0

    def logits(
        self, examples: Sequence[tuple[Example, bool]], answers: Sequence[Sequence[int]]
    ) -> Tensor:
        """Logits of B answers, inside :meth:`SoftTokens.in_model`.

        Args:
            examples: with whether its picture is mirrored.
            answers: token ids of each; may be empty.

        Returns:
            (B, C + 1, V) float32: for each of the C tokens of the longest answer, which are padded
            on the right, and for the token after it.
        """
        prompts = [self._prompt(example, flipped) for example, flipped in examples]
        longest, device = max(map(len, answers)), self.model.device
        if self.keeps and all(prompt.first for prompt in prompts):
            inputs = self._after_prefixes(prompts, answers)
        else:
            inputs = collate([prompt.tensors for prompt in prompts], answers, self._pad)
        moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
        out = self.model(**moved, logits_to_keep=longest + 1)
        return out.logits[:, -longest - 1 :].float()

    def _prompt(self, example: Example, flipped: bool) -> Prompt:
        key = id(example), flipped
        if key in self._prompts:
            return self._prompts[key]
        text = self.processor.apply_chat_template([example.prompt], add_generation_prompt=True)
        images = None
        if example.picture is not None:
            image = self.images[example.picture]
            images = [[ImageOps.mirror(image) if flipped else image]]
        # The chat template has already written every special token.
        tensors = dict(
            self.processor(text=text, images=images, add_special_tokens=False, return_tensors="pt")
        )
        ids, first, positions = tensors["input_ids"], 0, torch.zeros(1, 0)
        if self.keeps:
            first = self._first_learned(ids[0])
            positions = self._positions(tensors)
        kept = example.picture, flipped, tuple(ids[0, :first].tolist())
        made = Prompt(tensors, positions, first, kept)
        if self.caches_features:  # ids stand in place of pixels: small enough to keep
            self._prompts[key] = made
        return made

    def _first_learned(self, ids: Tensor) -> int:
        """Place of the first learned token of (L,) ids; 0 where a picture follows it."""
        learned = torch.isin(ids, self._learned).nonzero()
        pictures = (ids == self.plain.config.image_token_id).nonzero()
        if not len(learned) or (len(pictures) and pictures[-1] > learned[0]):
            return 0
        return int(learned[0])

    def _positions(self, tensors: dict[str, Tensor]) -> Tensor:
        vision = {
            key: tensors[key] for key in ("image_grid_thw", "mm_token_type_ids") if key in tensors
        }
        found = packed.prompt_positions(
            self.plain.base_model, tensors["input_ids"], tensors["attention_mask"], **vision
        )
        return found.reshape(-1, found.size(-1))

    def _after_prefixes(self, prompts: list[Prompt], answers: Sequence[Sequence[int]]) -> dict:
        """What the model is called with to go on from the prompts' prefixes."""
        prefixes = self._prefixes(prompts)
        before = max(prompt.first for prompt in prompts)
        cache = DynamicCache(config=self.plain.config.get_text_config())
        for layer in range(len(prefixes[0])):
            parts = []
            for both in zip(*(of[layer] for of in prefixes), strict=True):  # keys, then values
                padded = [functional.pad(x, (0, 0, before - x.size(2), 0)) for x in both]
                parts.append(torch.cat(padded))
            cache.update(parts[0], parts[1], layer)
        rest = [
            {key: prompt.tensors[key][:, prompt.first :] for key in ("input_ids", "attention_mask")}
            for prompt in prompts
        ]
        inputs = collate(rest, answers, self._pad)
        width = inputs["input_ids"].size(1)
        longest = max(map(len, answers))
        positions = torch.stack(
            [_continued(prompt.positions[:, prompt.first :], width, longest) for prompt in prompts],
            dim=1,
        )  # (axes, B, width)
        known = torch.tensor([[0] * (before - p.first) + [1] * p.first for p in prompts])
        return {
            "input_ids": inputs["input_ids"],
            "attention_mask": torch.cat([known, inputs["attention_mask"]], dim=1),
            "position_ids": positions[0] if positions.size(0) == 1 else positions,
            "past_key_values": cache,
        }

    def _prefixes(self, prompts: list[Prompt]) -> list[KeysValues]:
        """Keys and values of each prompt's prefix; new ones of equal length are computed
        together."""
        found = {prompt.key: self._kept.get(prompt.key) for prompt in prompts}
        new = {prompt.key: prompt for prompt in prompts if found[prompt.key] is None}
        by_length: dict[tuple, list[Prompt]] = {}
        for prompt in new.values():
            shape = prompt.first, *(sorted(prompt.tensors))
            by_length.setdefault(shape, []).append(prompt)
        for of in by_length.values():
            for prompt, made in zip(of, self._computed(of), strict=True):
                found[prompt.key] = made
                size = sum(x.numel() * x.element_size() for layer in made for x in layer)
                if self._bytes + size <= KEPT_BYTES:
                    self._kept[prompt.key] = made
                    self._bytes += size
        return [found[prompt.key] or [] for prompt in prompts]

    @torch.no_grad()
    def _computed(self, prompts: list[Prompt]) -> list[KeysValues]:
        cut = [
            {
                key: value[:, : prompt.first]
                if value.shape == prompt.tensors["input_ids"].shape
                else value
                for key, value in prompt.tensors.items()
            }
            for prompt in prompts
        ]
        inputs = {key: torch.cat([of[key] for of in cut]).to(self.model.device) for key in cut[0]}
        positions = torch.stack([p.positions[:, : p.first] for p in prompts], dim=1)
        inputs["position_ids"] = (positions[0] if len(positions) == 1 else positions).to(
            self.model.device
        )
        cache = DynamicCache(config=self.plain.config.get_text_config())
        self.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        layers: list[Any] = [*cache.layers]
        return [
            [(layer.keys[i : i + 1].clone(), layer.values[i : i + 1].clone()) for layer in layers]
            for i in range(len(prompts))
        ]


def collate(
    prompts: Sequence[dict[str, Tensor]], answers: Sequence[Sequence[int]], pad: int
) -> dict[str, Tensor]:
    """One batch of B prompts, padded on the left, with their answers, padded on the right.

    Args:
        prompts: the processor's tensors of each; with pictures or without.
        answers: token ids of each; may be empty.
        pad: id of the padding token.

    Returns:
        What the model is called with, its tokens (B, P + C).
    """
    width = max(prompt["input_ids"].size(1) for prompt in prompts)
    longest = max(map(len, answers))
    inputs: dict[str, Tensor] = {}
    for key in dict.fromkeys(key for prompt in prompts for key in prompt):
        rows = [prompt.get(key, torch.zeros_like(prompt["input_ids"])) for prompt in prompts]
        if any(a.shape != b["input_ids"].shape for a, b in zip(rows, prompts, strict=True)):
            inputs[key] = torch.cat([prompt[key] for prompt in prompts if key in prompt])
            continue
        fill = pad if key == "input_ids" else 0
        ends = {"input_ids": answers, "attention_mask": [[1] * len(a) for a in answers]}.get(
            key, [[0] * len(a) for a in answers]
        )
        inputs[key] = torch.stack(
            [
                torch.cat(
                    [
                        functional.pad(row[0], (width - row.size(1), 0), value=fill),
                        functional.pad(row.new_tensor(end), (0, longest - len(end)), value=fill),
                    ]
                )
                for row, end in zip(rows, map(list, ends), strict=True)
            ]
        )
    return inputs


def _continued(positions: Tensor, width: int, longest: int) -> Tensor:
    """(axes, S) positions of a prompt, padded on the left, and ``longest`` that follow: (axes,
    width)."""
    after = positions[:, -1:].max() + 1 + torch.arange(longest, device=positions.device)
    whole = torch.cat([positions, after.expand(positions.size(0), -1)], dim=1)
    return functional.pad(whole, (width - whole.size(1), 0))
