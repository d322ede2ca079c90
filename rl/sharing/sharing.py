"""What a group's completions share, put together: pictures, prefill, and the loss's forward pass.

Each kind has a switch (``auto``, ``on``, ``off``), a reason where the model does not allow it, and
a check of itself on first use: the shared result is compared with the unshared one, and a mismatch
switches it off with a warning. ``auto`` further asks whether it pays (:mod:`rl.sharing.cost`).
"""

import warnings
from contextlib import ExitStack, contextmanager

import torch
from peft import PeftModel
from torch.nn.functional import pad

from rl.sharing import image_cache as vision_features
from rl.sharing import packed as shared_prompt
from rl.sharing.cost import (
    WORTH_IT,
    Chunk,
    chunks_of,
    groups_of,
    predicted_share,
    prices_of,
    split,
)
from rl.sharing.image_cache import PictureShelf
from rl.sharing.image_rows import pictures_of_rows, take_rows
from rl.sharing.packed import pack, prompt_positions
from rl.sharing.prefill import prompts_prefilled_once

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25, torch.float16: 0.1}
"""Largest difference of log-probabilities, in nats, that counts as rounding on first use."""

CHECKED = 8
"""Groups that are compared on first use."""

SWITCH = ("auto", "on", "off")


class Sharing:
    """Sharing for one trainer.

    Args:
        model: the policy as the trainer holds it.
        processor: its processor.
        prompt, vision: ``auto``, ``on`` (an error where it cannot be) or ``off``.
        drop_finished: let go of completions that have ended while others are drawn; needs
            ``prompt``.
        in_step: all processes must call the model equally often, as where its weights are
            gathered for each call. Rows of unlike lengths then stay together.
        most_tokens: a packed row has at most this many; larger groups are cut.

    Raises:
        ValueError: a switch that is none, or ``on`` for a model that does not allow it.
    """

    def __init__(self, model, processor, *, prompt="auto", vision="auto",
                 drop_finished=False, in_step=False, most_tokens=16384):
        self.most_tokens, self.in_step = most_tokens, in_step
        self.drop_finished = drop_finished and not in_step
        self.always = prompt == "on"
        self.checked = False
        self.reasons: dict[str, str] = {}
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.vision = self._allowed("share_vision", vision,
                                    lambda: vision_features.why_not(model, processor))
        self.prompt = self._allowed("share_prompt", prompt, lambda: shared_prompt.why_not(plain))
        self.shelf = PictureShelf(model, processor) if self.vision else None
        if self.prompt:
            self.prices = prices_of(plain.config)
            shared_prompt.use_shared_attention(plain)

    def __str__(self) -> str:
        """What is shared, and what is not and why, in one line."""
        shared = [name for name, on in (("prompts", self.prompt), ("pictures", self.vision)) if on]
        line = "shared in a group: " + (" and ".join(shared) or "nothing")
        return line + "".join(f"; {name} not: {why}" for name, why in self.reasons.items())

    def _allowed(self, name: str, switch: str, why_not) -> bool:
        if switch not in SWITCH:
            raise ValueError(f"{name} must be one of {', '.join(SWITCH)}, not {switch!r}")
        if switch == "off":
            return False
        if reason := why_not():
            if switch == "on":
                raise ValueError(f"{name} is on, but {reason}")
            self.reasons[name] = reason
        return name not in self.reasons

    def with_reference(self, reference) -> None:
        """Let a separate reference model take part."""
        if self.shelf:
            self.shelf.share_with(reference)
        if self.prompt:
            shared_prompt.use_shared_attention(reference)

    @contextmanager
    def generating(self, model, mode: str, *, fresh: bool):
        """Around a generation round: tickets for pictures, prompts prefilled once."""
        with ExitStack() as stack:
            if self.shelf:
                if fresh:
                    self.shelf.begin(mode)
                stack.enter_context(self.shelf.tickets())
            if self.prompt:
                stack.enter_context(prompts_prefilled_once(
                    model, drop_finished=self.drop_finished))
            yield

    def log_probabilities(self, model, usual, ids, mask, completion: int, fields: dict,
                          num_images: list[int] | None, rows: int, autocast, entropy: bool):
        """Per-token log-probabilities and entropies of completions, shared where it pays.

        Args:
            model: as it is called in training (it may be wrapped).
            usual: called with ``ids``, ``mask``, ``fields`` and ``num_images`` of some rows, gives
                their unshared result.
            ids, mask: (B, P + C).
            completion: C.
            fields: ``pixel_values``, ``image_grid_thw``, ``mm_token_type_ids``; no others.
            num_images: pictures per row.
            rows: completions in one forward pass, as in the unshared path.
            autocast: context manager of the forward pass.
            entropy: whether entropies are wanted.

        Returns:
            (B, C) log-probabilities, 0 in padding, and as many entropies or ``None``.
        """
        prompt = ids.size(1) - completion
        counts = num_images or [0] * ids.size(0)
        groups = groups_of(ids[:, :prompt], mask[:, :prompt], pictures_of_rows(fields, counts))
        groups = split(groups, prompt, completion + 1, self.most_tokens)
        first = [group[0] for group in groups]
        ends = mask[:, prompt:].sum(1).tolist()
        chunks = chunks_of(
            groups, mask[first, :prompt].sum(1).tolist(),
            [max(1, *(ends[row] for row in group)) for group in groups],
            rows, self.prices, even=self.in_step)
        if not self.always and predicted_share(
                chunks, prompt, completion, self.prices) > WORTH_IT:
            return usual(ids, mask, fields, num_images)
        parts = [
            self._packed(model, ids, mask, completion, chunk, fields, counts, autocast, entropy)
            for chunk in chunks
        ]
        taken = [row for chunk in chunks for group in chunk.groups for row in group]
        back = torch.tensor(taken, device=ids.device).argsort()
        logps, entropies = zip(*parts, strict=True)
        result = torch.cat(logps)[back], torch.cat(entropies)[back] if entropy else None
        if not self.checked:
            self.checked = True
            # One completion of each of a few groups: together they may be too many unshared.
            some = [group[n % len(group)] for n, group in enumerate(groups[:CHECKED])]
            taken = {**dict.fromkeys(fields), **take_rows(fields, some, counts)}
            with torch.no_grad():
                wanted, _ = usual(ids[some], mask[some], taken,
                                  num_images and [counts[row] for row in some])
            gap = ((result[0][some] - wanted) * mask[some, prompt:]).abs().max().item()
            if not gap <= self._tolerance(model, autocast):
                self.prompt = False
                self.reasons["share_prompt"] = f"first use differed by {gap:.2g} nats"
                warnings.warn(
                    f"share_prompt is switched off: its log-probabilities differ from the "
                    f"unshared ones by {gap:.2g} nats", stacklevel=2)
                return usual(ids, mask, fields, num_images)
        return result

    def _tolerance(self, model, autocast) -> float:
        parameter = next(model.parameters())
        kind = parameter.device.type
        with autocast():
            dtype = (torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind)
                     else parameter.dtype)
        return TOLERANCE.get(dtype, 1e-4)

    def _packed(self, model, ids, mask, completion, chunk: Chunk, fields, counts, autocast,
                entropy):
        """(rows of the chunk, C) each, from one pass over what of them is no padding."""
        prompt = ids.size(1) - completion
        first = [group[0] for group in chunk.groups]
        vision = take_rows(fields, first, counts)
        types = vision.pop("mm_token_type_ids", None)
        where = {key: vision[key] for key in ("image_grid_thw",) if key in vision}
        begin, end = prompt - chunk.prompt, prompt + chunk.completion
        if types is not None:
            where["mm_token_type_ids"] = types[:, begin:prompt]
        positions = prompt_positions(_body(model), ids[first, begin:prompt],
                                     mask[first, begin:prompt], **where)
        packed = pack(ids[:, begin:end], mask[:, begin:end], chunk.completion, chunk.groups,
                      positions)
        # Four dimensions: transformers hands the mask on as it is, and the layout rules.
        unused = ids.new_zeros((len(first), 1, 1, 1), dtype=torch.bool)
        with autocast():
            out = model(input_ids=packed.input_ids, attention_mask=unused,
                        position_ids=packed.position_ids, labels=packed.labels,
                        fused_lm_head=True, shared_prompt=packed.layout, **vision)
        behind = (0, completion - chunk.completion)
        logps, entropies = (
            pad(packed.unpack(values), behind) if values is not None else None
            for values in (out.log_probs, out.entropy if entropy else None))
        return logps, entropies


def _body(model):
    """The model inside whatever wraps it for distributed training and adapters."""
    while hasattr(model, "module"):
        model = model.module
    return (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
