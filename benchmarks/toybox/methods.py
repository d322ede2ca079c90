"""What the methods of ``concepts/methods`` are worth to somebody who owns a few toys.

The user owns ``toys`` held-out toys with ``photos`` photos and a sentence each; every question is
about one of them, in turn, so that intervals are over toys. Sets::

    recognition     is the toy in the image? half of the answers are yes; of the others half show a
                    hard negative, which differs in one attribute
    captions_1 _2 _4  describe an image of so many of the user's toys; who is there is not said
    nobody          the same of unlisted toys: no name is expected
    nobody_hard     the same of a hard negative of one of the user's toys
    visual          which of two: a trait of the toy, or that of another toy in the same image
    text            the same without an image
    boxes           where is the toy, among two to four?
    own_photos      is the toy in this photo? asked of the photos that its owner has, of other toys'
                    and of negatives: the threshold of p(yes) from which a toy counts as there
    list            a question without names: list the toys (benchmarks/toybox/listing.py)

``recognition``, ``own_photos``, ``visual``, ``text`` and ``boxes`` name the toy and hand its
reference over; in the others a system finds who is there by itself. Toys that are asked about are
of one half of those held out; none of this half is among those that methods may learn from
(:meth:`MethodsBenchmark.negatives`). The threshold is chosen as ``byname learn --calibrate`` does,
and ``recognition/accuracy_owned`` scores p(yes) of the questions by it; no question has part in it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np
from PIL import Image

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.attributes import attribute_metrics, length_metrics
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.localization import localization_metrics
from benchmarks.metrics.multiple_choice import choice_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import probability_metrics, recognition_metrics
from benchmarks.toybox.listing import LIST, LIST_ASK, list_metrics
from benchmarks.toybox.owned import owned_database, owned_references
from concepts.concept import Concept
from concepts.importers import draw_toys
from concepts.methods.calibration import Threshold, best_threshold
from concepts.methods.prompting import MULTIPLE_CHOICE
from concepts.methods.protocol import Picture, Query, Reference, Reply
from data_gen.files.errors import InputError
from data_gen.images.photos import open_photo
from data_gen.rows import ICT, OCT, VLT
from data_gen.tasks.prompts import conversation, load_prompts
from data_gen.tasks.questions import draw_caption_style
from data_gen.toybox.curriculum.knowledge import TRAITS, trait
from data_gen.toybox.identity import (
    ATTRIBUTES,
    Identity,
    half_of,
    hard_negatives,
    is_held_out,
    is_legal,
)
from data_gen.toybox.language import read_caption
from data_gen.toybox.rows import DESCRIPTION, ToyboxSettings, draw_identities
from data_gen.toybox.scene import Scene, compose

RECOGNITION, OWN = "recognition", "own_photos"

SETS = {
    RECOGNITION: "recognition",
    OWN: "recognition, the owner's photos",
    "captions_1": "captions, 1 toy",
    "captions_2": "captions, 2 toys",
    "captions_4": "captions, 4 toys",
    "nobody": "captions, unlisted toys",
    "nobody_hard": "captions, a hard negative",
    "visual": "questions with an image",
    "text": "questions without an image",
    "boxes": "boxes",
    "list": "toys listed",
}
"""Set -> its label in tables."""

CAPTIONS = {"captions_1": 1, "captions_2": 2, "captions_4": 4}
"""Set -> how many of the user's toys are in the image."""

NOBODY = ("nobody", "nobody_hard")

KINDS = ("yes", "easy", "yes", "hard")
"""Of the questions of ``recognition`` about one toy, in turn."""

OWN_KINDS = ("yes", "hard", "yes", "easy", "yes", "hard", "yes", "random")
"""Of those of ``own_photos``, of whom ``random`` is a negative like none of the toys."""

ASKED = "test"
"""Whose toys are asked about: a half of those held out."""


