"""Preference benchmark: which of two pictures does a user prefer, as their history says?

PreferThinker's protocol (arXiv 2511.00609) in the toybox, or on released files (``path``). Sets::

    seen_one       users with one taste, whose profiles training may have seen
    seen_several   users with two tastes that their pictures mix
    unseen_one, unseen_several     the same with profiles that training never sees
    released       the questions of a file, in the place of these four
    <set>_exchanged   the same questions with A and B exchanged (``exchange``)
    <set>_<control>   the same questions with one part changed (``controls``, of the unseen sets or
                      of the released one):
        opposite   the history of a user of opposite taste: the other picture is right
        none       no history: nothing can be known
        liked      liked pictures only
        blind      no picture at all
    reading        the five terms of one picture: does the policy see what taste is about?

An answer is the letter in the one ``<answer>`` block or, without any block, a letter alone; no
answer is wrong. Of each set: ``right``, ``answered``, ``format`` (a chain without fault),
``profile`` (the ten terms of the predicted profile and its opposite, where the true ones are known)
and each element's share of it; ``likelihood``, the likelier letter as the whole answer; and
``nearest``, a baseline that does not reason: the candidate whose features are nearer to the mean of
the liked pictures, less the mean of the disliked ones.

Of both orders: ``agreement``, the share of questions that are answered with the same picture. Of
the control ``opposite``: ``flipped``, the share of questions answered under both histories whose
answer changes with the history.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.multiple_choice import answered_letter, likelihood_metrics
from concepts.methods.prompting import query_of_row
from concepts.methods.protocol import Query, Reference, Reply
from data_gen.files.errors import InputError
from data_gen.images.photos import open_photo
from data_gen.preferences.released import History, read_histories
from data_gen.preferences.rows import (
    READING,
    Case,
    draw_case,
    preference_prompt,
    preference_rows,
)
from data_gen.preferences.toybox import ToyboxPreferenceSettings, painter
from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.looks import ELEMENTS as LOOKS
from rewards.preference import ELEMENTS, LETTERS, TASK, profile_similarity, read_chain

SETS = {
    "seen_one": ("seen", 1, "seen profiles, one taste"),
    "seen_several": ("seen", 2, "seen profiles, several tastes"),
    "unseen_one": ("unseen", 1, "unseen profiles, one taste"),
    "unseen_several": ("unseen", 2, "unseen profiles, several tastes"),
}
"""Set -> whose profiles, number of tastes, label in tables."""

POOLS = {
    "seen": "seen profiles, one taste and several, A and B in both orders",
    "unseen": "unseen profiles, one taste and several, A and B in both orders",
}
"""Whose profiles -> label of all their sets together."""

RELEASED = "released"
EXCHANGED = "exchanged"
CONTROLS = {
    "opposite": "history of the opposite taste",
    "none": "no history",
    "liked": "liked pictures only",
    "blind": "no picture",
}
"""Control -> its label in tables."""

CHAIN_TOKENS, READING_TOKENS = 288, 64


@dataclass(kw_only=True)
class PreferenceBenchmarkSettings:
    """What is asked: the toybox, or a released file."""

    size: str = field(default="full", metadata={"help": "Which of `sizes`."})
    sizes: dict[str, dict[str, int]] = field(
        default_factory=lambda: {"full": {"questions": 200, "reading": 200}},
        metadata={"help": "Size -> questions of each toybox set, and of the set reading."},
    )
    seed: int = field(default=7001, metadata={"help": "Seed of users and scenes."})
    split: str = field(default="heldout", metadata={"help": "Toys: heldout, validation, test."})
    pictures: dict[int, float] = field(
        default_factory=lambda: {2: 1.0},
        metadata={"help": "Number of liked pictures, and of disliked ones -> weight."},
    )
    exchanged_elements: dict[int, float] = field(
        default_factory=lambda: {0: 0.3, 1: 0.4, 2: 0.3},
        metadata={
            "help": "As `exchanged` of the rows: elements that speak for the other -> weight."
        },
    )
    picture_px: int = field(default=64, metadata={"help": "Side of toybox pictures, in pixels."})
    path: str | None = field(
        default=None, metadata={"help": "A released file, instead of the toybox."}
    )
    images: str | None = field(default=None, metadata={"help": "Folder of its images."})
    photo_px: int = field(default=512, metadata={"help": "Long side of its images, in pixels."})
    exchange: bool = field(default=True, metadata={"help": "Ask with A and B exchanged, too."})
    controls: list[str] = field(
        default_factory=lambda: list(CONTROLS),
        metadata={"help": f"Of {', '.join(CONTROLS)}."},
    )
    likelihood: bool = field(default=True, metadata={"help": "Also score the likelier letter."})
    nearest: str | None = field(
        default="toybox_clip",
        metadata={"help": "Encoder of the baseline that does not reason; null: none."},
    )
    prompts: str | None = field(default=None, metadata={"help": "Template file."})

    def __post_init__(self):
        for control in self.controls:
            if control not in CONTROLS:
                raise InputError(f"controls: {control!r} is none of {', '.join(CONTROLS)}")
        if self.size not in self.sizes:
            raise InputError(f"size {self.size!r} is none of {', '.join(self.sizes)}")
        for size, of in self.sizes.items():
            if set(of) != {"questions", "reading"} or of["questions"] < 1 or of["reading"] < 0:
                raise InputError(
                    f"sizes.{size} must be {{questions: 1 or more, reading: 0 or more}}, not {of}"
                )
        if self.path and not self.images:
            raise InputError("images is missing: the folder that the pictures of `path` lie in")

    def row_settings(self, users: str, tastes: int) -> ToyboxPreferenceSettings:
        """The settings of the rows of a toybox set."""
        return ToyboxPreferenceSettings(
            users=users,
            tastes={tastes: 1.0},
            pictures=self.pictures,
            exchanged=self.exchanged_elements,
            split=self.split,
            size=self.picture_px,
            prompts=self.prompts,
        )


@dataclass(frozen=True)
class Asked:
    """One question before it is written: pictures are opened images, or files.

    Args:
        id: of the question.
        liked, disliked: the history.
        candidates: A and B.
        answer: ``A`` or ``B``.
        profiles: liked and disliked, or ``None``.
        source: for the page.
    """

    id: str
    liked: tuple[Any, ...]
    disliked: tuple[Any, ...]
    candidates: tuple[Any, Any]
    answer: str
    profiles: tuple[Sequence[str], Sequence[str]] | None
    source: str

    def exchanged(self) -> "Asked":
        """A for B, and B for A."""
        return replace(self, candidates=self.candidates[::-1], answer=_other(self.answer))

    def under(self, control: str) -> "Asked":
        """The question under a control, but for ``blind``, which is a matter of the prompt."""
        if control == "opposite":
            profiles = self.profiles and self.profiles[::-1]
            return replace(
                self,
                liked=self.disliked,
                disliked=self.liked,
                answer=_other(self.answer),
                profiles=profiles,
            )
        if control == "none":
            return replace(self, liked=(), disliked=())
        return replace(self, disliked=()) if control == "liked" else self


class Preferences(Benchmark):
    """See the module's docstring."""

    name = "preferences"
    Settings = PreferenceBenchmarkSettings
    drawn = True
    headlines = (
        *(f"{name}/{key}" for name in (*SETS, RELEASED) for key in ("right", "profile")),
        *(f"{pool}/right" for pool in POOLS),
        *(f"{name}/agreement" for name in (*SETS, RELEASED)),
        *(f"{name}_opposite/flipped" for name in ("unseen_one", "unseen_several", RELEASED)),
        "reading/terms",
    )
    limits = {TASK: CHAIN_TOKENS, "reading": READING_TOKENS}
    fixed_concepts = False

    def __init__(self, settings: PreferenceBenchmarkSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.templates = (load_prompts(settings.prompts) if settings.prompts else load_prompts())[
            TASK
        ]
        self.in_memory = not settings.path
        self.size = settings.photo_px if settings.path else settings.picture_px
        asked = self._released() if settings.path else self._toybox()
        self.asked: dict[str, Asked] = {}
        for name, questions in asked.items():
            self._add(name, SETS[name][2] if name in SETS else "released questions", questions)
        reading = settings.sizes[settings.size]["reading"]
        if not settings.path and reading:
            self.sets["reading"] = self._reading(min(reading, limit or reading))
            self.titles["reading"] = "looks of pictures"
        self.shown = {name: 6 if name in (*SETS, RELEASED) else 2 for name in self.sets}
        self._near: dict[str, bool] = {}

    # ---- questions ----

    def _add(self, name: str, title: str, asked: list[Asked]) -> None:
        """A set, its exchanged one and its controls."""
        variants = {"": asked}
        if self.settings.exchange:
            variants[EXCHANGED] = [one.exchanged() for one in asked]
        for control in self.settings.controls if not name.startswith("seen") else ():
            variants[control] = [one.under(control) for one in asked]
        labels = {"": "", EXCHANGED: ", A and B exchanged"} | {
            control: f", {label}" for control, label in CONTROLS.items()
        }
        for variant, of in variants.items():
            key = f"{name}_{variant}" if variant else name
            self.titles[key] = title + labels[variant]
            self.sets[key] = [self._question(key, one, blind=variant == "blind") for one in of]
            self.asked |= {f"{key}-{one.id}": one for one in of}

    def _question(self, key: str, one: Asked, blind: bool) -> Question:
        prompt = preference_prompt(
            random.Random(one.id), len(one.liked), len(one.disliked), self.templates
        )
        pictures = [*one.liked, *one.disliked, *one.candidates]
        if blind:
            pictures = []
            for message in prompt:
                message["content"] = [part for part in message["content"] if part["type"] == "text"]
        return Question(
            f"{key}-{one.id}",
            TASK,
            image=pictures[-1] if pictures else None,
            references=tuple(Reference("", picture) for picture in pictures[:-1]),
            options=LETTERS if self.settings.likelihood else (),
            prompt=prompt,
            answer=one.answer,
            correct=LETTERS.index(one.answer) if self.settings.likelihood else None,
            source=one.source,
            truth={"profiles": one.profiles},
        )

    def _toybox(self) -> dict[str, list[Asked]]:
        count = self.settings.sizes[self.settings.size]["questions"]
        count = min(count, self.limit or count)
        found = {}
        self.titles |= POOLS
        for name, (users, tastes, _) in SETS.items():
            rows = self.settings.row_settings(users, tastes)
            paint = painter(rows)
            cases = [
                (row_id := f"{name}-{self.settings.seed}-{i}", draw_case(row_id, i, rows, LOOKS))
                for i in range(count)
            ]
            found[name] = [_painted(row_id, case, paint) for row_id, case in cases]
        return found

    def _released(self) -> dict[str, list[Asked]]:
        s = self.settings
        histories = read_histories(s.path or "", s.images or "", self.skipped, self.limit)
        return {RELEASED: [_of_history(i, history) for i, history in enumerate(histories)]}

    def _reading(self, count: int) -> list[Question]:
        rows = self.settings.row_settings("unseen", 1)
        made = preference_rows(
            {READING: count}, self.settings.seed, rows, LOOKS, painter(rows), name="reading"
        )
        return [
            Question(
                **{f.name: getattr(query_of_row(row), f.name) for f in fields(Query)},
                answer=row["answer"],
                source=row["source"],
                truth={"look": row["answer"].split(", ")},
            )
            for row in made
        ]

    def group(self, name: str) -> str:
        return "reading" if name == "reading" else TASK

    def asks_likelihood(self, name: str) -> bool:
        return self.settings.likelihood and name in (*SETS, RELEASED)

    # ---- scores ----

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        metrics: dict[str, Metric] = {}
        for name, pairs in replies.items():
            found = _reading_scores(pairs) if name == "reading" else _scores(pairs)
            if name in likelihoods:
                correct = [LETTERS.index(str(q.answer)) for q, _ in pairs]
                found |= likelihood_metrics(likelihoods[name], correct)
            if self.settings.nearest and name in (*SETS, RELEASED):
                nearest = self._nearest([q.id for q, _ in pairs])
                found["nearest"] = ratio([nearest[q.id] for q, _ in pairs])
            metrics |= {f"{name}/{key}": metric for key, metric in found.items()}
        for name in (*SETS, RELEASED):
            metrics |= _across(name, replies)
        return metrics | _pooled(metrics)

    def _nearest(self, ids: Sequence[str]) -> dict[str, bool]:
        """Whether the baseline is right, for each question."""
        from data_gen.images.encoders import load_encoder

        left = [i for i in ids if i not in self._near]
        if not left:
            return self._near
        encoder = load_encoder(self.settings.nearest or "")
        for i in left:
            one = self.asked[i]
            pictures = [*one.liked, *one.disliked, *one.candidates]
            opened = [
                p if isinstance(p, Image.Image) else open_photo(p, self.settings.photo_px)
                for p in pictures
            ]
            vectors = encoder.images(opened)  # (N, D)
            self._near[i] = nearest(vectors, len(one.liked), len(one.disliked)) == one.answer
        return self._near


def nearest(vectors: np.ndarray, liked: int, disliked: int) -> str:
    """The candidate that is more like the liked pictures, less the disliked ones: ``A`` or ``B``.

    Args:
        vectors: (N, D) features: of the liked pictures, of the disliked ones, of A and of B.
        liked, disliked: how many.
    """
    direction = vectors[:liked].mean(0) - vectors[liked : liked + disliked].mean(0)
    a, b = vectors[-2:] @ direction
    return LETTERS[int(b > a)]


def answer_of(text: str) -> str | None:
    """The letter that a reply answers: in its one answer block or, without any, alone."""
    if "<" in text:
        return read_chain(text).answer
    place = answered_letter(text, len(LETTERS))
    return None if place is None else LETTERS[place]


def five_terms(text: str) -> list[str]:
    """The five terms of a reply about one picture, with labels or without: ``cartoon, golden, ...``
    or ``art style: cartoon; colour: golden; ...``; empty where there are fewer."""
    pieces = [piece.rpartition(":")[2].strip() for piece in re.split("[,;]", text)]
    return (pieces + [""] * len(ELEMENTS))[: len(ELEMENTS)]


def _scores(pairs: Sequence[tuple[Question, Reply]]) -> dict[str, Metric]:
    answers = [answer_of(reply.text) for _, reply in pairs]
    chains = [read_chain(reply.text) for _, reply in pairs]
    found = {
        "right": ratio([a == q.answer for a, (q, _) in zip(answers, pairs, strict=True)]),
        "answered": ratio([a is not None for a in answers]),
        "format": ratio([not chain.fault for chain in chains]),
    }
    if all(q.truth["profiles"] for q, _ in pairs):
        whole = profile_similarity(
            [reply.text for _, reply in pairs],
            task=[TASK] * len(pairs),
            liked_profile=[q.truth["profiles"][0] for q, _ in pairs],
            disliked_profile=[q.truth["profiles"][1] for q, _ in pairs],
        )
        found["profile"] = ratio(whole)
        for i, element in enumerate(ELEMENTS):
            right = [
                sum(
                    bool(said) and said[i].casefold() == true[i].casefold()
                    for said, true in zip(
                        (chain.liked, chain.disliked), q.truth["profiles"], strict=True
                    )
                )
                for chain, (q, _) in zip(chains, pairs, strict=True)
            ]
            found[f"profile_{element}"] = ratio(np.array(right) / 2)
    return found


def _reading_scores(pairs: Sequence[tuple[Question, Reply]]) -> dict[str, Metric]:
    right = np.array(
        [
            [
                said.casefold() == true.casefold()
                for said, true in zip(five_terms(reply.text), q.truth["look"], strict=True)
            ]
            for q, reply in pairs
        ]
    )  # (N, 5)
    found = {element: ratio(right[:, i]) for i, element in enumerate(ELEMENTS)}
    return {"terms": ratio(right.mean(1)), **found}


def _across(name: str, replies: Mapping[str, Sequence[tuple[Question, Reply]]]) -> dict:
    """Metrics of one set beside its exchanged one, and beside the opposite history."""
    found: dict[str, Metric] = {}
    for variant, metric in ((EXCHANGED, "agreement"), ("opposite", "flipped")):
        key = f"{name}_{variant}"
        if name not in replies or key not in replies:
            continue
        changed = {q.id.removeprefix(f"{key}-"): answer_of(r.text) for q, r in replies[key]}
        both = [
            (answer_of(r.text), changed.get(q.id.removeprefix(f"{name}-")))
            for q, r in replies[name]
        ]
        # In both cases the letter changes where the policy is consistent.
        changes = [a is not None and b is not None and a != b for a, b in both]
        if metric == "agreement":
            found[f"{name}/{metric}"] = ratio(changes)
        else:
            found[f"{key}/{metric}"] = ratio(
                changes, [a is not None and b is not None for a, b in both]
            )
    return found


def _pooled(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """Right answers of all sets about the same users: the mean over sets and orders of A and B."""
    found: dict[str, Metric] = {}
    for pool in POOLS:
        names = [name for name, (users, *_) in SETS.items() if users == pool]
        keys = [f"{key}/right" for name in names for key in (name, f"{name}_{EXCHANGED}")]
        if all(key in metrics for key in keys):
            found[f"{pool}/right"] = [pair for key in keys for pair in metrics[key]]
    return found


def _painted(row_id: str, case: Case, paint) -> Asked:
    pictures = paint([*case.liked, *case.disliked, *case.candidates])
    n, m = len(case.liked), len(case.disliked)
    return Asked(
        row_id,
        tuple(pictures[:n]),
        tuple(pictures[n : n + m]),
        (pictures[-2], pictures[-1]),
        case.answer,
        (case.taste.liked, case.taste.disliked),
        "toybox",
    )


def _of_history(i: int, history: History) -> Asked:
    return Asked(
        str(i),
        history.liked,
        history.disliked,
        history.candidates,
        history.answer,
        history.profiles,
        history.id,
    )


def _other(letter: str) -> str:
    return LETTERS[1 - LETTERS.index(letter)]
