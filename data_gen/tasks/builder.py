"""Build rows of every task from any source, each row by itself.

Row ``i`` of a task depends on the source, the seed, the task and ``i`` alone, so that any process
can make any row and a larger set begins with the smaller one. A row whose image turns out to be
unusable is skipped.

Object consistency: a subject and another view of it (yes), or another subject (no); rows 2k and
2k + 1 are asked about one subject and differ in their answer. Localization: the box of a subject,
given another view of it or words; in a source without boxes the query is a composite of images, and
the box is a panel. Identity consistency: R references and a query of T subjects, K of them both
(:mod:`data_gen.tasks.combinations`). A query of several subjects is a scene where the source has
scenes, otherwise a composite.

No answer can be guessed: the subjects of a row are drawn first, each further one as a negative of
one that the row has, and only then is it drawn by lot who is a reference, who is in the query and
who is asked for. So who stands for what is the same for a subject and its negative, and the
references alone or the query alone tell nothing. In a scene the subjects are given, and its
distractors are of other scenes.

With ``paired_rows`` rows 2k and 2k + 1 of object and of identity consistency have one and the same
query, and differ in who is asked about: yes and no are right, or somebody and nobody is expected.

Limit: a subject seen in one image only, as in most detection sets, is its own reference. Its
close-up and the query then share pixels, however cropped or mirrored, and their sizes and sharpness
go together (``docs/data.md`` has how much that tells).
"""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pkgutil import resolve_name

from datasets import Value

from data_gen.files.errors import ImageError
from data_gen.images.boxes import (
    Framed,
    pad,
    relative,
    surroundings,
)
from data_gen.images.montage import composite, panels
from data_gen.images.near_copies import are_near, look_of
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.indexed import Skipped
from data_gen.tasks import questions
from data_gen.tasks.sampling import SubjectSampler
from data_gen.tasks.subjects import Source, Subject, View
from data_gen.tasks.table import TASKS
from data_gen.tasks.views import TURNS, Shares, ViewRenderer