@dataclass(kw_only=True)
class MethodsBenchmarkSettings:
    """How many toys the user owns, and how much is asked."""

    toys: int = field(default=12, metadata={"help": "Toys that the user owns, from 4 on."})
    photos: int = field(default=5, metadata={"help": "Photos of each, from 1 on."})
    questions: int = field(
        default=300,
        metadata={"help": "Questions of each set; of recognition, twice as many are asked."},
    )
    sets: list[str] = field(
        default_factory=lambda: list(SETS), metadata={"help": f"Of {', '.join(SETS)}."}
    )
    seed: int = field(default=7001, metadata={"help": "Of the questions."})
    toys_seed: int = field(default=0, metadata={"help": "Which toys, and their photos."})
    negatives: int = field(
        default=400,
        metadata={"help": "Pictures that show none of them, for methods that learn."},
    )
    hard_share: float = field(
        default=0.5,
        metadata={"help": "Of these, how many differ in one attribute from one of the toys; 0-1."},
    )
    reference_px: int = field(default=64, metadata={"help": "Side of photos, in pixels."})
    query_px: int = field(default=96, metadata={"help": "Side of images asked about, in pixels."})
    cache: str = field(
        default="runs/cache/toybox_databases", metadata={"help": "Directory of the photos."}
    )

    def __post_init__(self):
        if self.toys < 4 or self.photos < 1 or self.negatives < 0:
            raise InputError("toys, photos and negatives must be 4, 1 and 0 or more")
        if not 0 <= self.hard_share <= 1:
            raise InputError(f"hard_share is {self.hard_share}; it must be from 0 to 1")
        if self.questions < self.toys:
            raise InputError(
                f"questions is {self.questions}; each of {self.toys} toys needs one in every set"
            )
        if unknown := [name for name in self.sets if name not in SETS]:
            raise InputError(f"sets: there is no {unknown[0]!r}, only {', '.join(SETS)}")

    @property
    def rows(self) -> ToyboxSettings:
        """The settings of scenes that are asked about."""
        return ToyboxSettings(split=ASKED, reference_px=self.reference_px, query_px=self.query_px)


