"""The held-out toybox benchmark: questions drawn on the fly, and how the answers are scored.

Sets, each with identities that training never sees (all of them, or one half: what is chosen by
``validation`` and reported on ``test`` was measured on different toys)::

    oct                  is the toy in the image? half of the negatives are hard ones: they differ
                         in one attribute
    vlt                  where is it, among two to four toys?
    naming_1 _2 _4       describe an image of 1, 2 or 4 toys that have references, plus 1-2
                         distractors; each reference has its name and what its owner says of it, as
                         in RePIC's protocol
    naming_image_only    the same with 1 or 2 toys, and no words say what they look like
    naming_image_only_4  the same with 4
    owned_1 _2 _4        as naming_1 _2 _4, but no reference is handed over: a system retrieves
                         them from a database (benchmarks/toybox/owned.py)
    naming_open_1 _2     as naming_1 _2, and 1-2 unlisted toys stand beside those with references
    naming_mixed         1-4 references and 1-4 toys, drawn independently; half of the images show
                         none of the references, some distractors are hard negatives (the rows of
                         training): scored by references (R), toys (T) and expected names (K)
    naming_absent        describe an image of none of the 1-4 references: no name is expected
    naming_wrong         the same, and each reference is a hard negative of a toy in the image
    naming_none          describe an image, names perhaps asked for, without any reference
    description          describe an image, without any reference
    list                 list the toys: how many there are, and in which order they stand

Which names a caption writes (F1) and whether each stands on its own toy (``f1_on_toy``,
:mod:`benchmarks.metrics.binding`) are two scores. A policy that gives the right names to the wrong
toys has only the first.

Silence, the share of captions that name nobody where nobody is expected, is also given for each
number of references: a policy that counts references is silent at some of them and not at others.

The last two sets need no personalization: post-training should not change their scores. Question
``i`` of a set depends on the seed, the settings and ``i`` alone, so a smaller benchmark is the
beginning of a larger one.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.attributes import attribute_metrics, length_metrics
from benchmarks.metrics.binding import BINDING, binding_metrics
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.localization import localization_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import recognition_metrics
from benchmarks.toybox.listing import LIST, list_metrics, list_row
from benchmarks.toybox.owned import (
    OWNED,
    owned_database,
    owned_questions,
    owned_references,
    write_owned,
)
from concepts.concept import Concept
from concepts.database import Database
from concepts.methods.prompting import query_of_row
from concepts.methods.protocol import Picture, Query, Reference
from data_gen.files.errors import InputError
from data_gen.rows import OCT, VLT, check_row
from data_gen.tasks.combinations import Combination
from data_gen.tasks.names import draw_names
from data_gen.tasks.questions import draw_caption_style, identity_consistency_row
from data_gen.toybox.facts import name_places
from data_gen.toybox.identity import HALVES, Identity, hard_negative
from data_gen.toybox.language import read_caption
from data_gen.toybox.rows import (
    ToyboxSettings,
    combination_of,
    draw_cast,
    draw_identities,
    load_templates,
    toybox_row,
)
from data_gen.toybox.scene import compose
from rewards.parsing import prompt_text

SETS = {
    "oct": "object consistency",
    "vlt": "localization",
    "naming_1": "naming, 1 concept and distractors",
    "naming_2": "naming, 2 concepts and distractors",
    "naming_4": "naming, 4 concepts and distractors",
    "naming_image_only": "naming, 1-2 concepts, references without words",
    "naming_image_only_4": "naming, 4 concepts, references without words",
    "owned_1": "naming, 1 concept, references retrieved",
    "owned_2": "naming, 2 concepts, references retrieved",
    "owned_4": "naming, 4 concepts, references retrieved",
    "naming_open_1": "naming, 1 concept, distractors and unlisted toys",
    "naming_open_2": "naming, 2 concepts, distractors and unlisted toys",
    "naming_mixed": "naming, references and toys drawn independently",
    "naming_absent": "naming, concept absent",
    "naming_wrong": "naming, a hard negative for reference",
    "naming_none": "naming, no reference",
    "description": "plain description",
    "list": "toys listed",
}
"""Set -> its label in tables."""

POOLS = {
    "naming_all": "naming, 1, 2, 4 and absent pooled",
    "captions": "captions with an expected name",
}
"""Metrics over several sets: pool -> its label in tables."""

SILENT = {
    name: {f"{name}_{r}refs": r for r in range(1, most + 1)}
    for name, most in (("naming_absent", 4), ("naming_wrong", 2), ("naming_mixed", 4))
}
"""Set -> part of it where nobody is expected -> number of references."""

MIXED_PARTS = {
    f"naming_mixed_{n}{unit}": (place, n)
    for place, unit in enumerate(("given", "toys", "expected"))
    for n in range(1, 5)
}
"""Part of naming_mixed where somebody is expected -> which of R, T, K has which value."""

PARTS = {
    **{
        part: f"{SETS[name]}, {r} reference{'s' * (r > 1)}, nobody expected"
        for name, parts in SILENT.items()
        for part, r in parts.items()
    },
    **{
        part: f"{SETS['naming_mixed']}, somebody expected, {'RTK'[place]} = {n}"
        for part, (place, n) in MIXED_PARTS.items()
    },
}
"""Parts of sets -> their labels in tables."""

SHOWN = {
    "naming_1": 4,
    "naming_2": 4,
    "naming_4": 2,
    "naming_absent": 2,
    "vlt": 6,
    "oct": 4,
    "description": 2,
}
"""Set -> how many of its first questions a report shows."""

SEED_KEYS = {"naming_image_only": "naming_looks", "naming_image_only_4": "naming_looks_4"}
"""Set -> its former name, which stays in seeds and ids: another would draw other questions."""

NAMED = {
    "naming_1": (1,),
    "naming_2": (2,),
    "naming_4": (4,),
    "naming_image_only": (1, 2),
    "naming_image_only_4": (4,),
}
"""Set -> how many of the references are in the image."""

IMAGE_ONLY = ("naming_image_only", "naming_image_only_4")
POOLED = ("naming_1", "naming_2", "naming_4")
OPEN = {"naming_open_1": 1, "naming_open_2": 2}
"""Set -> how many of the references are in the image, beside 1-2 unlisted toys."""

MIXED = "naming_mixed"
ABSENT = "naming_absent"
NONE_EXPECTED = (ABSENT, "naming_wrong", "naming_none")
DISTRACTORS = UNLISTED = (1, 2)
ABSENT_REFERENCES = ABSENT_TOYS = (1, 2, 3, 4)

SPLITS = ("heldout", *HALVES)
"""Whose toys: all that training never sees, or a half of them."""

_NAMES = ("precision", "recall", "f1")
_TEXT = ("tokens", "at_floor", "attribute_accuracy", "attribute_coverage")


@dataclass(kw_only=True)
class ToyboxBenchmarkSettings:
    """What the toybox asks. What the sets contain is fixed, or figures would not compare."""

    size: str = field(default="full", metadata={"help": "Which of `sizes`."})
    sizes: dict[str, dict[str, int]] = field(
        default_factory=dict, metadata={"help": "Size -> set -> questions."}
    )
    seed: int = field(default=7001, metadata={"help": "Seed of the questions."})
    split: str = field(
        default="heldout",
        metadata={"help": "Whose toys: heldout, or a half of them: validation, test."},
    )
    reference_px: int = field(default=64, metadata={"help": "Side of references, in pixels."})
    query_px: int = field(default=96, metadata={"help": "Side of images asked about, in pixels."})
    prompts: str | None = field(default=None, metadata={"help": "Template file."})
    toys: int = field(default=60, metadata={"help": "owned sets: toys in the database."})
    toys_seed: int = field(default=0, metadata={"help": "owned sets: which toys."})
    cache: str = field(
        default="runs/cache/toybox_databases",
        metadata={"help": "owned sets: directory of databases."},
    )

    def __post_init__(self):
        if self.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")

    @property
    def rows(self) -> ToyboxSettings:
        """The settings of rows."""
        return ToyboxSettings(
            split=self.split,
            reference_px=self.reference_px,
            query_px=self.query_px,
            prompts=self.prompts,
        )

    @property
    def counts(self) -> dict[str, int]:
        """Set -> questions, in the order of the benchmark.

        Raises:
            InputError: no such size or set, or nothing to ask.
        """
        if self.size not in self.sizes:
            raise InputError(
                f"size {self.size!r} is none of the config's: "
                f"{', '.join(self.sizes) or 'it has no `sizes`'}"
            )
        counts = self.sizes[self.size] or {}
        if unknown := sorted(set(counts) - set(SETS)):
            raise InputError(
                f"sizes.{self.size}: no set {unknown[0]!r}; the benchmark has {', '.join(SETS)}"
            )
        for name, count in counts.items():
            if not isinstance(count, int) or count < 0:
                raise InputError(
                    f"sizes.{self.size}.{name} is {count!r}; it must be a number of questions"
                )
        if not any(counts.values()):
            raise InputError(
                f"sizes.{self.size} asks for nothing; an empty benchmark scores nothing"
            )
        return {name: counts[name] for name in SETS if counts.get(name)}


class Toybox(Benchmark):
    """See the module's docstring."""

    name = "toybox"
    Settings = ToyboxBenchmarkSettings
    drawn = True
    headlines = (
        "oct/accuracy",
        "vlt/iou50",
        "naming_1/f1",
        "naming_2/f1",
        "naming_4/f1",
        "naming_open_1/f1",
        "naming_open_2/f1",
        "naming_image_only/f1",
        "naming_mixed/f1",
        *(f"{name}/f1_on_toy" for name in (*POOLED, *OPEN)),
        "naming_absent/names_nothing",
        *(f"{part}/names_nothing" for part in SILENT["naming_absent"]),
        "naming_wrong/names_nothing",
        "naming_none/names_nothing",
        "captions/at_floor",
        "captions/attribute_accuracy",
    )
    limits = {"oct": 16, "vlt": 48, "captions": 224}
    box_sets = ("vlt",)
    retrieval_sets = tuple(OWNED)
    caption_sets = tuple(name for name in SETS if name not in ("oct", "vlt", LIST))
    fixed_concepts = False
    in_memory = True

    def __init__(self, settings: ToyboxBenchmarkSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.size = max(settings.reference_px, settings.query_px)
        self.titles, self.shown = {**SETS, **POOLS, **PARTS}, SHOWN
        counts = settings.counts
        self.database: Database | None = None
        if any(name in OWNED for name in counts):
            self.database = owned_database(
                settings.toys, settings.toys_seed, settings.cache, settings.rows
            )
            self.owned = owned_references(self.database)
        self.sets = {
            name: self.questions(name, min(count, limit or count)) for name, count in counts.items()
        }
        self._states = {q.id: q.truth["state"] for name in OWNED for q in self.sets.get(name, ())}

    def questions(self, name: str, count: int) -> list[Question]:
        """The first ``count`` questions of a set."""
        s = self.settings
        if name in OWNED:
            return owned_questions(name, count, s.seed, s.rows, s.toys, s.toys_seed)
        return [question_of_row(row) for row in toybox_set(name, count, s.seed, s.rows)]

    def concepts(self) -> list[tuple[Concept, Sequence[Picture]]]:
        """The toys that the user owns, with their category; the other sets draw names anew for each
        question."""
        if self.database is None:
            return super().concepts()
        return [
            (concept, [self.database.image_path(image) for image in concept.images])
            for concept in self.database.concepts().values()
        ]

    def group(self, name: str) -> str:
        return name if name in self.limits else "captions"

    def write(self, query: Query, references: Sequence[Reference]) -> list[dict]:
        return write_owned(self._states[query.id], references, self.settings.rows)

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        """``<set>/<metric>``, two pools: ``captions`` (1, 2 and 4 concepts) and ``naming_all``
        (these and the absent ones, whose every name is an extra), and parts of sets
        (:data:`PARTS`)."""
        metrics: dict[str, Metric] = {}

        def add(
            name: str,
            scorer: Callable,
            sets: Sequence[str],
            keep: Sequence[str] = (),
            only: Callable[[Question], bool] = lambda question: True,
        ):
            pairs = [pair for s in sets for pair in replies.get(s, ()) if only(pair[0])]
            if pairs:
                found = scorer([q for q, _ in pairs], [reply for _, reply in pairs])
                metrics.update(
                    {f"{name}/{key}": m for key, m in found.items() if not keep or key in keep}
                )

        add("oct", _score_oct, ["oct"])
        add("vlt", _score_vlt, ["vlt"])
        for name in (*NAMED, *OWNED, *OPEN):
            add(name, _score_captions, [name], (*_NAMES, *BINDING, "names_used", *_TEXT))
        # A name where none is expected is an extra.
        add(MIXED, _score_captions, [MIXED], (*_NAMES, *BINDING, *_TEXT))
        # With no name expected, recall and F1 say nothing.
        for name in NONE_EXPECTED:
            add(name, _score_captions, [name], ("names_nothing", *_TEXT))
        for name, parts in SILENT.items():
            for part, r in parts.items():
                keep = ("names_nothing",)
                add(
                    part,
                    _score_captions,
                    [name],
                    keep,
                    lambda q, r=r: not q.names and _rtk(q)[0] == r,
                )
        for part, (place, n) in MIXED_PARTS.items():
            keep = ("precision", "recall", "f1", "names_used")
            add(
                part,
                _score_captions,
                [MIXED],
                keep,
                lambda q, place=place, n=n: bool(q.names) and _rtk(q)[place] == n,
            )
        add("naming_all", _score_captions, [*POOLED, ABSENT], (*_NAMES, *BINDING))
        add("captions", _score_captions, list(POOLED), ("names_used", *_TEXT))
        add("description", _score_captions, ["description"], (*_TEXT, "names_nothing"))
        add(LIST, _score_list, [LIST])
        return metrics

    def info(self, question: Question) -> str:
        return prompt_text(question.prompt or [])

    def true_captions(self, path: str):
        raise InputError(
            "captions.references: the toybox has no true captions of its images; its "
            "attributes are compared instead"
        )

    def describe(self) -> dict:
        return {"size": self.settings.size, "seed": self.settings.seed}


def toybox_set(name: str, count: int, seed: int, settings: ToyboxSettings) -> list[dict]:
    """The first ``count`` rows of a set whose references are handed over, checked against the row
    contract; caption rows have the truth about the scene in the columns ``toys`` and
    ``toy_names``, left to right; a toy without a reference has no name."""
    task = {"oct": OCT, "vlt": VLT}.get(name)
    if task:
        rows = [toybox_row(task, index, seed, settings) for index in range(count)]
    elif name == LIST:
        rows = [list_row(index, seed, settings) for index in range(count)]
    else:
        rows = [_caption_row(name, index, seed, settings) for index in range(count)]
    for row in rows:
        check_row(row, f"toybox benchmark, {name}")
    return rows


def question_of_row(row: dict) -> Question:
    """A row with its truth as a question."""
    query = query_of_row(row)
    return Question(
        **{f.name: getattr(query, f.name) for f in fields(Query)},
        names=tuple(row["names"]),
        absent_names=tuple(row["absent_names"]),
        answer=row["answer"],
        box=tuple(row["box"]) if row["box"] else None,
        source=row["source"],
        truth={key: row[key] for key in ("toys", "toy_names") if key in row},
    )


def _caption_row(name: str, index: int, seed: int, settings: ToyboxSettings) -> dict:
    """A request to describe a scene, with the scene's truth in ``toys``, left to right.

    Composed here and not by :func:`toybox_row`, whose rows do not say who is in the scene.
    """
    row_id = f"toybox-{settings.split}-{seed}-{SEED_KEYS.get(name, name)}-{index}"
    rng = random.Random(row_id)
    shown, present = _cast(name, rng, settings)
    scene = compose(rng, present, settings.query_px)
    rng.shuffle(shown)
    references = [
        Reference(
            called,
            compose(rng, [identity], settings.reference_px).image,
            None if name in IMAGE_ONLY else identity.description,
        )
        for identity, called in zip(shown, draw_names(rng, len(shown)), strict=True)
    ]
    row = identity_consistency_row(
        rng,
        row_id,
        references,
        [identity in present for identity in shown],
        scene.image,
        source=f"toybox:{SEED_KEYS.get(name, name)}",
        templates=load_templates(settings),
        caption_style=draw_caption_style(rng) if shown or name == "naming_none" else None,
    )
    called = {
        identity: reference.name for identity, reference in zip(shown, references, strict=True)
    }
    return {
        **row,
        "toys": [asdict(toy.identity) for toy in scene.toys],
        "toy_names": [called.get(toy.identity) for toy in scene.toys],
    }


def _cast(
    name: str, rng: random.Random, settings: ToyboxSettings
) -> tuple[list[Identity], list[Identity]]:
    """The toys of the references, and those in the image."""
    if name == MIXED:
        return draw_cast(rng, combination_of(rng, settings), settings)[:2]
    if name in OPEN:
        k = OPEN[name]
        combination = Combination(k + rng.choice(DISTRACTORS), k + rng.choice(UNLISTED), k)
        return draw_cast(rng, combination, replace(settings, hard_distractor_share=0.0))[:2]
    if name == ABSENT:
        return draw_cast(
            rng,
            Combination(rng.choice(ABSENT_REFERENCES), rng.choice(ABSENT_TOYS), 0),
            replace(settings, hard_distractor_share=0.0),
        )[:2]
    toys_in = rng.choice(NAMED.get(name) or ((1, 2, 3) if name == "description" else (1, 2)))
    alone = name in ("description", "naming_none", "naming_wrong")
    distractors = 0 if alone else rng.choice(DISTRACTORS)
    identities = draw_identities(rng, toys_in + distractors, settings)
    present, absent = identities[:toys_in], identities[toys_in:]
    if name == "naming_wrong":
        absent = _hard_negatives(rng, present, settings.half)
    return absent + (present if name in NAMED else []), present


def _rtk(question: Question) -> tuple[int, int, int]:
    """Number of references, of toys in the image, and of those that are both."""
    return (
        len(question.names) + len(question.absent_names),
        len(question.truth["toys"]),
        len(question.names),
    )


def _hard_negatives(
    rng: random.Random, toys: Sequence[Identity], half: str | None = None
) -> list[Identity]:
    """For each toy one that differs in one attribute; all distinct, and none of ``toys``."""
    found: list[Identity] = []
    for toy in toys:
        while (other := hard_negative(rng, toy, half)) in [*toys, *found]:
            continue
        found.append(other)
    return found


def _score_oct(questions, replies) -> dict[str, Metric]:
    return recognition_metrics(
        [r.text for r in replies],
        [q.answer for q in questions],
        [q.source == "toybox:hard" for q in questions],
    )


def _score_vlt(questions, replies) -> dict[str, Metric]:
    return localization_metrics(
        [r.text for r in replies], [q.box for q in questions], [r.box_frame for r in replies]
    )


def _score_captions(questions, replies) -> dict[str, Metric]:
    # A retrieved reference that is not in the image is one that must not be named.
    absent = [
        (*q.absent_names, *(one.name for one in r.concepts if one.name not in q.names))
        for q, r in zip(questions, replies, strict=True)
    ]
    texts, expected = [r.text for r in replies], [q.names for q in questions]
    places = [
        name_places(r.caption, q.truth["toys"], q.truth["toy_names"], a)
        for q, r, a in zip(questions, replies, absent, strict=True)
    ]
    return {
        **naming_metrics(
            [count_names(*each) for each in zip(texts, expected, absent, strict=True)]
        ),
        **binding_metrics(texts, expected, absent, places),
        **attribute_metrics(
            [read_caption(r.caption) for r in replies], [q.truth["toys"] for q in questions]
        ),
        **length_metrics([r.n_tokens for r in replies]),
    }


def _score_list(questions, replies) -> dict[str, Metric]:
    return list_metrics([q.truth["toys"] for q in questions], replies)
