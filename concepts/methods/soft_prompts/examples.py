"""What Yo'LLaVA trains a concept on: recognition, captions, questions without a picture."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from concepts.concept import Concept, tag_of
from concepts.methods.soft_prompts.phrasings import Phrasings
from data_gen.rows import ICT
from data_gen.tasks.prompts import conversation
from data_gen.tasks.questions import Reference, draw_caption_style, identity_consistency_row
from rewards.parsing import answer_part
from rl.policy.generation import generate

TRAIT_TOKENS = 64
"""Where the policy's answer to a question of a trait is cut."""

CAPTION_TOKENS = 128
"""Where its caption is cut."""


@dataclass(frozen=True)
class Example:
    """A question and its answer.

    Attributes:
        prompt: conversation with a placeholder for the picture, if there is one.
        answer: what is trained.
        picture: place of its picture among the training pictures; ``None``: words alone.
        may_flip: whether the answer holds for the mirrored picture, too.
    """

    prompt: list[dict]
    answer: str
    picture: int | None = None
    may_flip: bool = True


def words_of(name: str, tokens: int) -> list[str]:
    """The texts of a concept's tokens: ``<bo>``, whose inside is one, then ``<bo/1>`` to
    ``<bo/16>``."""
    return [tag_of(name), *(f"<{name}/{i}>" for i in range(1, tokens + 1))]


def personal_prompt(name: str, tokens: int, phrasings: Phrasings) -> str:
    """``<bo> is <bo/1>...<bo/16>.``; without tokens nothing is said of the concept."""
    if not tokens:
        return ""
    tag, *learned = words_of(name, tokens)
    return phrasings.personal.format(name=tag, tokens="".join(learned))


def ask(personal: str, question: str, with_picture: bool, place: str = "user") -> list[dict]:
    """The conversation that asks a question.

    Args:
        personal: personal prompts; may be empty.
        with_picture: whether a picture comes first in the user's turn.
        place: of the personal prompts: in the ``user``'s turn, behind the picture and before the
            question, or in a ``system`` turn.
    """
    in_user = bool(personal) and place == "user"
    text = f"{personal} {question}" if in_user else question
    content = [{"type": "image", "text": None}] if with_picture else []
    turn = {"role": "user", "content": [*content, {"type": "text", "text": text}]}
    if personal and not in_user:
        return [{"role": "system", "content": [{"type": "text", "text": personal}]}, turn]
    return [turn]


def recognition(
    rng: random.Random,
    name: str,
    personal: str,
    phrasings: Phrasings,
    shown: Sequence[int],
    others: Sequence[int],
    balanced: bool,
    place: str,
) -> list[Example]:
    """Recognition with answers, a phrasing drawn for each.

    Args:
        shown, others: pictures that show the concept, and that do not.
        balanced: repeat the former, with other phrasings, until there are as many as the latter.
    """
    repeats = max(1, round(len(others) / len(shown))) if balanced else 1
    tag, made = tag_of(name), []
    for pictures, pairs in (
        (list(shown) * repeats, phrasings.positive),
        (others, phrasings.negative),
    ):
        for picture in pictures:
            question, answer = (text.format(name=tag) for text in rng.choice(pairs))
            made.append(Example(ask(personal, question, True, place), answer, picture))
    return made


def trait_questions(concept: Concept, phrasings: Phrasings) -> tuple[str, ...]:
    """The questions of a concept's traits: a person's or a thing's."""
    person = concept.category.strip().casefold() in phrasings.persons
    return phrasings.person if person else phrasings.thing


def traits(
    model,
    processor,
    concept: Concept,
    personal: str,
    phrasings: Phrasings,
    photos: Sequence,
    place: str,
    batch_size: int,
) -> list[Example]:
    """Questions of a concept's traits without a picture, answered by the policy itself, to which
    each photo was shown.

    Args:
        photos: N opened images, as they are shown to the policy.

    Returns:
        One example for each photo and question that got an answer.
    """
    tag, questions = tag_of(concept.name), trait_questions(concept, phrasings)
    subject = phrasings.subject.format(name=tag)
    rows = [
        {
            "prompt": ask(
                "", phrasings.introduction.format(name=tag) + asked.format(name=subject), True
            ),
            "images": [photo],
        }
        for photo in photos
        for asked in questions
    ]
    answers = generate(model, processor, rows, max_new_tokens=TRAIT_TOKENS, batch_size=batch_size)
    made = []
    for i, (answer, _) in enumerate(answers):
        said = answer_part(answer).strip()
        for word in {subject, subject.capitalize()}:
            said = said.replace(word, tag)
        if said:
            question = questions[i % len(questions)].format(name=tag)
            made.append(Example(ask(personal, question, False, place), said))
    return made


def captions(
    rng: random.Random,
    model,
    processor,
    name: str,
    personal: str,
    photos: Sequence,
    place: str,
    batch_size: int,
) -> list[Example]:
    """Captions of the photos that name the concept, written by the policy itself, which is shown
    the next photo as a reference.

    Args:
        photos: N opened images, as they are shown to the policy.

    Returns:
        At most N examples: captions without the name are left out.
    """
    rows = [
        identity_consistency_row(
            rng,
            f"caption-{i}",
            [Reference(name, photos[(i + 1) % len(photos)])],
            [True],
            photo,
            source="captions",
            caption_style="name",
        )
        for i, photo in enumerate(photos)
    ]
    answers = generate(model, processor, rows, max_new_tokens=CAPTION_TOKENS, batch_size=batch_size)
    made = []
    for i, (text, _) in enumerate(answers):
        answer = answer_part(text)
        turn = conversation(rng, ICT, [], [], caption_style=draw_caption_style(rng))[0]
        asked = ask(personal, turn["content"][-1]["text"], True, place)
        if tag_of(name) in answer:
            made.append(Example(asked, answer.strip(), i, may_flip=False))
    return made
