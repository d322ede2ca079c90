"""What a source of rows supplies: things, the pictures they are seen in, and scenes of several.

A source (folders of photos, Subjects200K, a detection set, ...) makes one :class:`Source`;
:mod:`data_gen.tasks.builder` turns it into rows of every task. Things are told apart by their place in
``Source.things``, a sequence that may make them when they are asked for, and pictures are opened
when a row needs them: a source of 200,000 things holds a few numbers of each.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

from data_gen.images.boxes import Box


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a thing.

    Args:
        where: file and place in it, as the rows' ``source`` tells it; differs for every view.
        open: the whole picture, RGB; raises :class:`ImageError`.
        box: where in the picture the thing is, in 0-1; ``None``: the picture shows just the thing.
        told: phrases each of which picks the thing out among all that the picture shows, such as
            ``the man on the left``, for a question that comes without a reference picture.
        picture: what views in the same picture have in common; ``where`` if ``None``.
    """

    where: str
    open: Callable[[], Image.Image]
    box: Box | None = None
    told: tuple[str, ...] = ()
    picture: str | None = None

    @property
    def of(self) -> str:
        """The picture that this is a view in."""
        return self.picture or self.where


@dataclass(frozen=True, slots=True)
class Thing:
    """Something that has an identity.

    Args:
        key: tells it apart in its source, whatever else the source holds.
        views: pictures of it.
        category: what it is (``backpack``): things of one category are hard to tell apart.
        info: a sentence about it that a user may give with its name.
        label: things of one label may be the very same thing, so none stands for "not this one".
        block: things of one block lie together on disk and are used one soon after the other.
    """

    key: str
    views: tuple[View, ...]
    category: str | None = None
    info: str | None = None
    label: str | None = None
    block: int = 0

    @property
    def askable(self) -> list[View]:
        """Views whose box can be asked for: by a view in another picture, or in words."""
        return [view for view in self.views if view.box and (
            view.told or any(other.of != view.of for other in self.views))]


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture in which several things are seen, each of them well: ``things`` are their places in
    the source; each has a view of this ``picture``."""

    picture: str
    things: tuple[int, ...]


@dataclass
class Source:
    """Things and scenes. ``name`` begins the rows' ids and ``source`` column."""

    name: str
    things: Sequence[Thing]
    scenes: Sequence[Scene] = ()


def kind_sentence(kind: str, head: str | None = None) -> str:
    """``It is a backpack.``, ``It is an owl.``, ``These are glasses.``

    Args:
        kind: what a thing is.
        head: its word that tells singular from plural, where that is not the last one.
    """
    if re.search(r"[^siu]s$", (head or kind).lower()):
        return f"These are {kind}."
    return f"It is {'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}."


# ---- neighbour tables ----
