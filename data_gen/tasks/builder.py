"""Build rows of every task from any source, each row by itself.

Row ``i`` of a task depends on the source, the seed, the task and ``i`` alone, so that any process
can make any row and a larger set begins with the smaller one. A row whose image turns out to be
unusable is skipped.

Object consistency: a subject and another view of it (yes), or another subject (no); rows 2k and
2k + 1 are about one subject and differ in their answer, so the reference alone tells nothing.
Localization: the box of a subject, given another view of it or words; in a source without boxes the
query is a composite of images, and the box is a panel. Identity consistency: one reference, or two
or three ("multi": of one scene where the source has scenes, otherwise in a composite), with
distractors, and with queries that hold none of the references.

Limit: a subject seen in one image only is its own reference. Its close-up and the query then share
pixels, however cropped or mirrored.
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pkgutil import resolve_name

from data_gen.files.errors import ImageError
from data_gen.images.boxes import (
    Framed,
    pad,
    relative,
    surroundings,
)
from data_gen.images.montage import composite, panels
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.indexed import Skipped
from data_gen.tasks import questions
from data_gen.tasks.sampling import SubjectSampler
from data_gen.tasks.subjects import Source, Subject, View
from data_gen.tasks.table import TASKS
from data_gen.tasks.views import Shares, ViewRenderer

MAX_MULTI = 3
"""Most subjects with a reference in one query (2506.18369 uses 2-3 references)."""

MAX_DISTRACTORS = 2

SEED_KEY = "yes first"
"""Part of the text that seeds the order of "yes" and "no"; rows depend on it."""

builder_of = cache(resolve_name)
"""Import string of a task's row builder -> the function."""


class NoNegativeAvailable(Exception):
    """A row needs another subject, and none is left that could be its negative."""


