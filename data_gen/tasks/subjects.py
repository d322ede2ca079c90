"""What a source supplies to the row builder: subjects, their views, and scenes of several subjects.

A source (folders of photos, Subjects200K, a detection set, ...) makes one :class:`Source`;
:mod:`data_gen.tasks.builder` turns it into rows of every task. Subjects are identified by their
place in ``Source.subjects``, a sequence that may build them on access, and images are opened when a
row needs them: a source of 200,000 subjects holds a few numbers for each.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from data_gen.images.boxes import Box


@dataclass(frozen=True, slots=True)
class View:
    """One image of a subject.

    Args:
        where: file and place in it, as the rows' ``source`` column tells it; unique to the view.
        open: returns the whole image, RGB; raises :class:`data_gen.files.errors.ImageError`.
        box: where in the image the subject is, in 0-1; ``None``: the image shows it alone.
        described: phrases each of which picks the subject out among all that the image shows, such
            as ``the man on the left``, for a question that comes without a reference image.
        image: name of the image, which all views in that image share; ``where`` if ``None``.
    """

    where: str
    open: Callable[[], Image.Image]
    box: Box | None = None
    described: tuple[str, ...] = ()
    image: str | None = None

    @property
    def image_id(self) -> str:
        """The image that this is a view in."""
        return self.image or self.where


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that has an identity.

    Args:
        key: identifies it in its source, whatever else the source holds.
        views: images of it.
        category: what it is (``backpack``): subjects of one category are hard to tell apart.
        info: a sentence about it that a user may give with its name.
        label: subjects of one label may be the very same subject: none is a negative of another.
        block: subjects of one block lie together on disk and are used soon after each other.
        name: what its owner calls it, bare; ``None``: each row draws a name.
    """

    key: str
    views: tuple[View, ...]
    category: str | None = None
    info: str | None = None
    label: str | None = None
    block: int = 0
    name: str | None = None

    @property
    def askable(self) -> list[View]:
        """Views whose box can be asked for: with a view in another image as reference, or in
        words."""
        return [
            view
            for view in self.views
            if view.box
            and (view.described or any(other.image_id != view.image_id for other in self.views))
        ]


@dataclass(frozen=True, slots=True)
class Scene:
    """An image that shows several subjects, each of them well.

    Args:
        image: name of the image.
        subjects: their places in the source; each has a view in this image.
    """

    image: str
    subjects: tuple[int, ...]


@dataclass
class Source:
    """Subjects and scenes.

    Args:
        name: begins the rows' ids and ``source`` column.
        subjects, scenes: what rows are made of.
        copies: whether two views of a subject may be near copies of each other, so that each row
            must look.
    """

    name: str
    subjects: Sequence[Subject]
    scenes: Sequence[Scene] = ()
    copies: bool = False


def kind_sentence(kind: str, head: str | None = None) -> str:
    """A sentence that says what a subject is: ``It is an owl.``, ``These are glasses.``

    Args:
        kind: what the subject is.
        head: its word that shows singular or plural, where that is not the last one.
    """
    if re.search(r"[^siu]s$", (head or kind).lower()):
        return f"These are {kind}."
    return f"It is {'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}."
