"""Verify concepts: ask the policy whether each is really in the image.

Each candidate's image and the query are put to the policy as an object-consistency question, the
very task it is trained on, and its answer is read off the probabilities of the first token:
``p(yes) / (p(yes) + p(no))`` (:func:`rl.policy.likelihood.yes_probabilities`; R2P 2503.18623
verifies candidates so, one by one). :class:`concepts.methods.in_context.InContext` drops wrong
references so before anything is written about them.
"""

import random
import re
from collections.abc import Sequence

from PIL import Image

from data_gen.rows import OCT
from data_gen.tasks.prompts import EXPLAINED, conversation, load_prompts
from data_gen.tasks.questions import Reference, object_consistency_row
from rl.policy.generation import complete, length_batches, row_size
from rl.policy.likelihood import yes_probabilities

REASON_TOKENS = 160
"""Where reasons are cut."""

_VERDICT = re.compile(r"\s?\b(?:yes|no)\b", re.IGNORECASE)


def reasoned_probabilities(
    model, processor, rows: Sequence[dict], *, batch_size: int = 8
) -> list[float]:
    """p(yes) / (p(yes) + p(no)) of N rows at the place where the policy, after its reasons, wrote
    yes or no for the last time; where it wrote neither, behind what it wrote. 0-1."""
    begun = [""] * len(rows)
    for batch in length_batches([row_size(row) for row in rows], batch_size):
        texts = complete(model, processor, [rows[i] for i in batch], REASON_TOKENS)
        for i, (text, _) in zip(batch, texts, strict=True):
            verdicts = list(_VERDICT.finditer(text))
            begun[i] = text[: verdicts[-1].start()] if verdicts else f"{text} "
    return yes_probabilities(model, processor, rows, batch_size=batch_size, begun=begun)


def presence_question(name: str) -> str:
    """The words that ask for reasons before the answer whether the named concept is in an image."""
    turn = conversation(random.Random(0), OCT, [], [], load_prompts(EXPLAINED), about=name)[-1]
    return turn["content"][-1]["text"]


def presence_row(
    image: Image.Image,
    name: str,
    reference: Image.Image,
    info: str | None = None,
    *,
    reasons: bool = False,
) -> dict:
    """The object-consistency question whether the named concept, shown by ``reference``, is in
    ``image``; in the same words always, with ``info`` where it is given. With ``reasons`` it asks
    for them before the answer."""
    return object_consistency_row(
        random.Random(0),
        name,
        Reference(name, reference, info),
        image.convert("RGB"),
        same=True,
        source="verify",
        templates=load_prompts(EXPLAINED) if reasons else None,
    )
