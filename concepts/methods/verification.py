"""Verify retrieved concepts: ask the policy whether each is really in the image.

Each candidate's image and the query are put to the policy as an object-consistency question, the
very task it is trained on, and its answer is read off the probabilities of the first token:
``p(yes) / (p(yes) + p(no))`` (R2P 2503.18623 verifies candidates so, one by one). Wrong references
are dropped before anything is written about them.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from concepts.database import Database
from concepts.retrieval import Found
from data_gen.images.features import PHOTO_PX
from data_gen.images.photos import PhotoError, open_photo
from data_gen.tasks.prompts import EXPLAINED, load_prompts
from data_gen.tasks.questions import Reference, object_consistency_row
from rl.policy.generation import complete, length_batches, row_size
from rl.policy.likelihood import yes_probabilities

REASON_TOKENS = 160
"""Where reasons are cut."""

_VERDICT = re.compile(r"\s?\b(?:yes|no)\b", re.IGNORECASE)


def presence_probabilities(
    model,
    processor,
    image: Image.Image,
    candidates: Sequence[tuple[str, Image.Image]],
    *,
    batch_size: int = 8,
) -> list[float]:
    """p(yes) / (p(yes) + p(no)) that each candidate (name, image) is in ``image``, 0-1."""
    rows = [presence_row(image, name, reference) for name, reference in candidates]
    return yes_probabilities(model, processor, rows, batch_size=batch_size)


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


def verify(
    model,
    processor,
    image: Image.Image,
    found: Sequence[Found],
    database: Database,
    *,
    threshold: float = 0.5,
    batch_size: int = 8,
) -> tuple[list[Found], list[Found]]:
    """Ask the policy about each retrieved concept, and drop those that it does not see.

    Names written in the question are asked about too: a user may ask for what is not there.

    Args:
        image: the query.
        found: from :meth:`concepts.retrieval.Retriever.retrieve`.
        database: where their images are.
        threshold: least p(yes) that keeps a concept.

    Returns:
        Kept and dropped, each with ``p_yes``. A concept whose image cannot be opened any more, or
        that has left the database, is dropped without having been asked about.
    """
    concepts = database.concepts()
    candidates, asked, gone = [], [], []
    for one in found:
        concept = concepts.get(one.name)
        try:
            if concept is None or not concept.images:
                raise PhotoError("no image")
            reference = open_photo(database.image_path(concept.images[0]), PHOTO_PX)
        except PhotoError:
            gone.append(one)
            continue
        candidates.append((one.name, reference))
        asked.append(one)
    probabilities = presence_probabilities(
        model, processor, image, candidates, batch_size=batch_size
    )
    answered = [replace(one, p_yes=p) for one, p in zip(asked, probabilities, strict=True)]
    return (
        [one for one in answered if one.p_yes >= threshold],
        [one for one in answered if one.p_yes < threshold] + gone,
    )
