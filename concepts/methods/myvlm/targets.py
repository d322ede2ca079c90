"""What a concept's vectors are learned from: captions with its name, and questions with answers.

Captions are the owner's, where the folder of a photo holds ``captions.json`` (MyVLM's format:
``{"1.jpg": ["sks on a table", ...]}``, the concept being ``sks`` or its tag); otherwise the policy
describes each photo, having been shown another one with the name. A caption without the name is
sampled anew, :data:`TRIES` times; where none has it, the name is put behind the first mention of
the category. The request says whom the picture shows, in training and when it is asked, as the
released recipe's "caption this image of <sks>" does.

Answers to the ten questions of :mod:`concepts.methods.myvlm.questions` are the policy's own (MyVLM
2403.14599, Table 3), asked with the category in place of the name.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from concepts.concept import Concept, tag_of
from data_gen.files.errors import InputError
from data_gen.rows import ICT
from data_gen.tasks.prompts import conversation
from rewards.names import names_written
from rewards.parsing import answer_part
from rl.policy.generation import complete, generate

CAPTIONS = "captions.json"

CAPTION_TOKENS, ANSWER_TOKENS = 96, 48
"""Where the policy's captions and answers are cut."""

TRIES = 3
"""How often a caption without the name is sampled."""


@dataclass(frozen=True)
class Target:
    """A request about a picture, and what is imitated.

    Attributes:
        picture: place of the picture among the concept's.
        prompt: conversation with a placeholder for it.
        text: the completion.
    """

    picture: int
    prompt: list[dict]
    text: str


def caption_targets(
    model: Any,
    processor: Any,
    concept: Concept,
    files: Sequence[Path],
    images: Sequence[Image.Image],
    each: int,
    batch_size: int,
) -> list[Target]:
    """``each`` captions of every picture, with the name; fewer where fewer differ.

    Args:
        files, images: the concept's pictures, as files and opened.
        each: captions per picture; the requests differ in their words, and the policy's captions
            with them, which takes the place of MyVLM's rewriting by a larger model.
        batch_size: pictures per call of the model.
    """
    requests = caption_requests(each, concept.name)
    found: list[Target] = []
    asked: list[tuple[int, int]] = []
    for i, file in enumerate(files):
        own = owners_captions(file, concept.name)
        if own:
            found += [
                Target(i, requests[k % len(requests)], own[k % len(own)])
                for k in range(max(each, len(own)))
            ]
        else:
            asked += [(i, k) for k in range(len(requests))]
    rows = [_introduced(concept, images[(i + 1) % len(images)], images[i], k) for i, k in asked]
    texts = _naming(model, processor, rows, concept.name, batch_size)
    for (i, k), text in zip(asked, texts, strict=True):
        found.append(Target(i, requests[k], with_name(whole_sentences(text), concept)))
    return found


def _naming(
    model: Any, processor: Any, rows: Sequence[dict], name: str, batch_size: int
) -> list[str]:
    """Captions of N rows: greedy ones, and in place of those without the name the first sampled one
    that has it, if any has."""
    if not rows:
        return []
    greedy = generate(model, processor, rows, max_new_tokens=CAPTION_TOKENS, batch_size=batch_size)
    texts = [answer_part(text) for text, _ in greedy]
    for seed in range(TRIES):
        left = [i for i, text in enumerate(texts) if not names_written(text, [name])]
        for k in range(0, len(left), batch_size):
            batch = left[k : k + batch_size]
            asked = [rows[i] for i in batch]
            sampled = complete(model, processor, asked, CAPTION_TOKENS, temperature=1.0, seed=seed)
            for i, (text, _) in zip(batch, sampled, strict=True):
                said = answer_part(text)
                texts[i] = said if names_written(whole_sentences(said), [name]) else texts[i]
    return texts


