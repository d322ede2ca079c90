"""Every generator by name: what makes rows from counts, seed and settings."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from data_gen.files.errors import InputError, SourceError
from data_gen.files.files import file_digest, fingerprint_of
from data_gen.files.settings import Arguments, settings_from
from data_gen.preferences.painted import PaintedPreferenceSettings, painted_preference_rows
from data_gen.preferences.released import ReleasedPreferenceSettings, released_preference_rows
from data_gen.preferences.toybox import ToyboxPreferenceSettings, toybox_preference_rows
from data_gen.rows.indexed import IndexedRows
from data_gen.sources.box_filters import Limits
from data_gen.sources.detection import detection_rows, detection_source, open_boxes
from data_gen.sources.detection import summary as boxes_summary
from data_gen.sources.folders import folder_rows, folder_source
from data_gen.sources.image_pairs import Pairs
from data_gen.sources.mixture import mixture_rows
from data_gen.sources.needed import check_needed
from data_gen.sources.pair_parquet import fetch_pairs, footer_digest, is_hub_id
from data_gen.sources.photo_folders import (
    CLASSES_FILES,
    folded,
    read_classes,
    scan,
)
from data_gen.sources.photo_folders import summary as photos_summary
from data_gen.sources.released import released_rows
from data_gen.sources.subjects200k import read_pairs, subjects200k_rows, thresholds
from data_gen.sources.subjects200k import summary as pairs_summary
from data_gen.sources.zip_root import folder_of_root
from data_gen.synthesis.diffusion import diffusion_pairs
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.subjects import Source
from data_gen.toybox.rows import ToyboxSettings, toybox_rows
from data_gen.toybox.subjects import toy_source


class Generator(NamedTuple):
    """A source of rows.

    Attributes:
        rows: counts, seed, settings -> rows; it checks the settings.
        settings: their names.
        arguments: the same with types, defaults and help, for :func:`read_settings`.
    """

    rows: Callable[[dict, int, dict], IndexedRows]
    settings: set[str]
    arguments: Arguments


# Arguments of the functions below that are no settings.
_NO_SETTINGS = frozenset({"seed", "counts", "templates", "report", "skipped", "generators"})


def _generator(name: str, function: Callable, make: Callable[..., IndexedRows]) -> Generator:
    """A generator whose settings are the arguments of a function.

    Args:
        function: its arguments are the settings.
        make: counts, seed and settings as keywords -> rows.
    """
    names = inspect.signature(function).parameters
    # A function that is handed templates reads them from a file where `prompts` names one.
    more = {"prompts": str | None} if "templates" in names else {}
    helps = {"prompts": "Template file; null: data_gen/tasks/prompts/default.yaml."}
    arguments = Arguments(function, _NO_SETTINGS, more, helps)

    def maker(counts: dict, seed: int, settings: dict) -> IndexedRows:
        given = settings_from(settings, arguments, name)
        check_needed({"generator": name, **given})
        if more:
            prompts = given.pop("prompts", None)
            given["templates"] = load_prompts(prompts) if prompts else None
        return make(counts=counts, seed=seed, **given)

    return Generator(maker, {*names, *more} - _NO_SETTINGS, arguments)


def _toybox(counts: dict, seed: int, **settings) -> IndexedRows:
    return toybox_rows(counts, seed, ToyboxSettings(**settings))


def _of_dataclass(name: str, kind: type, rows: Callable[..., IndexedRows]) -> Generator:
    """A generator whose settings are a dataclass: counts, seed, an instance of it -> rows."""

    def make(counts: dict, seed: int, **settings) -> IndexedRows:
        return rows(counts, seed, kind(**settings))

    return _generator(name, kind, make)


def _mixture(counts: dict, seed: int, sources: Mapping) -> IndexedRows:
    generators = {
        name: made for name, made in GENERATORS.items() if name not in ("mixture", "diffusion")
    }  # which makes pairs, not rows
    return mixture_rows(counts, seed, sources, generators)


GENERATORS = {
    "toybox": _generator("toybox", ToyboxSettings, _toybox),
    "folders": _generator("folders", folder_rows, folder_rows),
    "subjects200k": _generator("subjects200k", subjects200k_rows, subjects200k_rows),
    "detection": _generator("detection", detection_rows, detection_rows),
    "released": _generator("released", released_rows, released_rows),
    "diffusion": _generator("diffusion", diffusion_pairs, diffusion_pairs),
    "toybox_preferences": _of_dataclass(
        "toybox_preferences", ToyboxPreferenceSettings, toybox_preference_rows
    ),
    "painted_preferences": _of_dataclass(
        "painted_preferences", PaintedPreferenceSettings, painted_preference_rows
    ),
    "released_preferences": _of_dataclass(
        "released_preferences", ReleasedPreferenceSettings, released_preference_rows
    ),
    "mixture": _generator("mixture", mixture_rows, _mixture),
}


class Opened(NamedTuple):
    """A source, the fingerprint of what it was read from, and a line on what of it is used."""

    source: Source
    fingerprint: str
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
    try:
        given = settings_from(given, KINDS[kind], f"source: {kind}")
    except InputError as error:
        arguments = inspect.signature(KINDS[kind]).parameters
        raise SourceError(f"{error}; {kind} has {', '.join(arguments)}") from None
    opened = KINDS[kind](**given)
    if not len(opened.source.subjects):
        raise SourceError(f"source: nothing of use ({opened.line})")
    return opened


def _subjects200k(
    path: str,
    quality: Mapping | None = None,
    keep_unassessed: bool = False,
    collections: list[str] | None = None,
    limit: int | None = None,
    cache: str = "runs/cache",
    inset: int = 1,
    size: int = 512,
) -> Opened:
    folder = fetch_pairs(path, cache, limit) if is_hub_id(path) else path
    pairs = Pairs(folder, inset, size, "long")
    skipped = read_pairs(
        pairs,
        thresholds(quality),
        keep_unassessed=keep_unassessed,
        collections=collections,
        limit=limit,
    )
    fingerprint = fingerprint_of(*(footer_digest(file) for file in pairs.files), f"{inset} {size}")
    return Opened(Source("subjects200k", pairs), fingerprint, pairs_summary(pairs, skipped))


def _folders(root: str, classes: str | None = None, size: int = 384, side: str = "long") -> Opened:
    folder = folder_of_root(root)
    file = (
        Path(classes)
        if classes
        else next((folder / name for name in CLASSES_FILES if (folder / name).is_file()), None)
    )
    folders, skipped = scan(folder, size, side, keep=file)
    kinds = read_classes(file) if file else {}
    for found in folders:
        found.kind = kinds.get(folded(found.name))
    fingerprint = fingerprint_of(
        file_digest(p for f in folders for p in f.photos), f"{size} {side}"
    )
    return Opened(
        folder_source(folder, folders, size, side),
        fingerprint,
        photos_summary(folders, skipped, classes=file),
    )


def _detection(
    annotations: str,
    images: str,
    references: str | None = None,
    box_format: str = "xywh",
    categories: list[str] | None = None,
    min_share: float = 0.02,
    max_share: float = 0.8,
    min_side: int = 48,
    min_margin: int = 1,
    duplicate_iou: float = 0.9,
    max_overlap: float = 0.1,
) -> Opened:
    limits = Limits(min_share, max_share, min_side, min_margin, duplicate_iou, max_overlap)
    found, kept = open_boxes(annotations, images, references, box_format, categories, limits)
    files = (file for file in (annotations, references) if file)
    fingerprint = fingerprint_of(file_digest(files), images)
    return Opened(
        detection_source(found, kept, limits, "detection"),
        fingerprint,
        boxes_summary("detection", kept),
    )


def _toys(count: int, seed: int = 0, split: str = "heldout", size: int = 64) -> Opened:
    return Opened(
        toy_source(count, seed, split, size),
        f"{seed} {split} {size}",
        f"toys: {count} of the split '{split}'",
    )


KINDS: dict[str, Callable[..., Opened]] = {
    "subjects200k": _subjects200k,
    "folders": _folders,
    "detection": _detection,
    "toys": _toys,
}
