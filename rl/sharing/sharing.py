"""What the completions of a group share: image features, prefill, and the loss's forward pass.

Each kind has a switch (``auto``, ``on``, ``off``), a reason where the model does not support it,
and a check on first use: the shared result is compared with the unshared one, and a mismatch
switches sharing off with a warning. ``auto`` also asks whether it pays (:mod:`rl.sharing.cost`).
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from peft import PeftModel
from torch.nn.functional import pad

from data_gen.files.errors import InputError
from rl.sharing import image_cache, packed
from rl.sharing.cost import (
    MAX_COST_RATIO,
    ForwardPass,
    groups_of,
    plan_passes,
    predicted_ratio,
    prices_of,
    split_groups,
)
from rl.sharing.dropout import without_dropout
from rl.sharing.image_cache import VisionFeatureCache
from rl.sharing.image_rows import images_of_rows, take_rows
from rl.sharing.packed import pack, prompt_positions
from rl.sharing.prefill import prompts_prefilled_once

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.25, torch.float16: 0.1}
"""Largest difference of log-probabilities, in nats, that counts as rounding in the check."""

CHECKED = 8
"""Number of groups that the check on first use compares."""

SWITCH = ("auto", "on", "off")


class Sharing:
    """Sharing for one trainer.

    Args:
        model: the policy as the trainer holds it.
        processor: its processor.
        prompt, vision: ``auto``, ``on`` (an error where the model does not support it) or ``off``.
        drop_finished: remove completions that have ended from the batch while others are sampled;
            needs ``prompt``.
        fast_sampling: on a CPU, draw each token with one random number
            (:mod:`rl.sharing.sampling`); needs ``prompt``.
        dropout: LoRA's dropout is drawn once for the tokens of a prompt
            (:mod:`rl.sharing.dropout`); without it, prompts are not shared under dropout.
        in_step: ranks must run equally many forwards (ZeRO-3, FSDP). Groups are then not sorted by
            length into passes, and ``drop_finished`` is off.
        most_tokens: a packed row has at most this many; larger groups are split.

    Attributes:
        reasons: switch -> why it is off although it was not set to ``off``.
        checked: whether the check on first use was made.

    Raises:
        InputError: an unknown value of a switch, or ``on`` for a model that does not support it.
    """

    def __init__(
        self,
        model,
        processor,
        *,
        prompt="auto",
        vision="auto",
        drop_finished=False,
        fast_sampling=False,
        dropout=True,
        in_step=False,
        most_tokens=16384,
    ):
        self.most_tokens, self.in_step = most_tokens, in_step
        self.drop_finished, self.fast_sampling = drop_finished and not in_step, fast_sampling
        self.always = prompt == "on"
        self.checked = False
        self.reasons: dict[str, str] = {}
        plain = model.get_base_model() if isinstance(model, PeftModel) else model
        self.vision = self._allowed(
            "share_vision", vision, lambda: image_cache.unsupported_reason(model, processor)
        )
        self.prompt = self._allowed(
            "share_prompt", prompt, lambda: packed.unsupported_reason(plain, dropout=dropout)
        )
        self.image_cache = VisionFeatureCache(model, processor) if self.vision else None
        if self.prompt:
            self.prices = prices_of(plain.config)
            packed.use_shared_attention(plain)

    def __str__(self) -> str:
        """What is shared, and what is not and why, in one line."""
        shared = [name for name, on in (("prompts", self.prompt), ("images", self.vision)) if on]
        line = "shared in a group: " + (" and ".join(shared) or "nothing")
        return line + "".join(f"; {name} not: {why}" for name, why in self.reasons.items())

    def _allowed(self, name: str, switch: str, unsupported: Callable[[], str | None]) -> bool:
        if switch not in SWITCH:
            raise InputError(f"{name} must be one of {', '.join(SWITCH)}, not {switch!r}")
        if switch == "off":
            return False
        if reason := unsupported():
            if switch == "on":
                raise InputError(f"{name} is on, but {reason}")
            self.reasons[name] = reason
        return name not in self.reasons

    def with_reference(self, reference) -> None:
        """Share for a separate reference model, too."""
        if self.image_cache:
            self.image_cache.share_with(reference)
        if self.prompt:
            packed.use_shared_attention(reference)

    @contextmanager
    def generating(self, model, mode: str, *, fresh: bool) -> Iterator[None]:
        """Context of a generation round: images are processed and prompts prefilled once.

        Args:
            model: the policy, without wrappers.
            mode: ``train`` or ``eval``.
            fresh: whether a new generation batch starts, so that cached images can go.
        """
        with ExitStack() as stack:
            if self.image_cache:
                if fresh:
                    self.image_cache.begin(mode)
                stack.enter_context(self.image_cache.image_ids())
            if self.prompt:
                stack.enter_context(
                    prompts_prefilled_once(
                        model, drop_finished=self.drop_finished, fast_sampling=self.fast_sampling
                    )
                )
            yield

    def log_probabilities(
        self,
        model,
        usual,
        ids,
        mask,
        completion: int,
        fields: dict,
        num_images: list[int] | None,
        rows: int,
        autocast,
        entropy: bool,
    ):
        """Per-token log-probabilities and entropies of completions, shared where it pays.

        Args:
            model: as it is called in training (it may be wrapped).
            usual: the unshared computation, called with ``ids``, ``mask``, ``fields`` and
                ``num_images`` of some rows.
            ids, mask: (B, P + C).
            completion: C.
            fields: ``pixel_values``, ``image_grid_thw``, ``mm_token_type_ids``; no others.
            num_images: images per row.
            rows: completions in one forward pass, at most, as in the unshared computation.
            autocast: context manager of the forward pass.
            entropy: whether to compute entropies.

        Returns:
            (B, C) log-probabilities, 0 in padding, and as many entropies or ``None``.
        """
        prompt = ids.size(1) - completion
        counts = num_images or [0] * ids.size(0)
        groups = groups_of(ids[:, :prompt], mask[:, :prompt], images_of_rows(fields, counts))
        groups = split_groups(groups, prompt, completion + 1, self.most_tokens)
        first = [group[0] for group in groups]
        ends = mask[:, prompt:].sum(1).tolist()
        passes = plan_passes(
            groups,
            mask[first, :prompt].sum(1).tolist(),
            [max(1, *(ends[row] for row in group)) for group in groups],
            rows,
            self.prices,
            even=self.in_step,
        )
        if (
            not self.always
            and predicted_ratio(passes, prompt, completion, self.prices) > MAX_COST_RATIO
        ):
            return usual(ids, mask, fields, num_images)
        taken = [row for each in passes for group in each.groups for row in group]
        back = torch.tensor(taken, device=ids.device).argsort()

        def shared():
            parts = [
                self._packed(model, ids, mask, completion, each, fields, counts, autocast, entropy)
                for each in passes
            ]
            logps, entropies = zip(*parts, strict=True)
            return torch.cat(logps)[back], torch.cat(entropies)[back] if entropy else None

        result = shared()
        if not self.checked:
            self.checked = True
            # One completion of each of a few groups, because all of them may not fit unshared.
            some = [group[n % len(group)] for n, group in enumerate(groups[:CHECKED])]
            of_some = {**dict.fromkeys(fields), **take_rows(fields, some, counts)}
            with torch.no_grad(), without_dropout(model) as drew:
                found = (shared() if drew else result)[0][some]
                wanted, _ = usual(
                    ids[some], mask[some], of_some, num_images and [counts[row] for row in some]
                )
            gap = ((found - wanted) * mask[some, prompt:]).abs().max().item()
            if not gap <= self._tolerance(model, autocast):
                self.prompt = False
                self.reasons["share_prompt"] = f"first use differed by {gap:.2g} nats"
                warnings.warn(
                    f"share_prompt is switched off: its log-probabilities differ from the "
                    f"unshared ones by {gap:.2g} nats",
                    stacklevel=2,
                )
                return usual(ids, mask, fields, num_images)
        return result

    def _tolerance(self, model, autocast) -> float:
        parameter = next(model.parameters())
        kind = parameter.device.type
        with autocast():
            dtype = (
                torch.get_autocast_dtype(kind)
                if torch.is_autocast_enabled(kind)
                else parameter.dtype
            )
        return TOLERANCE.get(dtype, 1e-4)

    def _packed(
        self,
        model,
        ids,
        mask,
        completion: int,
        chosen: ForwardPass,
        fields: dict,
        counts: list[int],
        autocast,
        entropy: bool,
    ):
        """(rows of the pass, C) log-probabilities and entropies, from one packed forward pass."""
        prompt = ids.size(1) - completion
        first = [group[0] for group in chosen.groups]
        vision = take_rows(fields, first, counts)
        types = vision.pop("mm_token_type_ids", None)
        where = {key: vision[key] for key in ("image_grid_thw",) if key in vision}
        begin, end = prompt - chosen.prompt, prompt + chosen.completion
        if types is not None:
            where["mm_token_type_ids"] = types[:, begin:prompt]
        positions = prompt_positions(
            _body(model), ids[first, begin:prompt], mask[first, begin:prompt], **where
        )
        rows = pack(
            ids[:, begin:end], mask[:, begin:end], chosen.completion, chosen.groups, positions
        )
        # transformers passes a mask of four dimensions on as it is; attention uses the layout.
        unused = ids.new_zeros((len(first), 1, 1, 1), dtype=torch.bool)
        with autocast():
            out = model(
                input_ids=rows.input_ids,
                attention_mask=unused,
                position_ids=rows.position_ids,
                labels=rows.labels,
                fused_lm_head=True,
                shared_prompt=rows.layout,
                **vision,
            )
        after = (0, completion - chosen.completion)
        logps, entropies = (
            pad(rows.unpack(values), after) if values is not None else None
            for values in (out.log_probs, out.entropy if entropy else None)
        )
        return logps, entropies


def _body(model):
    """The model's body, without the wrappers of distributed training and adapters."""
    while hasattr(model, "module"):
        model = model.module
    return (model.get_base_model() if isinstance(model, PeftModel) else model).base_model
