"""Rows about users' preferences, from any source of pictures.

A row shows a few pictures that a user likes, a few that they dislike, and two candidates A and B:
the same scene in two looks. Its answer is the one that the user prefers. Row ``i`` depends on the
seed, the settings and ``i`` alone.

No answer can be guessed without the history: every user is as likely as the one of opposite taste,
A is preferred in every other row, both candidates show the same scene, and what a scene shows is
drawn without regard to anybody's taste.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from datasets import List, Value
from PIL import Image

from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.preferences.chains import WORDINGS, chain
from data_gen.preferences.users import (
    SIDES,
    Profile,
    Taste,
    User,
    Vocabulary,
    draw_candidates,
    draw_profile,
    draw_user,
    is_unseen,
)
from data_gen.rows.indexed import IndexedRows
from data_gen.tasks.combinations import choose, read_weights
from data_gen.tasks.prompts import load_prompts
from rewards.preference import LETTERS, TASK

READING = "picture_look"
"""The task of rows that ask for the five terms of one picture: they teach a policy to see them."""

MOST_PICTURES = 5
"""Liked ones, and disliked ones, in a row; as in the paper."""

MOST_TASTES = 2

Paint = Callable[[Sequence[tuple[str, Profile]]], list[Image.Image]]
"""(scene, look) of each picture -> pictures; the same scene is the same text."""

COLUMNS = {
    "liked_profile": List(Value("string")),
    "disliked_profile": List(Value("string")),
}


@dataclass
class PreferenceSettings:
    """What the rows are like. Shares are probabilities in 0-1."""

    users: str = field(default="seen", metadata={"help": "Whose profiles: seen or unseen."})
    tastes: dict[int, float] = field(
        default_factory=lambda: {1: 0.5, 2: 0.5},
        metadata={"help": "Number of a user's tastes -> weight."},
    )
    pictures: dict[int, float] = field(
        default_factory=lambda: {5: 1.0},
        metadata={"help": "Number of liked pictures, and of disliked ones -> weight, 1-5."},
    )
    exchanged: dict[int, float] = field(
        default_factory=lambda: {0: 1.0},
        metadata={
            "help": "Elements, 0-2, in which the preferred picture shows what the user dislikes "
            "and the other one what they like -> weight; the paper has none."
        },
    )
    targets: bool = field(
        default=False, metadata={"help": "Add a column `target`: the chain that SFT trains on."}
    )
    wording: str = field(default="short", metadata={"help": "Of the chains: short or long."})
    prompts: str | None = field(
        default=None,
        metadata={"help": "Template file; null: data_gen/tasks/prompts/default.yaml."},
    )

    def __post_init__(self):
        if self.users not in SIDES:
            raise InputError(f"users must be one of {', '.join(SIDES)}, not {self.users!r}")
        if self.wording not in WORDINGS:
            raise InputError(f"wording must be one of {', '.join(WORDINGS)}, not {self.wording!r}")
        self.tastes = read_weights("tastes", self.tastes, 1, MOST_TASTES)
        self.pictures = read_weights("pictures", self.pictures, 1, MOST_PICTURES)
        self.exchanged = read_weights("exchanged", self.exchanged, 0, 2)
        if max(self.tastes) > min(self.pictures):
            raise InputError(
                f"pictures: {min(self.pictures)} cannot show {max(self.tastes)} tastes; raise "
                "pictures or lower tastes"
            )


@dataclass(frozen=True)
class Case:
    """A user and the pictures of one row, before anything is painted.

    Args:
        user: whose pictures they are.
        taste: which of the user's tastes the candidates are about.
        liked, disliked: (scene, look) of each picture of the history.
        candidates: (scene, look) of A and of B; the scene is the same.
        answer: the preferred one, ``A`` or ``B``.
    """

    user: User
    taste: Taste
    liked: tuple[tuple[str, Profile], ...]
    disliked: tuple[tuple[str, Profile], ...]
    candidates: tuple[tuple[str, Profile], tuple[str, Profile]]
    answer: str


def preference_rows(
    counts: dict[str, int],
    seed: int,
    settings: PreferenceSettings,
    vocabulary: Vocabulary,
    paint: Paint,
    *,
    name: str,
    fingerprint: str = "",
    image_format: str = "png",
) -> IndexedRows:
    """``counts[task]`` rows of each task; tasks are ``preference`` and ``picture_look``.

    Args:
        vocabulary: the terms of the five elements.
        paint: makes the pictures of a row.
        name: of the source; it begins every row's id.
        fingerprint: of what the pictures are made with.
        image_format: how images are stored.

    Raises:
        InputError: another task.
    """
    for task in counts:
        if task not in (TASK, READING):
            raise InputError(f"{name} makes {TASK} and {READING}; not {task!r}")
    templates = (load_prompts(settings.prompts) if settings.prompts else load_prompts())[TASK]

    def make(task: str, index: int) -> dict:
        row_id = f"{name}-{settings.users}-{seed}-{task}-{index}"
        if task == READING:
            return reading_row(row_id, settings, vocabulary, paint, templates)
        case = draw_case(row_id, index, settings, vocabulary)
        return preference_row(row_id, case, settings, paint, templates, name)

    columns = COLUMNS | ({"target": Value("string")} if settings.targets else {})
    return IndexedRows(
        counts,
        make,
        columns=columns,
        fingerprint=fingerprint_of(str(templates), str(vocabulary), fingerprint),
        image_format=image_format,
    )


def draw_case(
    row_id: str, index: int, settings: PreferenceSettings, vocabulary: Vocabulary
) -> Case:
    """The case of a row; ``A`` is preferred where ``index`` is even."""
    rng = random.Random(row_id)
    n, tastes = choose(rng, settings.pictures), choose(rng, settings.tastes)
    exchanged, seen = choose(rng, settings.exchanged), settings.users == "seen"
    looks = None
    while looks is None:
        user = draw_user(rng, vocabulary, tastes, unseen=not seen)
        taste = rng.choice(user.tastes)
        looks = draw_candidates(rng, taste, exchanged, seen_only=seen)

    def history(side: str) -> tuple[tuple[str, Profile], ...]:
        shown = [getattr(user.tastes[i % tastes], side) for i in range(n)]
        rng.shuffle(shown)
        return tuple((f"{row_id}/{side}/{i}", look) for i, look in enumerate(shown))

    liked, disliked = history("liked"), history("disliked")
    answer = LETTERS[index % 2]
    best, other = looks if answer == "A" else looks[::-1]
    scene = f"{row_id}/candidates"
    return Case(user, taste, liked, disliked, ((scene, best), (scene, other)), answer)


def preference_row(
    row_id: str,
    case: Case,
    settings: PreferenceSettings,
    paint: Paint,
    templates: dict,
    name: str,
) -> dict:
    """The row of a case."""
    pictures = [*case.liked, *case.disliked, *case.candidates]
    n = len(case.user.tastes)
    row = {
        "id": row_id,
        "task": TASK,
        "prompt": preference_prompt(
            random.Random(f"{row_id}/words"), len(case.liked), len(case.disliked), templates
        ),
        "images": paint(pictures),
        "answer": case.answer,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": f"{name}: {n} taste{'s' * (n > 1)}, {settings.users}",
        "liked_profile": list(case.taste.liked),
        "disliked_profile": list(case.taste.disliked),
    }
    if settings.targets:
        row["target"] = chain(case.taste, [look for _, look in case.candidates], settings.wording)
    return row


def preference_prompt(rng: random.Random, liked: int, disliked: int, templates: dict) -> list[dict]:
    """The conversation: liked pictures, disliked ones, A, B, and the question.

    Args:
        rng: draws the phrasing.
        liked, disliked: number of pictures; a side without any is not mentioned.
        templates: of the task, with ``liked``, ``disliked``, ``candidate``, ``ask``, ``suffix`` and
            perhaps ``system``.
    """
    parts: list[dict] = []

    def say(text: str) -> None:
        parts.append({"type": "text", "text": text})

    def show(n: int) -> None:
        parts.extend({"type": "image", "text": None} for _ in range(n))

    for side, n in (("liked", liked), ("disliked", disliked)):
        if n:
            say(rng.choice(templates[side]) + "\n")
            show(n)
    candidate = rng.choice(templates["candidate"])
    for letter in LETTERS:
        say(candidate.format(letter=letter) + "\n")
        show(1)
    say(" ".join(filter(None, (rng.choice(templates[key]) for key in ("ask", "suffix")))))
    system = templates.get("system")
    opening = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
    return [*opening, {"role": "user", "content": parts}]


def reading_row(
    row_id: str,
    settings: PreferenceSettings,
    vocabulary: Vocabulary,
    paint: Paint,
    templates: dict,
) -> dict:
    """One picture, and its five terms as the answer."""
    rng = random.Random(row_id)
    look = draw_profile(rng, vocabulary)
    while is_unseen(look) != (settings.users == "unseen"):
        look = draw_profile(rng, vocabulary)
    content = [
        {"type": "image", "text": None},
        {"type": "text", "text": rng.choice(templates["look"])},
    ]
    answer = ", ".join(look)
    row = {
        "id": row_id,
        "task": READING,
        "prompt": [{"role": "user", "content": content}],
        "images": paint([(f"{row_id}/scene", look)]),
        "answer": answer,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": f"look, {settings.users}",
        "liked_profile": None,
        "disliked_profile": None,
    }
    return row | ({"target": answer} if settings.targets else {})