def caption_requests(n: int, name: str) -> list[list[dict]]:
    """``n`` requests for a caption of a picture of a concept, in different words as far as there
    are any."""
    found: list[list[dict]] = []
    rng = random.Random(0)
    for _ in range(20 * n):
        request = saying_who(conversation(rng, ICT, [], []), [name])
        if request not in found:
            found.append(request)
        if len(found) == n:
            break
    return found


def saying_who(prompt: list[dict], names: Sequence[str]) -> list[dict]:
    """A conversation whose last turn says, before its last words, whom its picture shows."""
    if not names:
        return prompt
    *first, last = [tag_of(name) for name in names]
    who = f"{', '.join(first)} and {last}" if first else last
    *parts, words = prompt[-1]["content"]
    told = {**words, "text": f"This picture shows {who}. {words['text']}"}
    return [*prompt[:-1], {**prompt[-1], "content": [*parts, told]}]


def owners_captions(file: Path, name: str) -> list[str]:
    """The captions of a photo in its folder's ``captions.json`` that name the concept.

    Raises:
        InputError: the file is there and cannot be read, or is none of captions.
    """
    place = file.parent / CAPTIONS
    if not place.is_file():
        return []
    try:
        read = json.loads(place.read_bytes())
        own = read.get(file.name, [])
        texts = [own] if isinstance(own, str) else list(own)
        named = [re.sub(r"<sks>|\bsks\b", lambda _: tag_of(name), text) for text in texts]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(
            f"{place} cannot be read as captions ({error}); it should be "
            '{"photo.jpg": ["a caption with sks"]}'
        ) from None
    return [text for text in named if names_written(text, [name])]


def question_targets(
    model: Any,
    processor: Any,
    concept: Concept,
    images: Sequence[Image.Image],
    questions: Sequence[str],
    batch_size: int,
) -> list[Target]:
    """Questions of every picture with the policy's own answers.

    Args:
        questions: with ``{name}`` for the concept.
    """
    tag, kind = tag_of(concept.name), f"the {concept.category or 'subject'}"
    kinds = re.compile(re.escape(kind), re.IGNORECASE)
    pairs = [(i, question) for i in range(len(images)) for question in questions]
    rows = [
        {"prompt": _ask(question.format(name=kind)), "images": [images[i]]} for i, question in pairs
    ]
    answers = generate(model, processor, rows, max_new_tokens=ANSWER_TOKENS, batch_size=batch_size)
    return [
        Target(i, _ask(question.format(name=tag)), kinds.sub(lambda _: tag, said))
        for (i, question), (text, _) in zip(pairs, answers, strict=True)
        if (said := answer_part(text)).strip()
    ]


def with_name(caption: str, concept: Concept) -> str:
    """A caption that names the concept, behind the first mention of its category; in a sentence of
    its own before it where the category is not mentioned."""
    tag = tag_of(concept.name)
    if names_written(caption, [concept.name]):
        return caption
    words = re.escape(concept.category.strip())
    match = re.search(rf"\b{words}\b", caption, re.IGNORECASE) if words else None
    if match is None:
        return f"This is {tag}. {caption}".strip()
    end, rest = match.end(), caption[match.end() :]
    comma = "," if re.match(r"\s+\w", rest) else ""
    return f"{caption[:end]}, {tag}{comma}{rest}"


def whole_sentences(text: str) -> str:
    """A text that may have been cut, up to its last full stop; all of it where it has none."""
    end = max(text.rfind(mark) for mark in ".!?")
    return text[: end + 1].strip() if end > 0 else text.strip()


def _introduced(
    concept: Concept, reference: Image.Image, picture: Image.Image, number: int
) -> dict:
    """A row that asks for a caption of a picture with the concept's name, which another picture
    introduces; the words are the ``number``-th ones."""
    prompt = conversation(
        random.Random(number), ICT, [concept.name], [concept.info or None], caption_style="name"
    )
    return {"prompt": prompt, "images": [reference, picture]}


def _ask(question: str) -> list[dict]:
    return [
        {
            "role": "user",
            "content": [{"type": "image", "text": None}, {"type": "text", "text": question}],
        }
    ]
