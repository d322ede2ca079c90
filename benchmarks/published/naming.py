"""Naming benchmark: do captions name the concepts whose references are shown (RePIC 2506.18369)?

The true references are handed over (*skip-retrieval*), or a system with ``retrieval`` finds them
among all concepts of the benchmark; every name of a question stays expected, retrieved or not, as
in RePIC's figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.formats.captions import read_true_captions
from benchmarks.formats.files import bare, find_image, is_name
from benchmarks.harness.benchmark import Question
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.naming import naming_metrics, strict_tallies
from benchmarks.metrics.repic_naming import VARIANTS, published_tallies
from benchmarks.published.controls import TITLES
from benchmarks.published.questions import (
    MISSING_IMAGE,
    Published,
    PublishedSettings,
    checked,
    dreambooth_questions,
    owned_references,
    read_object,
)
from data_gen.files.errors import InputError
from data_gen.files.skipped import printable
from data_gen.rows import ICT
from rewards.names import name_key, names_written


@dataclass(kw_only=True)
class NamingSettings(PublishedSettings):
    """Where the queries lie and how captions are asked for."""

    variant: str = field(
        default="n",
        metadata={
            "help": "Of the published metric: 2 for the file with two concepts, n for all others."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        self.variant = str(self.variant)
        if self.variant not in VARIANTS:
            raise InputError(f"variant must be one of {', '.join(VARIANTS)}, not {self.variant!r}")


class Naming(Published):
    """RePIC's queries, or DreamBooth folders."""

    name, title = "naming", "naming"
    Settings = NamingSettings
    headlines = ("naming/f1", "naming/published_f1")
    limits = {"naming": 256}
    retrieval_sets = ("naming",)
    caption_sets = ("naming",)

    def __init__(self, settings: NamingSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.owned = owned_references(self.all_questions, self.references(), self.skipped)
        self.columns = {
            "F1": "naming/f1",
            "F1, as published": "naming/published_f1",
            "retrieved": "naming/retrieved",
            "writes a given name": "naming/names_given",
            **{
                f"… {TITLES[control]}": f"naming_{control}/names_given"
                for control in ("absent", "wrong", "none")
            },
        }

    def load(self) -> list[Question]:
        s = self.settings
        if Path(s.path).is_dir():
            return dreambooth_questions(s.path, self.templates, ICT, self.skipped)
        data = read_object(s.path, self.skipped, "{image: [names]}")
        references, requests = self.references(), self.templates[ICT]["requests"]
        found, seen = [], set()
        groups = [(path, group) for path, names in data.items() for group in name_groups(names)]
        for i, (path, group) in enumerate(groups):
            if not group or not all(map(is_name, group)):
                self.skipped.add("image without names", printable(path))
                continue
            names = [bare(name) for name in group]
            image, given = find_image(path, s.roots), references.of(names)
            if len(set(map(name_key, names))) < len(names):
                self.skipped.add("name that is given twice", printable(path))
            elif (path, tuple(names)) in seen:
                self.skipped.add("image with the same names again", printable(path))
            elif image is None:
                self.skipped.add(MISSING_IMAGE, printable(path))
            elif isinstance(given, str):
                self.skipped.add(given, f"{printable(path)}: {', '.join(map(printable, names))}")
            elif any(
                reference.image.samefile(image)
                for reference in given
                if isinstance(reference.image, Path)
            ):
                self.skipped.add("query that is its own reference", printable(path))
            else:
                seen.add((path, tuple(names)))
                found.append(
                    Question(
                        f"{Path(s.path).stem}-{i}",
                        ICT,
                        requests[i % len(requests)],
                        image,
                        given,
                        k=2 if len(names) <= 2 else 4,
                        names=tuple(names),
                        source=f"{Path(s.path).name}: {path}",
                    )
                )
        return checked(found, s.path, self.skipped)

    def score_set(self, control, questions, replies, likelihoods) -> dict[str, Metric]:
        texts = [reply.caption for reply in replies]
        expected = [question.names for question in questions]
        # What was retrieved is given, too, whether verification kept it or not.
        given = [
            (*q.names, *q.absent_names, *(one.name for one in r.concepts))
            for q, r in zip(questions, replies, strict=True)
        ]
        found = naming_metrics(strict_tallies(texts, expected, {n for of in given for n in of}))
        found["names_given"] = ratio(
            [bool(names_written(text, names)) for text, names in zip(texts, given, strict=True)]
        )
        found["tokens"] = ratio([reply.n_tokens for reply in replies])
        if control:
            return {key: found[key] for key in ("names_given", "names_nothing", "tokens")}
        published = naming_metrics(
            published_tallies(
                texts,
                [[f"<{name}>" for name in names] for names in expected],
                self.settings.variant,
            )
        )
        return found | {f"published_{key}": published[key] for key in ("precision", "recall", "f1")}

    def true_captions(self, path: str) -> dict[str, Sequence[str]]:
        truths = read_true_captions(path, self.settings.roots, self.skipped)
        return {
            q.id: truths.get(Path(q.image).resolve(), ())
            for q in self.all_questions
            if isinstance(q.image, Path)
        }


def name_groups(names: Any) -> list[list]:
    """The lists of names asked about for one image, one list for each question."""
    if isinstance(names, list) and names and all(isinstance(part, list) for part in names):
        return names
    return [names if isinstance(names, list) else [names]]
