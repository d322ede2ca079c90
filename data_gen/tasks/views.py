"""Render the views of subjects for rows: which view, which crop of it, how large, which name."""

import random
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, fields

from PIL import Image

from data_gen.files.errors import InputError, SourceError
from data_gen.images.boxes import Framed, close_up, mirror
from data_gen.images.photos import fitted
from data_gen.tasks.combinations import (
    MAX_REFERENCES,
    MAX_SUBJECTS,
    Combination,
    check_paired_rows,
    draw_combination,
    read_combinations,
    read_weights,
)
from data_gen.tasks.names import draw_names
from data_gen.tasks.questions import Reference
from data_gen.tasks.subjects import Subject, View

REFERENCE_COUNTS = {1: 0.4, 2: 0.35, 3: 0.25}
SUBJECT_COUNTS = {1: 0.7, 2: 0.15, 3: 0.15}
EXPECTED_COUNTS = {1: 1.0, 2: 1.0, 3: 1.0}
"""What an identity row shows, by default: R, T and K > 0 -> weight."""

TURNS = range(27720)
"""What a row's turn is drawn from; 1 to 12 divide its length, so that of up to so many views each
is as likely."""


@dataclass(frozen=True)
class Shares:
    """How often a row is made this way. Shares are probabilities in 0-1.

    Args:
        reference_counts: weights of R, the number of references of an identity row; tells nothing.
        subject_counts: weights of T, the number of subjects in its query; tells nothing.
        absent: identity rows whose query holds none of the references, whatever R and T. The more
            frequent answer to "is any name expected" can be guessed, and no more.
        expected_counts: weights of K, the references that are in the query, where any is.
        combinations: weights of ``"R/T/K"``, in place of these four, for mixtures that are not
            honest: what R and T tell about K by these weights can be guessed.
        hard: further subjects of a row (for "no", as distractors, as unlisted subjects) that are
            hard negatives of one that it has.
        info: references that come with what their source knows of them.
        named: localization rows without a reference image that give the subject a name; the others
            ask for it in words.
        mirrored: images with a box that are mirrored, where no words tell left from right.
        padded: localization queries with white margins.
        paired_rows: two rows for each query of object and identity consistency, which differ in the
            answer or in whether somebody is expected (column ``pair``).
    """

    absent: float = 0.5
    hard: float = 0.5
    info: float = 0.5
    named: float = 0.5
    mirrored: float = 0.0
    padded: float = 0.0
    reference_counts: Mapping[int, float] = field(default_factory=lambda: dict(REFERENCE_COUNTS))
    subject_counts: Mapping[int, float] = field(default_factory=lambda: dict(SUBJECT_COUNTS))
    expected_counts: Mapping[int, float] = field(default_factory=lambda: dict(EXPECTED_COUNTS))
    combinations: Mapping[str, float] | None = None
    paired_rows: bool = False

    def __post_init__(self):
        for share_of in fields(self):
            share = getattr(self, share_of.name)
            if share_of.type is not float and share_of.type != "float":
                continue
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise SourceError(f"{share_of.name}_share must be from 0 to 1, not {share!r}")
        try:
            for name, least, most in (
                ("reference_counts", 0, MAX_REFERENCES),
                ("subject_counts", 1, MAX_SUBJECTS),
                ("expected_counts", 1, MAX_SUBJECTS),
            ):
                weights = read_weights(name, getattr(self, name), least, most)
                object.__setattr__(self, name, weights)
            read_combinations(self.combinations)
            if self.paired_rows:
                check_paired_rows(self.absent, self.reference_counts, self.combinations)
        except InputError as error:
            raise SourceError(str(error)) from None

    def draw_combination(self, rng: random.Random) -> Combination:
        """R, T and K of an identity row; of the one that expects somebody, of a pair."""
        return draw_combination(
            rng,
            self.reference_counts,
            self.subject_counts,
            0 if self.paired_rows else self.absent,
            self.expected_counts,
            self.combinations,
        )


class ViewRenderer:
    """Turns views into the images of rows.

    Args:
        subjects: of the source.
        shares: how often with info, how often mirrored.
        size: largest length of the bounded side of every image, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        category_words: casefolded words of the categories, which are never drawn as names: a dog
            called Cat could not be recognised in a caption.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        shares: Shares,
        size: int,
        side: str,
        category_words: Container[str],
    ):
        self.subjects, self.shares, self.category_words = subjects, shares, category_words
        self.size, self.side = size, side

    def references(self, rng: random.Random, shown: list[tuple[int, View]]) -> list[Reference]:
        """Each subject (its place in the source, a view) as its user would show it."""
        return [
            Reference(
                self.subjects[t].name or name,
                self.bounded(close_up(view.open(), view.box) if view.box else view.open()),
                self.subjects[t].info if rng.random() < self.shares.info else None,
            )
            for (t, view), name in zip(shown, self.names(rng, len(shown)), strict=True)
        ]

    def names(self, rng: random.Random, n: int) -> list[str]:
        """``n`` distinct names, none of them a category's word."""
        found: list[str] = []
        while len(found) < n:
            (name,) = draw_names(rng, 1)
            if name.casefold() not in self.category_words and name not in found:
                found.append(name)
        return found

    def reference_view(self, t: int, turn: int) -> View:
        """The view that a reference of the subject shows.

        Args:
            t: the subject's place in the source.
            turn: of the row, from :data:`TURNS`. All references of a row are views of one number,
                all its queries views of other numbers, whoever they show: or else a left half
                beside a left half would tell that the subjects differ.
        """
        views = self.subjects[t].views
        return views[turn % len(views)]

    def query_view(self, rng: random.Random, t: int, turn: int) -> View:
        """The view that a query of the subject shows: any but :meth:`reference_view`, where there
        is another."""
        views = self.subjects[t].views
        others = [view for n, view in enumerate(views) if n != turn % len(views)]
        return rng.choice(others or views)

    def image_ids(self, *places: int) -> set[str]:
        """The images that show these subjects, given by their places in the source."""
        return {view.image_id for t in places for view in self.subjects[t].views}

    def maybe_mirrored(self, rng: random.Random, framed: Framed) -> Framed:
        """Mirrored, as often as the shares say."""
        return mirror(framed) if rng.random() < self.shares.mirrored else framed

    def bounded(self, image: Image.Image) -> Image.Image:
        """The image, reduced where it is larger than a row's images may be."""
        size = fitted(*image.size, self.size, self.side)
        return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)
