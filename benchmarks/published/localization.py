"""Localization benchmark: where is the concept? Asked with the boxes of a detection set.

Boxes are asked for as in training (:mod:`data_gen.sources.detection`: a reference image of the same
subject where the set has one, words otherwise). A policy's own convention, pixels or thousandths,
is known from its family or named by ``box_convention``; its frame is kept with each reply, so
that kept replies of policies with different conventions are scored in one table (``score_only``).
That needs no policy, but the images: the true boxes follow from how they are cropped and mirrored.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.benchmark import Benchmark, Question
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.localization import localization_metrics
from concepts.methods.prompting import query_of_row
from data_gen.files.errors import InputError
from data_gen.rows import VLT
from data_gen.rows.indexed import Skipped
from data_gen.sources.detection import detection_rows
from data_gen.sources.needed import check_needed
from data_gen.tasks.prompts import load_prompts
from rewards.parsing import check_answer_format


@dataclass(kw_only=True)
class LocalizationSettings:
    """Where the boxes lie and how many are asked for."""

    path: str = field(metadata={"help": "A COCO or RefCOCO-style file."})
    images: str = field(metadata={"help": "Folder of the set's images."})
    rows: int = field(default=500, metadata={"help": "Questions to make from the boxes."})
    boxes: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "help": "Further settings of data_gen.sources.detection.detection_rows, such as "
            "references, box_format (xywh or xyxy) and categories."
        },
    )
    prompts: str | None = field(default=None, metadata={"help": "Template file; ours by default."})
    size: int = field(
        default=512, metadata={"help": "Images are shrunk until `side` has so many pixels."}
    )
    side: str = field(default="long", metadata={"help": "long or short."})
    seed: int = field(default=0, metadata={"help": "Of the questions."})
    answer_format: str = field(
        default="auto",
        metadata={
            "help": "Which part of a reply is its answer: auto (after <think>...</think>, in "
            "<answer>...</answer> where there are such tags), tagged (only there) or plain (all); "
            "as the rewards' setting of this name."
        },
    )

    def __post_init__(self):
        check_answer_format(self.answer_format)
        if self.rows < 1:
            raise InputError("rows must be 1 or more; an empty benchmark scores nothing")


class Localization(Benchmark):
    """See the module's docstring."""

    name = "localization"
    Settings = LocalizationSettings
    headlines = ("localization/iou50", "localization/mean_iou")
    limits = {"localization": 48}
    box_sets = ("localization",)

    def __init__(self, settings: LocalizationSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.titles = {"localization": "localization"}
        count = min(settings.rows, limit or settings.rows)
        check_needed({**vars(settings), **settings.boxes})
        templates = load_prompts(settings.prompts) if settings.prompts else None
        try:
            self._rows = detection_rows(
                settings.path,
                settings.images,
                seed=settings.seed,
                counts={VLT: count},
                size=settings.size,
                side=settings.side,
                templates=templates,
                report=lambda _: None,
                **settings.boxes,
            )
        except TypeError as error:
            # Of a key that the source does not know, or has been given above.
            raise InputError(f"boxes: {error}") from None
        self.skipped.update(self._rows.skipped)
        self.sets = {"localization": []}
        for index in range(count):
            row = self._rows.make(VLT, index)
            if isinstance(row, Skipped):
                self.skipped.add(row.reason, f"row {index}")
            else:
                self.sets["localization"].append(
                    Question(
                        row["id"],
                        VLT,
                        box=tuple(row["box"]),
                        source=row["source"],
                        truth={"index": index},
                    )
                )

    def open(self, question: Question) -> Question:
        """Crops its image again: there are too many to keep all of them."""
        row = self._rows.make(VLT, question.truth["index"])
        assert not isinstance(row, Skipped)  # it could be made before
        query = query_of_row(row)
        return replace(question, **{f.name: getattr(query, f.name) for f in fields(query)})

    def score(self, replies, likelihoods) -> dict[str, Metric]:
        pairs = replies["localization"]
        found = localization_metrics(
            [r.text for _, r in pairs],
            [q.box for q, _ in pairs],
            [r.box_frame for _, r in pairs],
            answer_format=self.settings.answer_format,
        )
        return {f"localization/{key}": metric for key, metric in found.items()}

    def describe(self) -> dict:
        return {"file": Path(self.settings.path).name}
