"""Prompts as vLLM wants them: every image is one placeholder, which vLLM expands itself."""

from collections.abc import Sequence
from typing import Any


def unexpanded_ids(processor, prompt: list[dict], **template) -> list[int]:
    """Token ids of a conversation before the processor expands its image placeholders.

    The text of the chat template has one placeholder for each image, in every family; what becomes
    of it (a run of image tokens; for SmolVLM rows of tiles with marks between them) is the
    processor's matter, and vLLM has the same rules for a prompt in which it has not happened yet.

    Args:
        processor: of the policy.
        prompt: messages whose content parts are text or images.
        template: further arguments of the chat template.

    Returns:
        The ids. Special tokens are added as the processor itself adds them: only where the text
        does not begin with the tokenizer's first token already.
    """
    text = processor.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=False, **template
    )
    first = processor.tokenizer.bos_token
    return processor.tokenizer(
        text, add_special_tokens=first is None or not text.startswith(first)
    )["input_ids"]


def first_difference(wanted: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> str | None:
    """Where the token ids of two lists of prompts differ first, as part of a sentence, or ``None``
    where all are equal."""
    for row, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
        if list(ours) == list(theirs):
            continue
        if len(ours) != len(theirs):
            return f"prompt {row} has {len(ours)} tokens in the trainer and {len(theirs)} in vLLM"
        place = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b)
        return (
            f"token {place} of prompt {row} is {ours[place]} in the trainer and {theirs[place]} in "
            f"vLLM"
        )
    return None


def images_of(prompt: list[dict[str, Any]]) -> int:
    """Images in a conversation."""
    return sum(
        part["type"] == "image"
        for message in prompt
        if not isinstance(message["content"], str)
        for part in message["content"]
    )
