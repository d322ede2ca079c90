"""Multiple-choice benchmark, with or without an image (Yo'LLaVA's visual and text questions)."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.formats.files import bare, find_image, is_name
from benchmarks.harness.benchmark import Question
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.multiple_choice import choice_metrics, likelihood_metrics
from benchmarks.published.controls import TITLES
from benchmarks.published.questions import (
    MISSING_IMAGE,
    Published,
    PublishedSettings,
    checked,
    read_object,
)
from benchmarks.published.recognition import with_name
from concepts.methods.prompting import MULTIPLE_CHOICE
from data_gen.files.json_stream import is_text
from data_gen.files.skipped import printable

MOST_OPTIONS = 26


@dataclass(kw_only=True)
class MultipleChoiceSettings(PublishedSettings):
    """Where the questions lie, whether they have images, and whether probabilities are scored."""

    likelihood: bool = field(
        default=False, metadata={"help": "Also score by the likelihood of each option."}
    )
    visual: bool | None = field(
        default=None,
        metadata={
            "help": "Whether keys are images that must be there; null: they are unless numbers."
        },
    )


class MultipleChoice(Published):
    """Options are shuffled, by seed and question: 97.5 % of the released text answers are A."""

    name, title = "multiple_choice", "multiple choice"
    Settings = MultipleChoiceSettings
    headlines = ("multiple_choice/choice", "multiple_choice/likelihood")
    limits = {"multiple_choice": 16}

    def __init__(self, settings: MultipleChoiceSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.columns = {
            "right": "multiple_choice/choice",
            **{
                f"… {TITLES[control]}": f"multiple_choice_{control}/choice"
                for control in ("none", "blind")
            },
        }

    def asks_likelihood(self, name: str) -> bool:
        return self.settings.likelihood

    def load(self) -> list[Question]:
        s = self.settings
        data = read_object(s.path, self.skipped, "{concept: {image or number: question}}")
        references = self.references()
        found = []
        for concept, entries in data.items():
            if not is_name(concept) or not isinstance(entries, dict):
                self.skipped.add("concept without questions", printable(concept))
                continue
            name = bare(concept)
            for key, entry in entries.items():
                where = f"{printable(name)}: {printable(key)}"
                read, given = choice_entry(entry), references.of([name])
                visual = not key.strip().isdigit() if s.visual is None else s.visual
                image = find_image(key, s.roots) if visual else None
                if isinstance(read, str):
                    self.skipped.add(read, where)
                elif visual and image is None:
                    self.skipped.add(MISSING_IMAGE, where)
                elif isinstance(given, str):
                    self.skipped.add(given, where)
                else:
                    text, options, correct = read
                    order = list(range(len(options)))
                    random.Random(f"{s.seed}-{name}-{key}").shuffle(order)
                    found.append(
                        Question(
                            f"{Path(s.path).stem}-{name}-{key}",
                            MULTIPLE_CHOICE,
                            with_name(text, name),
                            image,
                            given,
                            options=tuple(options[k] for k in order),
                            correct=order.index(correct),
                            source=f"{Path(s.path).name}: {where}",
                        )
                    )
        return checked(found, s.path, self.skipped)

    def score_set(self, control, questions, replies, likelihoods) -> dict[str, Metric]:
        correct = [question.correct for question in questions if question.correct is not None]
        found = choice_metrics(
            [reply.text for reply in replies], [question.options for question in questions], correct
        )
        if likelihoods is not None:
            found |= likelihood_metrics(likelihoods, correct)
        return found


def choice_entry(entry: Any) -> tuple[str, list[str], int] | str:
    """Question, options and the place of the right one; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("question")):
        return "question without words"
    options = entry.get("options", entry.get("option"))
    if not isinstance(options, dict) or not 2 <= len(options) <= MOST_OPTIONS:
        return "question without options"
    texts = [text.strip() if is_text(text) else "" for text in options.values()]
    if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
        return "options that are empty or alike"
    if entry.get("correct_answer") not in list(options):
        return "right answer that is no option"
    return entry["question"], texts, list(options).index(entry["correct_answer"])
