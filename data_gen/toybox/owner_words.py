"""What owners say of their toys that no image shows, and questions about it.

Who has a toy from whom, where it sleeps and what it likes is drawn at random: it can be known from
the owner's words only. A caption that is to help its reader recalls it for the toys in the picture
and for no other, which ``rewards:caption_questions`` asks (CoViP, arXiv 2602.03454).
"""

import json
import random
from collections.abc import Mapping

SAYINGS = {
    "giver": (
        "{name} was a present from {}.",
        "Who gave {name} to its owner?",
        ("my grandmother", "an old friend", "our neighbour", "my brother", "a teacher"),
    ),
    "bed": (
        "{name} sleeps {}.",
        "Where does {name} sleep?",
        ("in the drawer", "on the shelf", "under the bed", "in a shoe box", "by the window"),
    ),
    "hobby": (
        "{name} likes {}.",
        "What does {name} like?",
        ("the rain", "loud music", "long train rides", "the smell of bread", "a good joke"),
    ),
}
"""What is said -> its sentence, its question, and what can be true."""

Words = dict[str, str]
"""What an owner says of one toy: a value for each key of :data:`SAYINGS`."""


def draw_words(rng: random.Random) -> Words:
    """What somebody says of a toy."""
    return {about: rng.choice(values) for about, (_, _, values) in SAYINGS.items()}


def spoken(name: str, said: Words) -> str:
    """The owner's words, a sentence for each thing that is said; the name is written ``<bo>``."""
    return " ".join(
        SAYINGS[about][0].format(value, name=f"<{name}>") for about, value in said.items()
    )


def questions(
    rng: random.Random, expected: Mapping[str, Words], absent: Mapping[str, Words]
) -> str:
    """The JSON text of a row's column ``questions``, for ``rewards:caption_questions``.

    Args:
        expected: bare name -> the words about a toy that is in the query: what was said is right.
        absent: the same of toys that are not: their questions must stay undecided.

    Returns:
        A list of ``{"question", "options", "answer"}``: three for each toy, with four options; the
        answer is the place of the right one, or null.
    """
    asked = []
    for toys, known in ((expected, True), (absent, False)):
        for name, said in toys.items():
            for about, value in said.items():
                _, question, values = SAYINGS[about]
                others = [other for other in values if other != value]
                options = [value, *rng.sample(others, 3)]
                rng.shuffle(options)
                asked.append(
                    {
                        "question": question.format(name=f"<{name}>"),
                        "options": options,
                        "answer": options.index(value) if known else None,
                    }
                )
    return json.dumps(asked, ensure_ascii=False)