class SourceRows:
    """Makes the rows of one source.

    Args:
        source: subjects and scenes.
        seed: of every draw.
        prefix: begins every row's id; ``source.name`` if ``None``.
        shares: how often which kind of row.
        size: largest length of the bounded side of every image, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        nearest: neighbours of subjects, see :class:`data_gen.tasks.sampling.SubjectSampler`.
        templates: from :func:`data_gen.tasks.prompts.load_prompts`.
    """

    def __init__(
        self,
        source: Source,
        seed: int,
        *,
        prefix: str | None = None,
        shares: Shares | None = None,
        size: int = 512,
        side: str = "long",
        nearest: Mapping[int, Sequence[int]] | None = None,
        templates: dict | None = None,
    ):
        self.source = source
        self.subjects: Sequence[Subject] = source.subjects
        self.prefix = f"{prefix or source.name}-{seed}"
        self.shares, self.size, self.side = shares or Shares(), size, side
        self.templates = templates
        self.sampler = SubjectSampler(
            self.subjects, self.prefix, self.shares.hard, nearest, len(source.scenes)
        )
        self.renderer = ViewRenderer(
            self.subjects, self.shares, size, side, self.sampler.index.words
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks whose rows sources make."""
        return tuple(name for name, task in TASKS.items() if task.build)

    def make(self, task: str, i: int) -> dict | Skipped:
        """Row ``i`` of a task (a key of :data:`data_gen.tasks.table.TASKS`); skipped where one of
        its images cannot be used, or where there is no negative that it needs."""
        row_id = f"{self.prefix}-{task}-{i}"
        try:
            return builder_of(TASKS[task].build)(self, random.Random(row_id), row_id, i)
        except ImageError as error:
            return Skipped(error.reason)
        except NoNegativeAvailable:
            return Skipped("no negative available")


# ---- one builder per task ----


def object_consistency(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """Row ``i`` of object consistency."""
    renderer, subject = rows.renderer, rows.sampler.shuffled_index(OCT, i // 2)
    yes_first = random.Random(f"{rows.prefix}/{SEED_KEY}/{i // 2}").random() < 0.5
    same = yes_first == (i % 2 == 0)
    if same:
        shown, query = renderer.two_views(rng, subject)
        how = "same"
    else:
        shown = rng.choice(rows.subjects[subject].views)
        negative, how = _negative(rows, rng, subject)
        query = rng.choice(rows.subjects[negative].views)
    (reference,) = renderer.references(rng, [(subject, shown)])
    image = query.open()
    if query.box:
        around = surroundings(rng, Framed(image, query.box))
        image = renderer.maybe_mirrored(rng, around).image
    return questions.object_consistency_row(
        rng,
        row_id,
        reference,
        renderer.bounded(image),
        same=same,
        templates=rows.templates,
        source=f"{rows.source.name}: {shown.where} | {query.where} ({how})",
    )


def visual_localization(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """Row ``i`` of visual localization."""
    if not rows.sampler.index.boxed:
        return _panel_localization(rows, rng, row_id, i)
    renderer, subject = rows.renderer, rows.sampler.shuffled_index(VLT, i, "boxed")
    views = rows.subjects[subject].views
    query = rng.choice(rows.subjects[subject].askable)
    assert query.box  # askable views have one
    framed = Framed(query.open(), query.box)
    others = [view for view in views if view.image_id != query.image_id]
    if others:
        framed = renderer.maybe_mirrored(rng, framed)
    if rng.random() < rows.shares.padded:
        most = max(framed.image.size) // 4
        framed = pad(framed, *(rng.randint(0, most) for _ in range(4)))
    image, source = renderer.bounded(framed.image), rows.source.name
    if others:
        shown = rng.choice(others)
        (reference,) = renderer.references(rng, [(subject, shown)])
        return questions.visual_localization_row(
            rng,
            row_id,
            reference,
            image,
            framed.box,
            templates=rows.templates,
            source=f"{source}: {shown.where} | {query.where}",
        )
    name = renderer.names(rng, 1)[0] if rng.random() < rows.shares.named else None
    # "told" is what the column has said since the first rows; rows stay byte-identical.
    return questions.described_localization_row(
        rng,
        row_id,
        rng.choice(query.described),
        name,
        image,
        framed.box,
        templates=rows.templates,
        source=f"{source}: {query.where} (told)",
    )


def _panel_localization(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    renderer, subject = rows.renderer, rows.sampler.shuffled_index(VLT, i)
    shown, query = renderer.two_views(rng, subject)
    taken, seen = [subject], [query]
    for _ in range(rng.randint(1, MAX_MULTI - 1)):
        found = rows.sampler.negative(rng, subject, taken, set())
        if found:
            taken.append(found[0])
            seen.append(rng.choice(rows.subjects[found[0]].views))
    rng.shuffle(seen)
    photos = [view.open() for view in seen]
    whole, places = panels([photo.size for photo in photos], rows.size, rows.side)
    (reference,) = renderer.references(rng, [(subject, shown)])
    return questions.visual_localization_row(
        rng,
        row_id,
        reference,
        composite(photos, rows.size, rows.side),
        relative(places[seen.index(query)], whole),
        templates=rows.templates,
        source=f"{rows.source.name}: {shown.where} | composite "
        + " + ".join(view.where for view in seen),
    )


def identity_consistency(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """Row ``i`` of identity consistency."""
    renderer, sampler, shares = rows.renderer, rows.sampler, rows.shares
    multi, absent, crowded = (
        rng.random() < share for share in (shares.multi, shares.absent, shares.distractor)
    )
    seen: Sequence[View]
    if multi and rows.source.scenes:
        owned, shown, seen = _scene(rows, rng, i)
    else:
        owned = [sampler.shuffled_index(ICT, i)]
        # Where no reference is in the query, a subject must be left to be in it.
        most = min(MAX_MULTI, len(sampler.pairs), len(rows.subjects) - absent)
        for _ in range(rng.randint(min(2, most), most) - 1 if multi else 0):
            more = sampler.further_subject(rng, owned)
            owned += [] if more is None else [more]
        shown, seen = zip(*(renderer.two_views(rng, t) for t in owned), strict=True)
    unlisted: list[tuple[int, View]] = []
    if absent:
        unlisted = _negatives(rows, rng, owned, [], len(seen))
        if not unlisted:  # with fewer references, more subjects can stand for none of them
            owned, shown = owned[:1], shown[:1]
            unlisted = _negatives(rows, rng, owned, [], 1)
        if not unlisted:
            raise NoNegativeAvailable
        seen = [view for _, view in unlisted]
    here = [(t, view, not absent) for t, view in zip(owned, shown, strict=True)]
    if crowded:
        also = [t for t, _ in unlisted]
        more = _negatives(rows, rng, owned, also, rng.randint(1, MAX_DISTRACTORS))
        here += [(t, view, False) for t, view in more]
    seen = list(seen)
    rng.shuffle(here)
    rng.shuffle(seen)
    photos = [view.open() for view in seen]
    return questions.identity_consistency_row(
        rng,
        row_id,
        renderer.references(rng, [(t, view) for t, view, _ in here]),
        [present for _, _, present in here],
        renderer.bounded(photos[0])
        if len(photos) == 1
        else composite(photos, rows.size, rows.side),
        caption_style=questions.draw_caption_style(rng),
        templates=rows.templates,
        source=f"{rows.source.name}: {' + '.join(view.where for _, view, _ in here)} | "
        + ("composite " if len(seen) > 1 else "")
        + " + ".join(view.where for view in seen),
    )


# ---- choices ----


def _scene(
    rows: SourceRows, rng: random.Random, i: int
) -> tuple[list[int], list[View], list[View]]:
    """2-3 subjects of one scene, a view of each for its reference (in another image where there is
    one), and a view of the scene itself."""
    scene = rows.source.scenes[rows.sampler.shuffled_index("scenes", i, "scenes")]
    owned = rng.sample(scene.subjects, rng.randint(2, min(MAX_MULTI, len(scene.subjects))))
    shown, seen = [], []
    for t in owned:
        views = rows.subjects[t].views
        elsewhere = [view for view in views if view.image_id != scene.image]
        seen = [view for view in views if view.image_id == scene.image]
        shown.append(rng.choice(elsewhere or seen))
    return owned, shown, seen[:1]


def _negatives(
    rows: SourceRows, rng: random.Random, owned: Sequence[int], also: Sequence[int], n: int
) -> list[tuple[int, View]]:
    """Up to ``n`` subjects, each with a view, that are neither ``owned`` nor in ``also``, nor seen
    in an image with one of these."""
    taken, found = [*owned, *also], []
    image_ids = rows.renderer.image_ids(*taken)
    for _ in range(n):
        negative = rows.sampler.negative(rng, rng.choice(owned), taken, image_ids)
        if negative is None:
            break
        place, _ = negative
        taken.append(place)
        image_ids |= rows.renderer.image_ids(place)
        found.append((place, rng.choice(rows.subjects[place].views)))
    return found


def _negative(rows: SourceRows, rng: random.Random, subject: int) -> tuple[int, str]:
    found = rows.sampler.negative(rng, subject, [subject], rows.renderer.image_ids(subject))
    if found is None:
        raise NoNegativeAvailable
    return found