PANELS = (2, 3)
"""How many images are in the composite that a panel is asked for."""

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
        swapped: whether either of the two subjects of an OCT row may be the one with the reference.
            Where it may not, every subject is asked for equally often, but those that are much
            alike others stand for no more often than for yes, and can be guessed by that.
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
        swapped: bool = True,
    ):
        self.source, self.swapped = source, swapped
        self.subjects: Sequence[Subject] = source.subjects
        self.prefix = f"{prefix or source.name}-{seed}"
        self.shares, self.size, self.side = shares or Shares(), size, side
        self.templates = templates
        self.sampler = SubjectSampler(
            self.subjects, self.prefix, self.shares.hard, nearest, len(source.scenes)
        )
        self.scene_images = {scene.image for scene in source.scenes}
        self.in_scenes = self.sampler.only(t for scene in source.scenes for t in scene.subjects)
        self.renderer = ViewRenderer(
            self.subjects, self.shares, size, side, self.sampler.index.words
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks whose rows sources make."""
        return tuple(name for name, task in TASKS.items() if task.build)

    @property
    def columns(self) -> dict[str, Value]:
        """Columns beyond the contract's."""
        return {"pair": Value("string")} if self.shares.paired_rows else {}

    def make(self, task: str, i: int) -> dict | Skipped:
        """Row ``i`` of a task (a key of :data:`data_gen.tasks.table.TASKS`); skipped where one of
        its images cannot be used, or where there is no negative that it needs."""
        row_id = f"{self.prefix}-{task}-{i}"
        try:
            row = builder_of(TASKS[task].build)(self, random.Random(row_id), row_id, i)
            if self.shares.paired_rows:
                of_two = task in (OCT, ICT)
                row["pair"] = f"{self.prefix}-{task}-pair-{i // 2}" if of_two else None
            return row
        except ImageError as error:
            return Skipped(error.reason)
        except NoNegativeAvailable:
            return Skipped("no negative available")


# ---- one builder per task ----


def object_consistency(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """Row ``i`` of object consistency."""
    renderer, drawn = rows.renderer, random.Random(f"{rows.prefix}/{SEED_KEY}/{i // 2}")
    same = (drawn.random() < 0.5) == (i % 2 == 0)
    subject = rows.sampler.shuffled_index(OCT, i // 2)
    found = rows.sampler.negative(drawn, subject, [subject], renderer.image_ids(subject))
    if found is None:
        raise NoNegativeAvailable
    other, how = found
    if rows.swapped and drawn.random() < 0.5:
        subject, other = other, subject
    asked, seen = subject, subject if same else other
    if rows.shares.paired_rows:
        asked, seen = seen, asked  # one query for both rows, another subject is asked about
    of_query = drawn if rows.shares.paired_rows else rng
    turn = of_query.choice(TURNS)
    shown = renderer.reference_view(asked, turn)
    query = renderer.query_view(of_query, seen, turn)
    _refuse_copies(rows, [shown], [query])
    (reference,) = renderer.references(rng, [(asked, shown)])
    image = query.open()
    if query.box:
        around = surroundings(of_query, Framed(image, query.box))
        image = renderer.maybe_mirrored(of_query, around).image
    return questions.object_consistency_row(
        rng,
        row_id,
        reference,
        renderer.bounded(image),
        same=same,
        templates=rows.templates,
        source=f"{rows.source.name}: {shown.where} | {query.where} ({'same' if same else how})",
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
    renderer = rows.renderer
    cast = _cast(rows, rng, [rows.sampler.shuffled_index(VLT, i)], rng.randint(*PANELS))
    if len(cast) < 2:
        raise NoNegativeAvailable
    rng.shuffle(cast)
    subject = rng.choice(cast)
    turn = rng.choice(TURNS)
    shown = renderer.reference_view(subject, turn)
    seen = [renderer.query_view(rng, t, turn) for t in cast]
    _refuse_copies(rows, [shown], seen)
    photos = [view.open() for view in seen]
    whole, places = panels([photo.size for photo in photos], rows.size, rows.side)
    (reference,) = renderer.references(rng, [(subject, shown)])
    return questions.visual_localization_row(
        rng,
        row_id,
        reference,
        composite(photos, rows.size, rows.side),
        relative(places[cast.index(subject)], whole),
        templates=rows.templates,
        source=f"{rows.source.name}: {shown.where} | composite "
        + " + ".join(view.where for view in seen),
    )


def identity_consistency(rows: SourceRows, rng: random.Random, row_id: str, i: int) -> dict:
    """Row ``i`` of identity consistency."""
    renderer, pairs = rows.renderer, rows.shares.paired_rows
    of_query = random.Random(f"{rows.prefix}/{ICT}/{i // 2}") if pairs else rng
    r, t, k = rows.shares.draw_combination(of_query)
    if pairs and i % 2:
        k = 0
    place = i // 2 if pairs else i
    if t > 1 and rows.source.scenes:
        scene = rows.source.scenes[rows.sampler.shuffled_index("scenes", place, "scenes")]
        inside = of_query.sample(scene.subjects, len(scene.subjects))
        distractors = _cast(rows, of_query, inside, len(inside) + r, rows.in_scenes)
        distractors = distractors[len(inside) :]
        if r and not distractors:
            raise NoNegativeAvailable
        r, t = min(r, len(distractors)), len(inside)
        k = min(k, r)
        shown = inside[:k] + distractors[: r - k]
        views = [_out_of_scene(rows, rng, t, scene.image if t in inside else None) for t in shown]
        of_first = rows.subjects[inside[0]].views
        seen = [next(view for view in of_first if view.image_id == scene.image)]
    else:
        cast = _cast(rows, of_query, [rows.sampler.shuffled_index(ICT, place)], r + t)
        if r and len(cast) < 2:
            raise NoNegativeAvailable
        # With fewer subjects than R + T both are smaller; whether K is 0 stays as drawn.
        t = min(t, len(cast) - min(r, 1))
        r = min(r, len(cast) - t)
        k = min(k, r, t)
        of_query.shuffle(cast)
        turn = of_query.choice(TURNS)
        if pairs:  # whoever is in the query is so in both rows
            inside, shown = cast[:t], cast[:k] + cast[t : t + r - k]
        else:
            inside, shown = cast[:k] + cast[r : r + t - k], cast[:r]
        views = [renderer.reference_view(one, turn) for one in shown]
        seen = [renderer.query_view(of_query, one, turn) for one in inside]
        _refuse_copies(rows, views, seen)
    here = [(one, view, n < k) for n, (one, view) in enumerate(zip(shown, views, strict=True))]
    rng.shuffle(here)
    of_query.shuffle(seen)
    photos = [view.open() for view in seen]
    return questions.identity_consistency_row(
        rng,
        row_id,
        renderer.references(rng, [(one, view) for one, view, _ in here]),
        [present for _, _, present in here],
        renderer.bounded(photos[0])
        if len(photos) == 1
        else composite(photos, rows.size, rows.side),
        caption_style=questions.draw_caption_style(rng),
        templates=rows.templates,
        source=f"{rows.source.name}: {' + '.join(view.where for _, view, _ in here)} | "
        + ("composite " if len(seen) > 1 else "")
        + " + ".join(view.where for view in seen)
        + f" (R{r} T{t} K{k})",
    )


# ---- choices ----


def _refuse_copies(rows: SourceRows, shown: Sequence[View], seen: Sequence[View]) -> None:
    """Refuse a row in which a reference and the query would be near copies, where the source has
    not seen to that: of one subject it would ask nothing, of two it would not tell whose it is."""
    if not rows.source.copies:
        return
    looks = [look_of(view.open()) for view in seen]
    for view in shown:
        look = look_of(view.open())
        if any(are_near(look, other) for other in looks):
            raise ImageError(view.where, "reference and query are near copies")


def _cast(
    rows: SourceRows,
    rng: random.Random,
    first: Sequence[int],
    n: int,
    among: bytearray | None = None,
) -> list[int]:
    """``n`` subjects, or as many as there are: ``first``, and further ones, each a negative of one
    of those before it and seen in no image with them."""
    cast, image_ids = list(first), rows.renderer.image_ids(*first)
    while len(cast) < n:
        found = rows.sampler.negative(rng, rng.choice(cast), cast, image_ids, among)
        if found is None:
            break
        cast.append(found[0])
        image_ids |= rows.renderer.image_ids(found[0])
    return cast


def _out_of_scene(rows: SourceRows, rng: random.Random, t: int, scene: str | None) -> View:
    """A view of a subject for its reference: not in the scene that is asked about, where there is
    another. For a distractor, ``None``, it is a scene of its own, so that its reference is as often
    cut out of a scene as that of a subject that is there."""
    views = rows.subjects[t].views
    scene = scene or rng.choice(
        [view.image_id for view in views if view.image_id in rows.scene_images]
    )
    return rng.choice([view for view in views if view.image_id != scene] or views)
