"""The user's own things: add them with photos and words, change them, and be warned in time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from concepts.concept import Concept, EntryError, check_name, tag_of
from concepts.database import Database, DatabaseError
from data_gen.files.errors import InputError
from data_gen.images.encoders import Encoder
from data_gen.images.near_copies import are_near, look_of
from data_gen.images.photos import PhotoError, open_photo
from rewards.names import name_key
from rewards.ordinary_words import ORDINARY_WORDS

MAX_PHOTOS = 5
"""Of one concept."""

MAX_PHOTO_BYTES = 30 * 2**20
"""Of one file that is uploaded."""

MAX_WORDS = 2000
"""Characters of what its owner says of a concept."""

PHOTO_PX = 512
"""Long side of photos as they are compared."""


class UploadError(InputError):
    """What is wrong with a photo or a word that was given, and what to do."""


@dataclass(frozen=True)
class Thing:
    """A concept as it is about to be added.

    Args:
        name: bare.
        photos: files, the first of which is shown to the policy.
        info: what its owner says of it.
        category: what it is, such as ``dog``; may be empty.
    """

    name: str
    photos: tuple[Path, ...]
    info: str = ""
    category: str = ""


def checked(
    name: str | None, photos: Sequence[str | Path] | None, info: str = "", category: str = ""
) -> Thing:
    """What was typed and uploaded, if a concept can be made from it.

    Raises:
        UploadError: what is missing, too large, or cannot be opened.
    """
    name, info, category = (" ".join((text or "").split()) for text in (name, info, category))
    name = name.strip("<>")
    files = [Path(photo) for photo in photos or ()]
    if not name:
        raise UploadError("give it a name")
    try:
        check_name(name)
    except EntryError as reason:
        raise UploadError(f"{name[:40]!r} cannot be a name: {reason}") from None
    if not files:
        raise UploadError(f"give one to {MAX_PHOTOS} photos of {name}")
    if len(files) > MAX_PHOTOS:
        raise UploadError(f"{len(files)} photos are too many: choose the {MAX_PHOTOS} best")
    for file in files:
        if file.stat().st_size > MAX_PHOTO_BYTES:
            most = MAX_PHOTO_BYTES // 2**20
            raise UploadError(f"{file.name} has more than {most} MB; make it smaller")
        try:
            open_photo(file, 64)
        except PhotoError as reason:
            raise UploadError(f"{file.name}: {reason}") from None
    if len(info) > MAX_WORDS or len(category) > 80:
        raise UploadError(f"say it shorter: at most {MAX_WORDS} characters, and 80 of what it is")
    return Thing(name, tuple(files), info, category)


def warnings(thing: Thing, database: Database, encoder: Encoder | None, alike: float) -> list[str]:
    """What may go wrong with a thing, a sentence each; it can be added all the same.

    Args:
        encoder: compares it with the others; ``None``: nothing is said of likeness.
        alike: least cosine of two things that look alike.
    """
    said = []
    if name_key(thing.name) in ORDINARY_WORDS:
        said.append(
            f"'{thing.name}' is an ordinary word: in answers it may mean something else. A name "
            f"such as '{thing.name.capitalize()}y' is safer."
        )
    opened = [open_photo(photo, PHOTO_PX) for photo in thing.photos]
    looks = [look_of(photo) for photo in opened]
    for i, look in enumerate(looks):
        if any(are_near(look, other) for other in looks[:i]):
            said.append(f"{thing.photos[i].name} is nearly the same photo as another one of these.")
    others = [c for c in known(database) if name_key(c.name) != name_key(thing.name)]
    for concept in others:
        for image in concept.images:
            try:
                look = look_of(open_photo(database.image_path(image), PHOTO_PX))
            except PhotoError:
                continue
            if any(are_near(look, own) for own in looks):
                said.append(f"One of these photos is already a photo of {concept.name}.")
                break
    if encoder is not None and others:
        nearest, cosine = _most_alike(opened, others, database, encoder)
        if cosine >= alike:
            said.append(
                f"It looks much like {nearest} (similarity {cosine:.2f}): they may be confused. "
                "Photos from several sides help."
            )
    return said


def add(database: Database, thing: Thing) -> None:
    """Add a thing; its photos are copied, pixels alone.

    Raises:
        DatabaseError: the name is taken.
    """
    images = tuple(str(photo.resolve()) for photo in thing.photos)
    database.add(Concept(thing.name, images, thing.info, thing.category))


def change(database: Database, name: str, info: str, category: str) -> None:
    """Change what is said of a thing.

    Raises:
        DatabaseError: there is no such thing.
        UploadError: too long.
    """
    info, category = " ".join(info.split()), " ".join(category.split())
    if len(info) > MAX_WORDS or len(category) > 80:
        raise UploadError(f"say it shorter: at most {MAX_WORDS} characters, and 80 of what it is")
    database.edit(name, info=info, category=category)


def known(database: Database) -> list[Concept]:
    """The user's concepts; none where the database does not exist yet, or holds none."""
    try:
        return list(database.concepts().values())
    except DatabaseError:
        if database.path.exists() and database.skipped:
            raise
        return []


def own_words(concept: Concept) -> str:
    """What was said of a thing, without the tag that the database puts before it."""
    tag = tag_of(concept.name)
    if concept.info == tag:
        return ""
    return concept.info.removeprefix(f"{tag}: ")


def crops(image: Image.Image, propose: Callable | None, most: int = 4) -> list[Image.Image]:
    """Parts of a photo that may show the thing alone, the largest first; the whole one first of
    all."""
    boxes = list(propose(image)) if propose else []
    boxes.sort(key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
    w, h = image.size
    parts = [
        image.crop((int(x1 * w), int(y1 * h), int(x2 * w), int(y2 * h)))
        for x1, y1, x2, y2 in boxes[:most]
    ]
    return [image, *parts]


def _most_alike(
    photos: Sequence[Image.Image], others: Sequence[Concept], database: Database, encoder: Encoder
) -> tuple[str, float]:
    """Name of the concept whose first photo is most like one of these, and the cosine."""
    names, images = [], []
    for concept in others:
        try:
            images.append(open_photo(database.image_path(concept.images[0]), PHOTO_PX))
            names.append(concept.name)
        except PhotoError:
            continue
    if not names:
        return "", -1.0
    cosines = encoder.images(list(photos)) @ encoder.images(images).T
    best = int(np.asarray(cosines).max(0).argmax())
    return names[best], float(np.asarray(cosines).max(0)[best])
