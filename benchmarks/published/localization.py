"""Where is the thing? A detection set as a benchmark, from the settings of an evaluation to its
files.

Boxes are asked for as in training (:mod:`data_gen.sources.detection`: a reference picture of the same thing
where the set has one, words otherwise). A policy's own convention, pixels or thousandths, is known
from its family or named by ``box_convention``; its frame is kept beside each answer, so that kept
answers of policies with different conventions are scored in one table, ``--score_only``. That needs
no policy, but the pictures: what is right follows from how they are cut and mirrored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from accelerate import PartialState

from benchmarks.harness.evaluation import (
    EvaluateArguments,
    Times,
    announce,
    folder_of,
    loader,
    made_by,
    mark_of,
    write,
)
from benchmarks.harness.predictions import predict, read_answers, scored
from benchmarks.harness.samples import SHOWN, sample
from benchmarks.harness.systems import Policy, parse_policies
from benchmarks.harness.table import markdown, tabulate
from benchmarks.metrics.localization import localization_metrics
from benchmarks.published import benchmark as published
from benchmarks.published.benchmark import PublishedSettings
from benchmarks.published.loading import PART
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import LeftOut, leave, left_out_line, told
from data_gen.rows import VLT
from data_gen.rows.indexed import Skipped
from data_gen.sources.detection import detection_maker
from data_gen.tasks.prompts import load_prompts

KIND = "localization"


@dataclass(frozen=True)
class Place:
    """What is right: ``box`` x1 y1 x2 y2 in 0-1 of the picture of row ``id``."""

    id: str
    box: tuple[float, float, float, float]


def localization_rows(
    annotations: str | Path, images: str | Path, count: int, left_out: LeftOut, *, seed: int = 0,
    **settings,
) -> Iterator[dict]:
    """Rows that ask for boxes, from a COCO or RefCOCO file.

    Args:
        annotations, images, seed, settings: of :func:`data_gen.sources.detection.detection_maker`.
        count: number of rows.
        left_out: is given boxes that are of no use, and rows that cannot be had.

    Raises:
        SourceError: nothing usable; at the call, not at the first row.
    """
    maker = detection_maker(annotations, images, seed=seed, counts={VLT: count},
                            report=lambda _: None, **settings)
    for reason, n in maker.left_out.items():
        left_out[reason] = [Path(annotations).name] * n

    def rows() -> Iterator[dict]:
        for index in range(count):
            row = maker.make(VLT, index)
            if isinstance(row, Skipped):
                leave(left_out, row.reason, f"row {index}")
            else:
                yield row

    return rows()


def evaluate_localization(args: EvaluateArguments) -> dict | None:
    """As :func:`benchmarks.toybox.run.evaluate_toybox`."""
    times, left_out = Times(), {}
    settings = published.published_settings(args.settings)
    if args.captions:
        raise BenchmarkError("captions: localization asks for no captions; leave them out")
    policies = parse_policies(args.policy, check=not args.score_only)
    rows = _rows(settings, args.limit, left_out)
    announce(args, policies, left_out_line(left_out))
    places, shown = _answer(policies, rows, args, settings, times)
    if not PartialState().is_main_process:
        return None
    if not places:
        raise BenchmarkError(f"{settings.path}: no row is left to ask; {left_out_line(left_out)}")
    read = {p.label: read_answers(folder_of(p, args), KIND) for p in policies}
    # An answer without a frame cannot be placed.
    answers = {label: {i: p for i, p in found.items() if p.box_frame}
               for label, (found, _, _) in read.items()}
    asked = scored(places, answers, KIND, left_out)
    metrics = {
        label: {f"{KIND}/{key}": metric for key, metric in localization_metrics(
            [found[place.id].text for place in asked], [place.box for place in asked],
            [found[place.id].box_frame for place in asked]).items()}
        for label, found in answers.items()}
    titles = published.titles(KIND)
    ids = {place.id for place in asked}
    samples = [sample(row, titles[KIND], {label: of[row["id"]] for label, of in answers.items()})
               for row in shown if row["id"] in ids]
    result = {
        "benchmark": KIND, "counts": {KIND: len(asked)}, "resamples": args.resamples,
        "settings": asdict(settings), "left_out": told(left_out),
        **made_by(policies, {label: sorted(makers) for label, (_, _, makers) in read.items()},
                  times),
        **tabulate(metrics, titles, published.HEADLINES[KIND], resamples=args.resamples),
    }
    return write(args, result, samples,
                 "\n".join([markdown(result), left_out_line(left_out)]).rstrip() + "\n")


def _rows(settings: PublishedSettings, limit: int | None, left_out: LeftOut) -> Iterator[dict]:
    if not isinstance(settings.images, str):
        raise BenchmarkError("settings.images must be the folder of the set's pictures")
    count = settings.rows if limit is None else min(limit, settings.rows)
    if count < 1:
        raise BenchmarkError("settings.rows and limit must be 1 or more; an empty benchmark scores "
                             "nothing")
    templates = load_prompts(settings.prompts) if settings.prompts else None
    try:
        return localization_rows(settings.path, settings.images, count, left_out,
                                 seed=settings.seed, size=settings.size, side=settings.side,
                                 templates=templates, **settings.boxes)
    except TypeError as error:
        # Of a key that the source does not know, or has been given above.
        raise BenchmarkError(f"settings.boxes: {error}") from None


def _answer(
    policies: Sequence[Policy], rows: Iterator[dict], args: EvaluateArguments,
    settings: PublishedSettings, times: Times,
) -> tuple[list[Place], list[dict]]:
    """Ask every policy, some rows at a time; what is right, and the first rows."""
    loads = {p.label: loader(p, args, times) for p in policies}
    marks = {} if args.score_only else {p.label: mark_of(p, args) for p in policies}
    places: list[Place] = []
    shown: list[dict] = []
    most = SHOWN if args.shown is None else args.shown
    while part := list(islice(rows, PART)):
        places += [Place(row["id"], tuple(row["box"])) for row in part]
        shown += part[: max(0, most - len(shown))]
        for policy in [] if args.score_only else policies:
            with times.sitting_of(policy.label):
                predict(loads[policy.label], part, folder_of(policy, args) / f"{KIND}.jsonl",
                        fingerprint=marks[policy.label],
                        max_new_tokens=args.max_new_tokens.get(KIND, published.LIMITS[KIND]),
                        batch_size=args.batch_size, wants_box=True,
                        box_convention=args.box_convention, title=f"{policy.label}: {KIND}")
    return places, shown
