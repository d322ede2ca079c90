"""The user's own concepts: add them with photos and words, change them, and be warned in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from concepts.concept import Concept, EntryError, check_name, tag_of
from concepts.database import Database, DatabaseError
from concepts.regions import Proposer, crop
from data_gen.files.errors import InputError
from data_gen.images.encoders import Encoder
from data_gen.images.features import PHOTO_PX, file_features
from data_gen.images.near_copies import Look, are_near, look_of
from data_gen.images.photos import PhotoError, open_photo
from rewards.names import name_key
from rewards.ordinary_words import ORDINARY_WORDS

MAX_PHOTOS = 5
"""Of one concept."""

MAX_PHOTO_BYTES = 30 * 2**20
"""Of one file that is uploaded."""

MAX_WORDS = 2000
"""Characters of what its owner says of a concept."""

LOOKED_AT = 5
"""Concepts, the most similar ones, among whose photos near copies are looked for."""


class UploadError(InputError):
    """What is wrong with a photo or a word that was given, and what to do."""


@dataclass(frozen=True)
class NewConcept:
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
) -> NewConcept:
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
    return NewConcept(name, tuple(files), info, category)


def warnings(
    new: NewConcept, database: Database, encoder: Encoder | None, alike: float, cache: str
) -> list[str]:
    """What may go wrong with a concept, a sentence each; it can be added all the same.

    Args:
        encoder: compares it with the others; ``None``: nothing is said of likeness.
        alike: least cosine of two concepts that look alike.
        cache: directory of the vectors of their photos.
    """
    said = []
    if name_key(new.name) in ORDINARY_WORDS:
        said.append(
            f"'{new.name}' is an ordinary word: in answers it may mean something else. A name "
            f"such as '{new.name.capitalize()}y' is safer."
        )
    opened = [open_photo(photo, PHOTO_PX) for photo in new.photos]
    looks = [look_of(photo) for photo in opened]
    for i, look in enumerate(looks):
        if any(are_near(look, other) for other in looks[:i]):
            said.append(f"{new.photos[i].name} is nearly the same photo as another one of these.")
    others = [c for c in known(database) if name_key(c.name) != name_key(new.name)]
    nearest = _nearest(opened, others, database, encoder, cache) if encoder is not None else {}
    for concept in [c for c in others if encoder is None or c.name in nearest]:
        if any(are_near(look, own) for look in _looks(concept, database) for own in looks):
            said.append(f"One of these photos is already a photo of {concept.name}.")
    for name, cosine in list(nearest.items())[:1]:
        if cosine >= alike:
            said.append(
                f"It looks much like {name} (similarity {cosine:.2f}): they may be confused. "
                "Photos from several sides help."
            )
    return said


def add(database: Database, new: NewConcept) -> None:
    """Add a concept; its photos are copied, pixels alone.

    Raises:
        DatabaseError: the name is taken.
    """
    images = tuple(str(photo.resolve()) for photo in new.photos)
    database.add(Concept(new.name, images, new.info, new.category))


def change(database: Database, name: str, info: str, category: str) -> None:
    """Change what is said of a concept.

    Raises:
        DatabaseError: there is no such concept.
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
    """What was said of a concept, without the tag that the database puts before it."""
    tag = tag_of(concept.name)
    if concept.info == tag:
        return ""
    return concept.info.removeprefix(f"{tag}: ")


def crops(image: Image.Image, propose: Proposer | None, most: int = 4) -> list[Image.Image]:
    """Parts of a photo that may show the concept alone, the largest first; the whole one first of
    all."""
    boxes = list(propose(image)) if propose else []
    boxes.sort(key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))
    parts = [crop(image, box) for box in boxes[:most]]
    return [image, *parts]


def _nearest(
    photos: Sequence[Image.Image],
    others: Sequence[Concept],
    database: Database,
    encoder: Encoder,
    cache: str,
) -> dict[str, float]:
    """The concepts whose first photos are most like one of these, at most :data:`LOOKED_AT`, with
    their cosines, the most similar first. Their vectors are cached as retrieval caches them."""
    files = {concept.name: database.image_path(concept.images[0]) for concept in others}
    vectors, _ = file_features(encoder, list(files.values()), cache)
    names = [name for name, file in files.items() if file in vectors]
    if not names:
        return {}
    matrix = np.stack([vectors[files[name]] for name in names])  # (N, D)
    cosines = (encoder.images(list(photos)) @ matrix.T).max(0)  # (N,)
    return {names[i]: float(cosines[i]) for i in np.argsort(-cosines)[:LOOKED_AT]}


def _looks(concept: Concept, database: Database) -> list[Look]:
    """What the photos of a concept that open look like."""
    found = []
    for image in concept.images:
        try:
            found.append(look_of(open_photo(database.image_path(image), PHOTO_PX)))
        except PhotoError:
            continue
    return found
