"""Read histories of preferences that others published, their defects counted.

    PreferThinker   {"imageA", "imageB", "prefered_images", "non_prefered_images",
                     "prefer_attributes", "non_prefer_attributes", "user_id", "conversations"}
                    JSON, or JSONL; the answer is the last message, or within its <answer> tags
    Pick-a-Pic      {"user_id", "reference_list", "reference_list_bad", "image0", "image1", "label"}
    style           JSON, or JSONL; images are paths, label is 1 where image0 is preferred, 0 where
                    image1 is, 0.5 for a tie. Sets of the hub that are pickle files are not opened:
                    write them as JSONL first.

Both may stand in one file. Images lie under a folder; a path never leads out of it.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Value

from data_gen.files.errors import InputError
from data_gen.files.files import file_digest, fingerprint_of
from data_gen.files.json_stream import is_text, json_items
from data_gen.files.skipped import SkippedItems
from data_gen.images.finding import pictures_below
from data_gen.images.photos import PhotoError, open_photo
from data_gen.preferences.chains import fault_of
from data_gen.preferences.rows import COLUMNS, MOST_PICTURES, preference_prompt
from data_gen.preferences.users import Profile, Taste
from data_gen.rows.indexed import IndexedRows, Skipped
from data_gen.tasks.checks import check_images
from data_gen.tasks.prompts import load_prompts
from rewards.preference import ELEMENTS, LETTERS, TASK, read_chain

PREFERTHINKER = ("prefered_images", "non_prefered_images", "imageA", "imageB")
PICK_A_PIC = ("reference_list", "reference_list_bad", "image0", "image1")
"""Keys of the liked pictures, the disliked ones, A and B."""

_KEYS = {
    "art_style": ("Art Styles", "Art Style", "art_style"),
    "colour": ("Color", "Colour", "colour"),
    "medium": ("Artistic Medium", "ArtisticMedium", "medium"),
    "saturation": ("Saturation", "saturation"),
    "detail": ("Detail", "detail"),
}
"""Element -> its keys; training and evaluation of the release differ in one of them."""

_ANSWER = re.compile(r"(?:image )?([ab])\.?", re.IGNORECASE)


@dataclass(frozen=True)
class History:
    """One published question.

    Args:
        id: file and place.
        liked, disliked: files of 1-5 pictures each.
        candidates: files of A and of B.
        answer: ``A`` or ``B``.
        profiles: liked and disliked, where they are published.
        chain: the published chain of reasons, where there is one.
    """

    id: str
    liked: tuple[Path, ...]
    disliked: tuple[Path, ...]
    candidates: tuple[Path, Path]
    answer: str
    profiles: tuple[Profile, Profile] | None = None
    chain: str = ""


def read_histories(
    path: str | Path, images: str | Path, skipped: SkippedItems, limit: int | None = None
) -> list[History]:
    """The usable questions of a file, in its order.

    Args:
        path: a JSON list, or JSON lines.
        images: the folder that paths lie in.
        skipped: is given what cannot be used, by reason.
        limit: stop after so many.

    Raises:
        InputError: the file cannot be read, or nothing in it can be used.
    """
    if not Path(images).is_dir():
        raise InputError(f"{images} is no folder; give the one that holds the images")
    entries = [entry for _, entry in json_items(path)]
    names = sorted({name for entry in entries for name in _pictures(entry) if is_text(name)})
    pictures = pictures_below(Path(images), names)
    found: list[History] = []
    known: set[tuple] = set()
    for i, entry in enumerate(entries):
        where = f"{Path(path).name}: {i}"
        read = _history(entry, where, pictures, skipped)
        if isinstance(read, str):
            skipped.add(read, where)
            continue
        key = (read.liked, read.disliked, frozenset(read.candidates))
        if key in known:
            skipped.add("question that stands there twice", where)
            continue
        known.add(key)
        found.append(read)
        if limit and len(found) == limit:
            break
    if not found:
        raise InputError(f"{path}: no question can be used; {skipped.line() or 'it is empty'}")
    return found


def _pictures(entry: Any) -> list[Any]:
    """Everything that may be a path of a picture in an entry."""
    if not isinstance(entry, Mapping):
        return []
    found: list[Any] = []
    for key in (*PREFERTHINKER, *PICK_A_PIC):
        value = entry.get(key)
        found += value if isinstance(value, list) else [value]
    return found


def _history(
    entry: Any, where: str, pictures: Mapping[str, Path], skipped: SkippedItems
) -> History | str:
    """A question, or why it cannot be asked."""
    if not isinstance(entry, Mapping):
        return "entry that is no object"
    picked = "image0" in entry
    names = PICK_A_PIC if picked else PREFERTHINKER
    answer = _label(entry.get("label")) if picked else _answer(entry.get("conversations"))
    if answer == "tie":
        return "tie"
    if answer is None:
        return "without an answer"
    histories = []
    for name in names[:2]:
        listed = entry.get(name)
        if not isinstance(listed, list) or not listed:
            return "without a history of both kinds"
        first = [each if is_text(each) else "" for each in listed[:MOST_PICTURES]]
        there = tuple(pictures[each] for each in first if each in pictures)
        for each in first:
            if each not in pictures:
                skipped.add("picture of a history that is missing (the others are used)", where)
        if not there:
            return "no picture of a history is there"
        histories.append(there)
    a, b = (pictures.get(each) if is_text(each) else None for each in map(entry.get, names[2:]))
    if a is None or b is None:
        return "candidate that is missing"
    if a == b:
        return "both candidates are one file"
    liked, disliked = histories
    if set(liked) & set(disliked):
        return "picture both liked and disliked"
    if {a, b} & {*liked, *disliked}:
        return "candidate that stands in the history"
    likes, dislikes = map(_profile, map(entry.get, ("prefer_attributes", "non_prefer_attributes")))
    profiles = (likes, dislikes) if likes and dislikes else None
    if profiles is None and ("prefer_attributes" in entry or "non_prefer_attributes" in entry):
        skipped.add("profile without five terms (the question is kept)", where)
    messages = entry.get("conversations")
    said = messages[-1].get("value") if isinstance(messages, list) and messages else None
    return History(
        where,
        liked,
        disliked,
        (a, b),
        answer,
        profiles,
        said if is_text(said) and "<think>" in said else "",
    )


def _label(label: Any) -> str | None:
    if isinstance(label, bool) or not isinstance(label, int | float):
        return None
    return {1: "A", 0: "B", 0.5: "tie"}.get(label)


def _answer(conversations: Any) -> str | None:
    """The answer of the last message, whole or within its tags."""
    last = conversations[-1] if isinstance(conversations, list) and conversations else None
    text = last.get("value") if isinstance(last, Mapping) else None
    if not is_text(text):
        return None
    match = _ANSWER.fullmatch(text.strip())
    return match[1].upper() if match else read_chain(text).answer


def _profile(attributes: Any) -> Profile | None:
    if not isinstance(attributes, Mapping):
        return None
    terms = [next((attributes[k] for k in _KEYS[e] if k in attributes), None) for e in ELEMENTS]
    if not all(is_text(term) and term.strip() for term in terms):
        return None
    return Profile(*(" ".join(str(term).split()) for term in terms))


@dataclass
class ReleasedPreferenceSettings:
    """Preference rows of a released file."""

    path: str = field(metadata={"help": "JSON or JSON lines; data_gen/preferences/released.py."})
    images: str = field(metadata={"help": "The folder that its paths lie in."})
    targets: bool = field(
        default=False,
        metadata={
            "help": "Add a column `target`: the published chain. Rows are skipped whose chain has "
            "a fault, another profile than the published one, or another answer."
        },
    )
    size: int = field(default=512, metadata={"help": "Long side of pictures, in pixels."})
    image_format: str = field(default="jpeg", metadata={"help": "jpeg or png."})
    prompts: str | None = field(default=None, metadata={"help": "Template file."})


def released_preference_rows(
    counts: dict[str, int], seed: int, settings: ReleasedPreferenceSettings
) -> IndexedRows:
    """Rows of a released file, in an order drawn from the seed.

    Which candidate is A is drawn by lot, as the published order is not balanced, but for rows with
    a published chain, which speaks of A and B.

    Raises:
        InputError: another task than ``preference``, more rows than there are, or nothing usable.
    """
    check_images(settings.size, "long", settings.image_format)
    skipped = SkippedItems()
    histories = read_histories(settings.path, settings.images, skipped)
    if set(counts) != {TASK} or counts[TASK] > len(histories):
        raise InputError(
            f"counts must be {{{TASK}: n}} with n up to {len(histories)}, the usable questions of "
            f"{settings.path}, not {counts}"
        )
    templates = (load_prompts(settings.prompts) if settings.prompts else load_prompts())[TASK]
    order = random.Random(seed).sample(range(len(histories)), len(histories))

    def make(_: str, index: int) -> dict | Skipped:
        return _row(histories[order[index]], f"{seed}-{index}", settings, templates)

    used = sorted({file for h in histories for file in (*h.liked, *h.disliked, *h.candidates)})
    return IndexedRows(
        dict(counts),
        make,
        columns=COLUMNS | ({"target": Value("string")} if settings.targets else {}),
        skipped=skipped,
        fingerprint=fingerprint_of(
            file_digest([Path(settings.path), *used]), str(templates), str(settings.size)
        ),
        image_format=settings.image_format,
    )


def _row(
    history: History, place: str, settings: ReleasedPreferenceSettings, templates: dict
) -> dict | Skipped:
    rng = random.Random(place)
    answer, candidates = history.answer, history.candidates
    target = {}
    if settings.targets:
        if not history.profiles:
            return Skipped("chain without a true profile to compare with")
        if fault := fault_of(history.chain, Taste(*history.profiles), answer):
            return Skipped(f"chain: {fault}")
        target = {"target": history.chain}
    elif rng.random() < 0.5:
        answer, candidates = LETTERS[1 - LETTERS.index(answer)], candidates[::-1]
    files = [*history.liked, *history.disliked, *candidates]
    try:
        images = [open_photo(file, settings.size) for file in files]
    except PhotoError as error:
        return Skipped(str(error))
    liked, disliked = history.profiles or (None, None)
    return {
        "id": f"released_preferences-{place}",
        "task": TASK,
        "prompt": preference_prompt(rng, len(history.liked), len(history.disliked), templates),
        "images": images,
        "answer": answer,
        "box": None,
        "names": [],
        "absent_names": [],
        "source": f"released: {history.id}",
        "liked_profile": list(liked) if liked else None,
        "disliked_profile": list(disliked) if disliked else None,
        **target,
    }
