"""How likely a policy is to name somebody, where somebody is expected and where nobody is.

Greedy captions say which of two is likelier, to name or to be silent; what reinforcement learning
can raise is what sampling finds. Every question is asked several times at a temperature, and the
share of captions that write any listed name is its probability of naming. Sets::

    unlisted   1-4 references and 1-4 toys, drawn independently, half of the images show none of
               the references; toys without a reference stand in the image
    hard       the same, and distractors differ in one attribute from a toy in the image

Metrics of a set: ``named_expected`` and ``named_not`` (probability of naming where somebody is
expected and where nobody is), ``auroc`` (of that probability, for telling the one from the other),
and the shares of captions that are long or short, and name or are silent, in either case, as
``expected_named_long`` ... ``not_silent_short``; long is what reaches the length floor.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.naming import count_names
from benchmarks.metrics.recognition import auroc
from benchmarks.toybox.benchmark import question_of_row
from data_gen.files.errors import InputError
from data_gen.rows import ICT
from data_gen.toybox.rows import ToyboxSettings, toybox_row

SETS = {
    "unlisted": "odds of naming, unlisted toys",
    "hard": "odds of naming, hard negatives shown",
}
"""Set -> its label in tables."""

HARD_SHARE = {"unlisted": 0.0, "hard": 1.0}
FLOOR = 100
"""Tokens, as in the rewards: a caption of so many is long."""


@dataclass(kw_only=True)
class NamingOddsSettings:
    """What is asked how often."""

    questions: int = field(default=240, metadata={"help": "Questions of each set."})
    samples: int = field(default=8, metadata={"help": "Captions of each question."})
    temperature: float = field(default=1.0, metadata={"help": "Of sampling; 0 is greedy."})
    seed: int = field(default=7002, metadata={"help": "Seed of the questions."})
    split: str = field(default="heldout", metadata={"help": "heldout, validation or test."})
    info_share: float = field(
        default=0.5, metadata={"help": "References that come with their owner's words."}
    )

    def __post_init__(self):
        for name in ("questions", "samples"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.temperature < 0:
            raise InputError(f"temperature is {self.temperature}; it must not be negative")


class NamingOdds(Benchmark):
    """See the module's docstring."""

    name = "naming_odds"
    Settings = NamingOddsSettings
    drawn = True
    headlines = tuple(
        f"{name}/{key}" for name in SETS for key in ("named_expected", "named_not", "auroc")
    )
    limits = {name: 224 for name in SETS}
    fixed_concepts = False
    in_memory = True

    def __init__(self, settings: NamingOddsSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.temperature = settings.temperature
        self.titles = dict(SETS)
        count = min(settings.questions, limit or settings.questions)
        self.sets = {
            name: [
                replace(question, id=f"{question.id}#{k}")
                for question in self._questions(name, count)
                for k in range(settings.samples)
            ]
            for name in SETS
        }

    def _questions(self, name: str, count: int) -> list[Question]:
        rows = ToyboxSettings(
            split=self.settings.split,
            info_share=self.settings.info_share,
            hard_distractor_share=HARD_SHARE[name],
        )
        return [
            question_of_row(toybox_row(ICT, index, self.settings.seed, rows))
            for index in range(count)
        ]

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        metrics: dict[str, Metric] = {}
        for name, pairs in replies.items():
            if pairs:
                found = odds_metrics(
                    [q.id.rpartition("#")[0] for q, _ in pairs],
                    [bool(q.names) for q, _ in pairs],
                    [_names_somebody(q, reply.text) for q, reply in pairs],
                    [reply.n_tokens >= FLOOR for _, reply in pairs],
                )
                metrics.update({f"{name}/{key}": metric for key, metric in found.items()})
        return metrics


def odds_metrics(
    questions: list[str], expected: list[bool], named: list[bool], long: list[bool]
) -> dict[str, Metric]:
    """The metrics of one set; see the module's docstring. Rows are questions, not captions.

    Args:
        questions: of N captions, those of a question in succession.
        expected: whether any name is expected.
        named: whether any listed name is written.
        long: whether the caption reaches the floor.
    """
    groups = [list(rows) for _, rows in groupby(range(len(questions)), key=questions.__getitem__)]

    def share(of: Callable[[int], bool]) -> np.ndarray:
        return np.array([np.mean([of(i) for i in rows]) for rows in groups])

    due = np.array([expected[rows[0]] for rows in groups])
    probability = share(lambda i: named[i])
    metrics = {
        "named_expected": ratio(probability * due, due),
        "named_not": ratio(probability * ~due, ~due),
        "auroc": auroc(probability, due),
    }
    for side, here in (("expected", due), ("not", ~due)):
        for says, wanted in (("named", True), ("silent", False)):
            for size, reaches in (("long", True), ("short", False)):
                found = share(lambda i, w=wanted, r=reaches: named[i] == w and long[i] == r)
                metrics[f"{side}_{says}_{size}"] = ratio(found * here, here)
    return metrics


def _names_somebody(question: Question, text: str) -> bool:
    counts = count_names(text, question.names, question.absent_names)
    return bool(counts.hits or counts.extra)
