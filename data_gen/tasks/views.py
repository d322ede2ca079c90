"""How things are shown in rows: which view, which part of it, how large, under which name."""

import random
from collections.abc import Container, Sequence
from dataclasses import dataclass, fields

from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.images.boxes import Framed, close_up, mirror
from data_gen.images.photos import fitted
from data_gen.tasks.names import draw_names
from data_gen.tasks.questions import Reference
from data_gen.tasks.subjects import Thing, View


@dataclass(frozen=True)
class Shares:
    """How often a row is made this way; probabilities in 0-1.

    Args:
        multi: identity rows with 2-3 references that are in the query.
        distractor: identity rows with 1-2 more references that the query lacks.
        absent: identity rows whose query holds none of the references.
        hard: other things (negatives, distractors, strangers) that are hard to tell apart.
        info: references that come with what their source knows of them.
        named: localization rows without a reference picture that give the thing a name; the others
            ask for it in words.
        mirrored: pictures with a box that are mirrored, where no words tell left from right.
        padded: localization queries with white margins.
    """

    multi: float = 0.3
    distractor: float = 0.5
    absent: float = 0.15
    hard: float = 0.5
    info: float = 0.5
    named: float = 0.5
    mirrored: float = 0.0
    padded: float = 0.0

    def __post_init__(self):
        for field in fields(self):
            share = getattr(self, field.name)
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise SourceError(f"{field.name}_share must be from 0 to 1, not {share!r}")


class Showing:
    """Turns views into the pictures of rows.

    Args:
        things: of the source.
        shares: how often with info, how often mirrored.
        size: largest length of the bounded side of every picture, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        words: words that are no names: a thing called by the word for another's category could not
            be told from a description.
    """

    def __init__(self, things: Sequence[Thing], shares: Shares, size: int, side: str,
                 words: Container[str]):
        self.things, self.shares, self.words = things, shares, words
        self.size, self.side = size, side

    def references(self, rng: random.Random, shown: list[tuple[int, View]]) -> list[Reference]:
        """Each thing, by its place in the source, as its user would show it."""
        return [
            Reference(
                self.bounded(close_up(view.open(), view.box) if view.box else view.open()),
                name,
                self.things[t].info if rng.random() < self.shares.info else None,
            )
            for (t, view), name in zip(shown, self.names(rng, len(shown)), strict=True)
        ]

    def names(self, rng: random.Random, n: int) -> list[str]:
        """``n`` distinct names."""
        found: list[str] = []
        while len(found) < n:
            (name,) = draw_names(rng, 1)
            if name.casefold() not in self.words and name not in found:
                found.append(name)
        return found

    def two_views(self, rng: random.Random, t: int) -> tuple[View, View]:
        """A view to show and one to ask about; the same one where a thing has no other."""
        views = self.things[t].views
        return tuple(rng.sample(views, 2)) if len(views) > 1 else (views[0], views[0])

    def pictures(self, *places: int) -> set[str]:
        """Pictures that things, by their places in the source, are seen in."""
        return {view.of for t in places for view in self.things[t].views}

    def maybe_mirrored(self, rng: random.Random, framed: Framed) -> Framed:
        """Mirrored, as often as the shares say."""
        return mirror(framed) if rng.random() < self.shares.mirrored else framed

    def bounded(self, image: Image.Image) -> Image.Image:
        """No larger than a row's pictures may be."""
        size = fitted(*image.size, self.size, self.side)
        return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
