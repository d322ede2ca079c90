"""Every generator by name: what makes rows from counts, seed and settings."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from data_gen.files.errors import SourceError
from data_gen.files.files import file_digest, stamp_of
from data_gen.rows.indexed import RowMaker
from data_gen.sources.box_filters import Limits
from data_gen.sources.detection import detection_maker, detection_source, open_boxes
from data_gen.sources.detection import summary as boxes_summary
from data_gen.sources.folders import folder_maker, folder_source
from data_gen.sources.image_pairs import Pairs
from data_gen.sources.mixture import mixture_maker
from data_gen.sources.pair_parquet import fetch_pairs, footer_digest, is_hub_id
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    folded,
    read_classes,
    scan,
)
from data_gen.sources.photo_folders import summary as photos_summary
from data_gen.sources.released import released_maker
from data_gen.sources.subjects200k import read_pairs, subjects200k_maker, thresholds
from data_gen.sources.subjects200k import summary as pairs_summary
from data_gen.synthesis.diffusion import diffusion_maker
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.subjects import Source
from data_gen.toybox.rows import ToyboxSettings, toybox_maker
from data_gen.toybox.subjects import toy_source


def _toybox(counts: dict, seed: int, settings: dict) -> RowMaker:
    return toybox_maker(counts, seed, ToyboxSettings(**settings))


def _mixture(counts: dict, seed: int, settings: dict) -> RowMaker:
    sources = {name: made for name, made in GENERATORS.items()
               if name not in ("mixture", "diffusion")}  # which makes pairs, not rows
    return mixture_maker(counts, seed, settings.get("sources"), sources)


class Generator(NamedTuple):
    """A source of rows: what makes them from counts, seed and settings, and which settings."""

    maker: Callable[[dict, int, dict], RowMaker]
    settings: set[str]


def _source(maker: Callable[..., RowMaker]) -> Generator:
    """A generator whose settings are the arguments of ``maker``."""
    arguments = inspect.signature(maker).parameters
    settings = {*arguments} - {"seed", "counts", "templates", "report", "skipped"}
    if "templates" in arguments:
        settings.add("prompts")
    needed = [name for name in arguments
              if name in settings and arguments[name].default is inspect.Parameter.empty]

    def make(counts: dict, seed: int, given: dict) -> RowMaker:
        missing = [name for name in needed if name not in given]
        if missing:
            raise ValueError(f"'{missing[0]}' is missing")
        prompts = given.get("prompts")
        given = {name: value for name, value in given.items() if name != "prompts"}
        if "templates" in arguments:
            given["templates"] = load_prompts(prompts) if prompts else None
        return maker(seed=seed, counts=counts, **given)

    return Generator(make, settings)


GENERATORS = {
    "toybox": Generator(_toybox, {f.name for f in fields(ToyboxSettings)}),
    "folders": _source(folder_maker),
    "subjects200k": _source(subjects200k_maker),
    "detection": _source(detection_maker),
    "released": _source(released_maker),
    "diffusion": _source(diffusion_maker),
    "mixture": Generator(_mixture, {"sources"}),
}


class Opened(NamedTuple):
    """A source, a digest of what it was read from, and a line that says what is used of it."""

    source: Source
    stamp: str
    line: str


def open_source(settings: Mapping) -> Opened:
    """Open what ``settings`` describe: ``kind`` (a key of :data:`KINDS`) and that kind's settings,
    which are named and mean what they do in its generator's config.

    Raises:
        SourceError: an unknown kind or key, or nothing of use.
    """
    kind = settings.get("kind")
    if kind not in KINDS:
        raise SourceError(f"source: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    given = {key: value for key, value in settings.items() if key != "kind"}
    arguments = inspect.signature(KINDS[kind]).parameters
    unknown = sorted(set(given) - set(arguments))
    missing = [name for name, p in arguments.items()
               if p.default is inspect.Parameter.empty and name not in given]
    if unknown or missing:
        raise SourceError("source: " + (f"unknown key '{unknown[0]}'" if unknown else
                                         f"'{missing[0]}' is missing")
                          + f"; {kind} has {', '.join(arguments)}")
    opened = KINDS[kind](**given)
    if not len(opened.source.things):
        raise SourceError(f"source: nothing of use ({opened.line})")
    return opened


def _subjects200k(path: str, quality: Mapping | None = None, keep_unassessed: bool = False,
                  collections: list[str] | None = None, limit: int | None = None,
                  cache: str = "runs/cache", inset: int = 1, size: int = 512) -> Opened:
    folder = fetch_pairs(path, cache, limit) if is_hub_id(path) else path
    pairs = Pairs(folder, inset, size, "long")
    left_out = read_pairs(pairs, thresholds(quality), keep_unassessed=keep_unassessed,
                          collections=collections, limit=limit)
    stamp = stamp_of(*(footer_digest(file) for file in pairs.files), f"{inset} {size}")
    return Opened(Source("subjects200k", pairs), stamp, pairs_summary(pairs, left_out))


def _folders(root: str, classes: str | None = None, size: int = 384, side: str = "long") -> Opened:
    folder = Path(root)
    if not folder.is_dir():
        raise SourceError(f"{root} is no directory; give one that holds <subject>/*.jpg")
    file = Path(classes) if classes else next(
        (folder / name for name in CLASSES_FILES if (folder / name).is_file()), None)
    subjects, left_out = scan(folder, size, side, keep=file)
    kinds = read_classes(file) if file else {}
    for subject in subjects:
        subject.kind = kinds.get(folded(subject.name))
    stamp = stamp_of(file_digest(p for s in subjects for p in s.photos), f"{size} {side}")
    return Opened(folder_source(folder, subjects, size, side), stamp,
                  photos_summary(subjects, left_out, classes=file))


def _detection(annotations: str, images: str, references: str | None = None,
               box_format: str = "xywh", categories: list[str] | None = None,
               min_share: float = 0.02, max_share: float = 0.8, min_side: int = 48,
               min_margin: int = 1, duplicate_iou: float = 0.9, max_overlap: float = 0.1
               ) -> Opened:
    limits = Limits(min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap)
    found, kept = open_boxes(annotations, images, references, box_format, categories, limits)
    stamp = stamp_of(file_digest(file for file in (annotations, references) if file), images)
    return Opened(detection_source(found, kept, limits, "detection"), stamp,
                  boxes_summary("detection", kept))


def _toys(count: int, seed: int = 0, split: str = "heldout", size: int = 64) -> Opened:
    return Opened(toy_source(count, seed, split, size), f"{seed} {split} {size}",
                  f"toys: {count} of the side '{split}'")


KINDS: dict[str, Callable[..., Opened]] = {
    "subjects200k": _subjects200k,
    "folders": _folders,
    "detection": _detection,
    "toys": _toys,
}
