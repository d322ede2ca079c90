"""What a source of rows supplies: things, the pictures they are seen in, and scenes of several.

A source (folders of photos, Subjects200K, a detection set, ...) makes one :class:`Source`;
:mod:`data_gen.row_making` turns it into rows of every task. Things are told apart by their place in
``Source.things``, a sequence that may make them when they are asked for, and pictures are opened
when a row needs them: a source of 200,000 things holds a few numbers of each.
"""

import re
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from data_gen.boxes import Box


class SourceError(ValueError):
    """A source cannot give what was asked for. The message names the file and the remedy."""


def left_out_clause(left_out: Counter) -> str:
    """``; left out 12: 9 crowd, 3 cut off``: ends a source's summary line. Empty for nothing."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in left_out.most_common())
    return f"; left out {left_out.total()}: {reasons}" if left_out else ""


def is_missing_path(path: str) -> bool:
    """Whether ``path`` is meant as a path here and nothing is there; ``owner/name`` may be a hub
    id, unless a folder ``owner`` is here."""
    first = Path(path).parts[:1]
    here = path.startswith((".", "~", "/")) or bool(first and Path(first[0]).is_dir())
    return here and not Path(path).exists()


class PictureError(ValueError):
    """One picture cannot be used; rows do without it.

    Args:
        where: the picture, as told to the user.
        reason: why, in a few words that do not name the picture, so that reasons can be counted.
    """

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a thing.

    Args:
        where: file and place in it, as the rows' ``source`` tells it; differs for every view.
        open: the whole picture, RGB; raises :class:`PictureError`.
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


def write_neighbours(path: str | Path, nearest: dict[str, Sequence[str]]) -> None:
    """Write which things look most alike: a parquet file with columns ``thing`` (a key) and
    ``nearest`` (keys, the nearest first, without the thing itself and without what may be the same
    thing)."""
    table = pa.table({"thing": list(nearest), "nearest": [list(v) for v in nearest.values()]},
                     schema=pa.schema({"thing": pa.string(), "nearest": pa.list_(pa.string())}))
    pq.write_table(table, path)


def read_neighbours(
    path: str | Path, things: Sequence[Thing], skipped: Counter | None = None
) -> dict[int, array]:
    """Read such a table for these things.

    Returns:
        Place of a thing -> places of its neighbours, nearest first. Things without any are left
        out; keys that the source does not hold are counted in ``skipped``.

    Raises:
        SourceError: the file is missing, has other columns, or knows none of the things.
    """
    place = {things[i].key: i for i in range(len(things))}
    found: dict[int, array] = {}
    unknown = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(4096, columns=["thing", "nearest"]):
            if batch.num_columns != 2:
                raise KeyError("thing, nearest")
            for row in batch.to_pylist():
                near = array("i", [place[k] for k in row["nearest"] or () if k in place])
                unknown += (row["thing"] not in place) + len(row["nearest"] or ()) - len(near)
                if row["thing"] in place and near:
                    found[place[row["thing"]]] = near
    except (OSError, pa.ArrowInvalid, KeyError, TypeError) as error:
        raise SourceError(
            f"neighbour table {path} cannot be read ({error}); it must be a parquet file with the "
            f"columns 'thing' and 'nearest'"
        ) from None
    if not found:
        raise SourceError(f"neighbour table {path} knows none of the {len(things)} things; make it "
                          f"from the same source")
    if skipped is not None and unknown:
        skipped["a neighbour table's key that the source lacks"] += unknown
    return found