class MethodsBenchmark(Benchmark):
    """See the module's docstring."""

    name = "methods"
    Settings = MethodsBenchmarkSettings
    drawn = True
    headlines = (
        "recognition/accuracy",
        "captions_1/f1",
        "captions_2/f1",
        "captions_4/f1",
        "nobody/names_nothing",
        "nobody_hard/names_nothing",
        "visual/choice",
        "text/choice",
        "boxes/iou50",
    )
    limits = {"captions": 224, RECOGNITION: 16, OWN: 16, "visual": 24, "text": 24, "boxes": 48}
    box_sets = ("boxes",)
    retrieval_sets = (*CAPTIONS, *NOBODY, LIST)
    caption_sets = (*CAPTIONS, *NOBODY)
    in_memory = True

    def __init__(self, settings: MethodsBenchmarkSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.size = max(settings.reference_px, settings.query_px)
        self.titles = SETS
        self.toys = draw_toys(settings.toys, settings.toys_seed, half=ASKED)
        self.database = owned_database(
            settings.toys, settings.toys_seed, settings.cache, settings.rows, settings.photos
        )
        self.owned = owned_references(self.database)
        self.given = {
            name: replace(one, image=open_photo(one.image, self.size))
            for name, one in self.owned.items()
        }
        count = dict.fromkeys(settings.sets, settings.questions)
        if RECOGNITION in count:
            count[RECOGNITION] *= 2
        draw = {
            RECOGNITION: self._recognition,
            OWN: self._own_photo,
            "visual": self._visual,
            "text": self._text,
            "boxes": self._box,
            LIST: self._list,
        }
        if OWN in count:
            count[OWN] = len(self.toys) * len(OWN_KINDS) if settings.photos > 1 else 0
        self.sets = {
            name: [
                self._question(name, i, draw.get(name, self._caption))
                for i in range(min(count[name], limit or count[name]))
            ]
            for name in SETS
            if count.get(name)
        }
        self.columns = {head: key for head, key in COLUMNS.items() if _set(key) in self.sets}

    def concepts(self) -> list[tuple[Concept, Sequence[Picture]]]:
        """The user's toys, with all of their photos."""
        return [
            (concept, [self.database.image_path(image) for image in concept.images])
            for concept in self.database.concepts().values()
        ]

    @cached_property
    def _negatives(self) -> list[Image.Image]:
        s, rng = self.settings, random.Random(f"negatives-{self.settings.toys_seed}")
        settings, owned = replace(s.rows, split="train"), list(self.toys.values())
        found: list[Identity] = []
        while len(found) < s.negatives:
            (toy,) = draw_identities(rng, 1, settings)
            hard = int(len(found) * s.hard_share)  # so far
            if int((len(found) + 1) * s.hard_share) > hard:
                attribute = rng.choice(ATTRIBUTES)
                known = owned[hard % len(owned)]
                toy = replace(known, **{attribute: getattr(toy, attribute)})
            if not is_legal(toy) or (is_held_out(toy) and half_of(toy) == ASKED):
                continue
            if toy not in owned:
                found.append(toy)
        return [compose(rng, [toy], s.reference_px).image for toy in found]

    def negatives(self) -> Sequence[Picture]:
        """Single toys, of which ``hard_share`` are hard negatives of one of the user's."""
        return self._negatives

    def group(self, name: str) -> str:
        return "captions" if name in (*self.caption_sets, LIST) else name

    def asks_likelihood(self, name: str) -> bool:
        return name in (RECOGNITION, OWN)

    def write(self, query: Query, references: Sequence[Reference]) -> list[dict]:
        words = load_prompts()[query.task if query.task in (OCT, VLT) else ICT]
        line = random.Random(query.id).choice(words["reference"])
        parts: list[dict] = []
        for reference in references:
            said = line.format(name=f"<{reference.name}>")
            said += f" {reference.info}" if reference.info else ""
            parts += [{"type": "image", "text": None}, {"type": "text", "text": f"{said}\n"}]
        if query.image is not None:
            parts.append({"type": "image", "text": None})
        return [{"role": "user", "content": [*parts, {"type": "text", "text": query.text}]}]

    # ---- questions ----

    def _question(self, name: str, index: int, draw: Callable[..., Question]) -> Question:
        rng = random.Random(f"methods-{self.settings.seed}-{name}-{index}")
        about = list(self.toys)[index % len(self.toys)]
        question = draw(rng, name, index, about)
        truth = {**question.truth, "toy": about}
        return replace(question, id=f"{name}-{index}", truth=truth, source=f"methods:{name}")

    def _recognition(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        toy = self.toys[about]
        kind = KINDS[index // len(self.toys) % len(KINDS)]
        shown = {
            "yes": lambda: toy,
            "easy": lambda: rng.choice([t for t in self.toys.values() if t != toy]),
            "hard": lambda: self._like(rng, toy),
        }[kind]()
        scene = self._scene(rng, [shown, *self._unlisted(rng, rng.choice((0, 1)))])
        return Question(
            "",
            OCT,
            _asked(rng, OCT, about),
            scene.image,
            (self.given[about],),
            answer="yes" if kind == "yes" else "no",
            truth={"kind": kind},
        )

    def _own_photo(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        turn, place = divmod(index, len(self.toys))
        kind, step = OWN_KINDS[turn], 2 * len(self.toys)
        # Of the negatives every second is hard, one toy's after the other's.
        pools = {"hard": self._negatives[2 * place + 1 :: step], "random": self._negatives[::2]}
        if pools.get(kind):
            image = rng.choice(pools[kind])
        else:
            owner = about if kind == "yes" else rng.choice([t for t in self.toys if t != about])
            first, *further = self.database.concepts()[owner].images
            photo = further[turn // 2 % len(further)] if kind == "yes" else first
            image = open_photo(self.database.image_path(photo), self.size)
        return Question(
            "",
            OCT,
            _asked(rng, OCT, about),
            image,
            (self.given[about],),
            answer="yes" if kind == "yes" else "no",
            truth={"kind": kind},
        )

    def _caption(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        if name in CAPTIONS:
            others = rng.sample([n for n in self.toys if n != about], CAPTIONS[name] - 1)
            names = (about, *others)
            shown = [self.toys[n] for n in names]
        else:
            names = ()
            shown = self._unlisted(rng, rng.choice((1, 2)) if name == "nobody" else 0)
            shown += [self._like(rng, self.toys[about])] * (name == "nobody_hard")
        scene = self._scene(rng, shown)
        words = conversation(rng, ICT, [], [], caption_style=draw_caption_style(rng))
        return Question(
            "",
            ICT,
            words[-1]["content"][-1]["text"],
            scene.image,
            None,
            k=max(2, len(names)),
            names=names,
            truth={"toys": [asdict(toy.identity) for toy in scene.toys]},
        )

    def _visual(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        toy = self.toys[about]
        while True:
            (other,) = self._unlisted(rng, 1)
            which = rng.choice([t for t in TRAITS if trait(other, t) != trait(toy, t)] or [""])
            if which:
                break
        options = [trait(toy, which), trait(other, which)]
        rng.shuffle(options)
        asked = rng.choice(TRAITS[which]).format(name=about)
        return Question(
            "",
            MULTIPLE_CHOICE,
            f"{asked[:-1]}, {options[0]} or {options[1]}?",
            self._scene(rng, [toy, other]).image,
            (self.given[about],),
            options=tuple(options),
            correct=options.index(trait(toy, which)),
        )

    def _text(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        return replace(self._visual(rng, name, index, about), image=None)

    def _box(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        toy = self.toys[about]
        scene = self._scene(rng, [toy, *self._unlisted(rng, rng.choice((1, 2, 3)))])
        at = [one.identity for one in scene.toys].index(toy)
        x0, y0, x1, y1 = scene.boxes[at]
        text, references = _asked(rng, VLT, about), (self.given[about],)
        return Question("", VLT, text, scene.image, references, box=(x0, y0, x1, y1))

    def _list(self, rng: random.Random, name: str, index: int, about: str) -> Question:
        scene = self._scene(rng, self._unlisted(rng, rng.choice((1, 2, 3, 4))))
        toys = [asdict(toy.identity) for toy in scene.toys]
        return Question("", DESCRIPTION, LIST_ASK, scene.image, None, truth={"toys": toys})

    def _scene(self, rng: random.Random, toys: Sequence[Identity]) -> Scene:
        return compose(rng, list(toys), self.settings.query_px)

    def _unlisted(self, rng: random.Random, n: int) -> list[Identity]:
        return draw_identities(rng, n, self.settings.rows, list(self.toys.values()))

    def _like(self, rng: random.Random, toy: Identity) -> Identity:
        """A hard negative that the user does not own."""
        owned = self.toys.values()
        alike = [one for one in hard_negatives(toy, ASKED) if one not in owned]
        return rng.choice(alike or [one for one in hard_negatives(toy) if one not in owned])

    # ---- scores ----

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        """``<set>/<metric>``, of which each row is a toy."""
        scores = {
            RECOGNITION: _score_recognition,
            OWN: _score_recognition,
            "visual": _score_choice,
            "text": _score_choice,
            "boxes": _score_boxes,
            LIST: _score_list,
        }
        metrics: dict[str, Metric] = {}
        threshold = _threshold(replies.get(OWN, ()), likelihoods.get(OWN, ()))
        for name, pairs in replies.items():
            questions, said = [q for q, _ in pairs], [reply for _, reply in pairs]
            found = scores.get(name, _score_captions)(questions, said)
            if name == RECOGNITION and name in likelihoods:
                p = [p for (p,) in likelihoods[name]]
                found |= probability_metrics(p, [q.answer or "" for q in questions])
                found |= _at_threshold(questions, p, threshold)
            keep = KEPT[name]
            metrics |= {
                f"{name}/{key}": over_toys(found[key], [q.truth["toy"] for q in questions])
                for key in keep
                if key in found
            }
        if threshold is not None:
            metrics[f"{OWN}/threshold"] = ratio([threshold.value])
        return metrics

    def info(self, question: Question) -> str:
        return "\n".join(self.owned[name].info or "" for name in question.names)

    def describe(self) -> dict:
        return {"unit": "toys", "seed": self.settings.seed}


def over_toys(metric: Metric, owners: Sequence[str]) -> Metric:
    """A metric over N rows as one over the T toys that they are about.

    Args:
        metric: ratios over N rows.
        owners: the toy of each row.
    """
    toys = list(dict.fromkeys(owners))
    at = np.array([toys.index(toy) for toy in owners])
    return [
        (np.bincount(at, top, len(toys)), np.bincount(at, bottom, len(toys)))
        for top, bottom in metric
    ]


KEPT = {
    "recognition": (
        "accuracy",
        "positive",
        "negative_easy",
        "negative_hard",
        "answered",
        "auroc",
        "accuracy_owned",
        "negative_hard_owned",
    ),
    OWN: ("accuracy", "positive", "negative", "answered"),
    **{name: ("precision", "recall", "f1", "tokens", "attribute_accuracy") for name in CAPTIONS},
    **{
        name: ("names_nothing", "tokens", "attribute_accuracy", "attribute_coverage")
        for name in NOBODY
    },
    "visual": ("choice", "answered"),
    "text": ("choice", "answered"),
    "boxes": ("iou50", "mean_iou"),
    "list": ("counted", "placed", "attribute_accuracy"),
}
"""Set -> its metrics."""

COLUMNS = {
    "weighted": "recognition/accuracy",
    "positive": "recognition/positive",
    "negative": "recognition/negative_easy",
    "hard negative": "recognition/negative_hard",
    "AUROC": "recognition/auroc",
    "weighted, own threshold": "recognition/accuracy_owned",
    **{f"F1, {n}": f"{name}/f1" for name, n in CAPTIONS.items()},
    "silent": "nobody/names_nothing",
    "silent, hard": "nobody_hard/names_nothing",
    "visual": "visual/choice",
    "text": "text/choice",
    "IoU ≥ 0.5": "boxes/iou50",
    "true attributes": "nobody/attribute_accuracy",
    "toys counted": "list/counted",
}
"""Head -> metric, of the table with a line for each system."""


def _set(key: str) -> str:
    return key.partition("/")[0]


def _asked(rng: random.Random, task: str, name: str) -> str:
    return conversation(rng, task, [], [], about=name)[-1]["content"][-1]["text"]


def _score_recognition(questions: Sequence[Question], replies: Sequence[Reply]) -> dict:
    return recognition_metrics(
        [r.text for r in replies],
        [q.answer or "" for q in questions],
        [q.truth["kind"] == "hard" for q in questions],
    )


def _threshold(
    pairs: Sequence[tuple[Question, Reply]], likelihoods: Sequence[list]
) -> Threshold | None:
    """The threshold that the owner's photos choose; ``None`` where they are not asked about, or
    show what is asked for always or never."""
    p: dict[str | None, list[float]] = {"yes": [], "no": []}
    for (question, _), (likely,) in zip(pairs, likelihoods, strict=False):
        p[question.answer].append(likely)
    return best_threshold(p["yes"], p["no"]) if p["yes"] and p["no"] else None


def _at_threshold(
    questions: Sequence[Question], p: Sequence[float], threshold: Threshold | None
) -> dict[str, Metric]:
    """The scores of N questions where p(yes) from a threshold on means yes."""
    if threshold is None:
        return {}
    found = recognition_metrics(
        ["yes" if one >= threshold.value else "no" for one in p],
        [q.answer or "" for q in questions],
        [q.truth["kind"] == "hard" for q in questions],
    )
    return {f"{key}_owned": found[key] for key in ("accuracy", "negative_hard")}


def _score_captions(questions: Sequence[Question], replies: Sequence[Reply]) -> dict:
    found = []
    for question, reply in zip(questions, replies, strict=True):
        given = [one.name for one in reply.concepts if one.name not in question.names]
        found.append(count_names(reply.text, question.names, given))
    claims = [read_caption(r.caption) for r in replies]
    return {
        **naming_metrics(found),
        **attribute_metrics(claims, [q.truth["toys"] for q in questions]),
        **length_metrics([r.n_tokens for r in replies]),
    }


def _score_choice(questions: Sequence[Question], replies: Sequence[Reply]) -> dict:
    correct = [q.correct for q in questions if q.correct is not None]
    return choice_metrics([r.text for r in replies], [q.options for q in questions], correct)


def _score_boxes(questions: Sequence[Question], replies: Sequence[Reply]) -> dict:
    return localization_metrics(
        [r.text for r in replies], [q.box for q in questions], [r.box_frame for r in replies]
    )


def _score_list(questions: Sequence[Question], replies: Sequence[Reply]) -> dict:
    return list_metrics([q.truth["toys"] for q in questions], replies)
