"""Generation that encodes each distinct prompt once.

First the distinct prompts of the batch go through the model, all but their last token. Then
transformers' own ``generate``, with all its sampling options, continues from a cache in which the
completions of a group share their prompt (:mod:`rl.sharing.decode`).
"""

from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import Cache, DynamicCache

from rl.sharing.cost import groups_of
from rl.sharing.decode import SharedPromptCache
from rl.sharing.early_stop import generate_with_early_stop, unsupported_reason
from rl.sharing.image_rows import images_of_rows, images_per_row, take_rows
from rl.sharing.packed import prompt_positions, use_shared_attention
from rl.sharing.sampling import sample

IMAGE_FIELDS = ("pixel_values", "image_grid_thw", "mm_token_type_ids")

COPIED = 1000
"""Where sharing would save fewer prompt tokens than this, prompts are copied for each row instead:
attention in two parts then costs more per sampled token than reading the copies."""


@contextmanager
def prompts_prefilled_once(model, *, drop_finished: bool = False, fast_sampling: bool = False):
    """Context in which ``model.generate`` prefills each distinct prompt once.

    A batch in which every prompt is different goes to the plain ``generate``; so do beam search and
    several returned sequences, which create rows of their own.

    Args:
        model: the policy; adapters may wrap it.
        drop_finished: remove sequences that have ended, where the options allow it
            (:mod:`rl.sharing.early_stop`).
        fast_sampling: on a CPU, draw tokens with one random number each
            (:mod:`rl.sharing.sampling`).

    Without these two, samples equal those of the plain ``generate``.
    """
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    usual = sampling = plain.generate
    if fast_sampling and plain.device.type == "cpu":
        sampling = partial(usual, custom_generate=sample)
    use_shared_attention(plain)

    def generate(
        input_ids,
        attention_mask,
        generation_config: Any = None,
        logits_processor: Any = None,
        **fields,
    ):
        if not set(fields) <= set(IMAGE_FIELDS) or _more_rows(generation_config):
            return usual(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=generation_config,
                logits_processor=logits_processor,
                **fields,
            )
        groups = groups_of(
            input_ids,
            attention_mask,
            images_of_rows(fields, images_per_row(input_ids, fields, plain.config)),
        )
        if len(groups) == input_ids.size(0):
            return sampling(
                input_ids=input_ids,
                attention_mask=attention_mask,
                generation_config=generation_config,
                logits_processor=logits_processor,
                **fields,
            )
        cache = _prefill(plain, groups, input_ids, attention_mask, fields)
        if drop_finished and not unsupported_reason(generation_config):
            return generate_with_early_stop(
                sampling,
                plain,
                cache,
                input_ids,
                attention_mask,
                generation_config,
                logits_processor,
            )
        return sampling(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            generation_config=generation_config,
            logits_processor=logits_processor,
        )

    plain.generate = generate
    try:
        yield
    finally:
        del plain.generate


def _more_rows(config) -> bool:
    """Whether ``generate`` returns or keeps several sequences per row."""
    return config is None or (config.num_beams or 1) > 1 or (config.num_return_sequences or 1) > 1


def _prefill(model, groups, input_ids, attention_mask, fields) -> Cache:
    """Keys and values of all prompt tokens but the last, shared by the rows of each group, or
    copied for each row where there are few (:data:`COPIED`)."""
    first = [group[0] for group in groups]
    repeats = torch.tensor(
        [n for n, group in enumerate(groups) for _ in group], device=input_ids.device
    )
    vision = take_rows(fields, first, images_per_row(input_ids, fields, model.config))
    ids, mask = input_ids[first], attention_mask[first]
    positions = prompt_positions(
        model.base_model,
        ids,
        mask,
        **{key: vision[key] for key in ("image_grid_thw", "mm_token_type_ids") if key in vision},
    )
    if "mm_token_type_ids" in vision:
        vision["mm_token_type_ids"] = vision["mm_token_type_ids"][:, :-1]
    cache = DynamicCache(config=model.config.get_text_config())
    with torch.no_grad():
        model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=positions[..., :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **vision,
        )
    if positions.ndim == 3:  # mRoPE: offset of positions from token counts, from the last one on
        deltas = positions[0, :, -1] - (mask.sum(-1) - 1)
        model.base_model.rope_deltas = deltas[repeats, None]
    if (len(repeats) - len(first)) * ids.size(1) < COPIED:
        cache.batch_select_indices(repeats)
        return cache
    return SharedPromptCache(cache, mask[:, :-1], repeats)
