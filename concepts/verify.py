"""The policy's own word on what was found: is this thing really in the picture?

Each candidate's first picture and the query are put to the policy as an object-consistency
question, the very task it is trained on, and its answer is read off the probabilities of the first
token: ``p(yes) / (p(yes) + p(no))`` (R2P 2503.18623 verifies candidates so, one by one). Wrong
references are dropped before anything is written about them.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image

from concepts.database import Database
from concepts.features import PHOTO_PX
from concepts.retrieval import Found
from data_gen.photos import PhotoError, open_photo
from data_gen.tasks import Reference, object_consistency_row


@torch.inference_mode()
def yes_probabilities(model, processor, rows: Sequence[dict], *, batch_size: int = 8
                      ) -> list[float]:
    """p(yes) / (p(yes) + p(no)) of N yes-or-no questions.

    Args:
        model: any image-text-to-text model; runs on the device where its weights are.
        processor: its processor, padding on the left.
        rows: with ``prompt`` and decoded ``images``, as in the row contract.
        batch_size: rows per call of the model.

    Returns:
        N numbers in 0-1. Case and a blank before the word make no difference: their probabilities
        are added up.

    Raises:
        ValueError: the tokenizer begins yes and no with the same token.
    """
    yes, no = answer_tokens(processor.tokenizer)
    model.eval()
    found = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        prompts = processor.apply_chat_template([row["prompt"] for row in batch],
                                                add_generation_prompt=True)
        inputs = processor(text=prompts, images=[row["images"] for row in batch], padding=True,
                           add_special_tokens=False, return_tensors="pt").to(model.device)
        # One step of generate, and not a forward pass: it makes only the last token's logits.
        out = model.generate(**inputs, max_new_tokens=1, do_sample=False, output_logits=True,
                             return_dict_in_generate=True)
        logits = out.logits[0].float()  # (B, V), before any setting bars a token
        odds = logits[:, yes].logsumexp(1) - logits[:, no].logsumexp(1)
        found += odds.sigmoid().tolist()
    return found


def answer_tokens(tokenizer) -> tuple[list[int], list[int]]:
    """Ids of the tokens that say yes, and of those that say no.

    The spellings ``yes``, ``Yes``, ``YES``, with and without a blank before, as far as they are one
    token; where none of them is, the first tokens of all.

    Raises:
        ValueError: nothing tells the two apart.
    """
    def ids(word: str) -> set[int]:
        spelt = [tokenizer.encode(blank + form, add_special_tokens=False)
                 for blank in ("", " ") for form in (word, word.capitalize(), word.upper())]
        whole = {tokens[0] for tokens in spelt if len(tokens) == 1}
        return whole or {tokens[0] for tokens in spelt if tokens}

    yes, no = ids("yes"), ids("no")
    if not yes - no or not no - yes:
        raise ValueError("this tokenizer begins 'yes' and 'no' with the same token; their "
                         "probabilities cannot be read off the first one")
    return sorted(yes - no), sorted(no - yes)


def verify(
    model, processor, image: Image.Image, found: Sequence[Found], database: Database, *,
    threshold: float = 0.5, batch_size: int = 8,
) -> tuple[list[Found], list[Found]]:
    """Ask the policy about each concept found, and drop those it does not see.

    Names written in the question are asked about too: a user may ask for what is not there.

    Args:
        image: the query.
        found: from :meth:`concepts.retrieval.Retriever.retrieve`.
        database: where their pictures are.
        threshold: least p(yes) that keeps a concept.

    Returns:
        Kept and dropped, each with ``p_yes``. A concept whose picture cannot be opened any more,
        or that has left the database, is dropped without having been asked about.
    """
    concepts = database.concepts()
    rows, asked, gone = [], [], []
    for one in found:
        concept = concepts.get(one.name)
        try:
            if concept is None or not concept.images:
                raise PhotoError("no picture")
            picture = open_photo(database.picture(concept.images[0]), PHOTO_PX)
        except PhotoError:
            gone.append(one)
            continue
        # The wording is drawn with a fixed seed: the same question always.
        rows.append(object_consistency_row(random.Random(0), one.name, Reference(picture, one.name),
                                           image.convert("RGB"), same=True, source="verify"))
        asked.append(one)
    sure = yes_probabilities(model, processor, rows, batch_size=batch_size)
    told = [replace(one, p_yes=p) for one, p in zip(asked, sure, strict=True)]
    return ([one for one in told if one.p_yes >= threshold],
            [one for one in told if one.p_yes < threshold] + gone)
