"""Rows of every task from any source, each by itself.

Row ``i`` of a task depends on the source, the seed, the task and ``i`` alone, so that any process
can make any row and a larger set begins with the smaller one. A row whose picture turns out to be
unusable is skipped.

Object consistency: a thing and another view of it (yes), or another thing (no); rows 2k and 2k + 1
are about one thing and differ in their answer, so the reference alone tells nothing. Localization:
the box of a thing of which another view, or words, are given; in a source without boxes the query
is a composite of pictures, and the box is a panel. Identity consistency: one reference, or two or
three ("multi": of one scene where the source has scenes, otherwise in a composite), with
distractors, and with queries that hold none of the references.

Left out: a thing that is seen in one picture only is its own reference. Its close-up and what is
asked about it then share pixels, however cropped or mirrored.
"""

import random
from collections.abc import Mapping, Sequence

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
from data_gen.tasks import questions as tasks
from data_gen.tasks.sampling import Chooser
from data_gen.tasks.subjects import Source, View
from data_gen.tasks.views import Shares, Showing

MAX_MULTI = 3
"""Most things with a reference in one query (2506.18369 uses 2-3 references)."""

MAX_DISTRACTORS = 2


class NoOther(Exception):
    """A row needs another thing, and none is left that could stand for one."""


class SourceRows:
    """Makes the rows of one source.

    Args:
        source: things and scenes.
        seed: of every draw.
        prefix: begins every row's id; ``source.name`` if ``None``.
        shares: how often which kind of row.
        size: largest length of the bounded side of every picture, in pixels.
        side: which side ``size`` bounds: ``long`` or ``short``.
        nearest: neighbours of things, see :class:`data_gen.tasks.sampling.Chooser`.
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
        self.source, self.things = source, source.things
        self.prefix = f"{prefix or source.name}-{seed}"
        self.shares, self.size, self.side = shares or Shares(), size, side
        self.templates = templates
        self.choose = Chooser(self.things, self.prefix, self.shares.hard, nearest,
                              len(source.scenes))
        self.show = Showing(self.things, self.shares, size, side, self.choose.index.words)
        self.makers = {OCT: self._object, VLT: self._localization, ICT: self._identity}
        self.tasks = tuple(self.makers)

    def make(self, task: str, i: int) -> dict | Skipped:
        """Row ``i`` of a task; skipped where one of its pictures cannot be used, or where there is
        no other thing that it needs."""
        row_id = f"{self.prefix}-{task}-{i}"
        try:
            return self.makers[task](random.Random(row_id), row_id, i)
        except ImageError as error:
            return Skipped(error.reason)
        except NoOther:
            return Skipped("nothing else to show")

    # ---- one method per task ----

    def _object(self, rng: random.Random, row_id: str, i: int) -> dict:
        subject = self.choose.turn(OCT, i // 2)
        yes_first = random.Random(f"{self.prefix}/yes first/{i // 2}").random() < 0.5
        same = yes_first == (i % 2 == 0)
        if same:
            shown, query = self.show.two_views(rng, subject)
            how = "same"
        else:
            shown = rng.choice(self.things[subject].views)
            other, how = self._other(rng, subject)
            query = rng.choice(self.things[other].views)
        (reference,) = self.show.references(rng, [(subject, shown)])
        picture = query.open()
        if query.box:
            around = surroundings(rng, Framed(picture, query.box))
            picture = self.show.maybe_mirrored(rng, around).image
        return tasks.object_consistency_row(
            rng, row_id, reference, self.show.bounded(picture), same=same, templates=self.templates,
            source=f"{self.source.name}: {shown.where} | {query.where} ({how})")

    def _localization(self, rng: random.Random, row_id: str, i: int) -> dict:
        if not self.choose.index.boxed:
            return self._panel_localization(rng, row_id, i)
        subject = self.choose.turn(VLT, i, "boxed")
        views = self.things[subject].views
        query = rng.choice(self.things[subject].askable)
        framed = Framed(query.open(), query.box)
        others = [view for view in views if view.of != query.of]
        if others:
            framed = self.show.maybe_mirrored(rng, framed)
        if rng.random() < self.shares.padded:
            most = max(framed.image.size) // 4
            framed = pad(framed, *(rng.randint(0, most) for _ in range(4)))
        picture, name = self.show.bounded(framed.image), self.source.name
        if others:
            shown = rng.choice(others)
            (reference,) = self.show.references(rng, [(subject, shown)])
            return tasks.visual_localization_row(
                rng, row_id, reference, picture, framed.box, templates=self.templates,
                source=f"{name}: {shown.where} | {query.where}")
        called = self.show.names(rng, 1)[0] if rng.random() < self.shares.named else None
        return tasks.told_localization_row(
            rng, row_id, rng.choice(query.told), called, picture, framed.box,
            templates=self.templates, source=f"{name}: {query.where} (told)")

    def _panel_localization(self, rng: random.Random, row_id: str, i: int) -> dict:
        subject = self.choose.turn(VLT, i)
        shown, query = self.show.two_views(rng, subject)
        taken, seen = [subject], [query]
        for _ in range(rng.randint(1, MAX_MULTI - 1)):
            found = self.choose.another(rng, subject, taken, set())
            if found:
                taken.append(found[0])
                seen.append(rng.choice(self.things[found[0]].views))
        rng.shuffle(seen)
        photos = [view.open() for view in seen]
        whole, places = panels([photo.size for photo in photos], self.size, self.side)
        (reference,) = self.show.references(rng, [(subject, shown)])
        return tasks.visual_localization_row(
            rng, row_id, reference, composite(photos, self.size, self.side),
            relative(places[seen.index(query)], whole), templates=self.templates,
            source=f"{self.source.name}: {shown.where} | composite "
            + " + ".join(view.where for view in seen))

    def _identity(self, rng: random.Random, row_id: str, i: int) -> dict:
        multi, absent, crowded = (
            rng.random() < share
            for share in (self.shares.multi, self.shares.absent, self.shares.distractor))
        if multi and self.source.scenes:
            owned, shown, seen = self._scene(rng, i)
        else:
            owned = [self.choose.turn(ICT, i)]
            # With nobody in the query, somebody else must be left to be in it.
            most = min(MAX_MULTI, len(self.choose.pairs), len(self.things) - absent)
            for _ in range(rng.randint(min(2, most), most) - 1 if multi else 0):
                more = self.choose.another_pair(rng, owned)
                owned += [] if more is None else [more]
            shown, seen = zip(*(self.show.two_views(rng, t) for t in owned), strict=True)
        strangers: list[tuple[int, View]] = []
        if absent:
            strangers = self._strangers(rng, owned, [], len(seen))
            if not strangers:  # with fewer references, more things can stand for none of them
                owned, shown = owned[:1], shown[:1]
                strangers = self._strangers(rng, owned, [], 1)
            if not strangers:
                raise NoOther
            seen = [view for _, view in strangers]
        here = [(t, view, not absent) for t, view in zip(owned, shown, strict=True)]
        if crowded:
            also = [t for t, _ in strangers]
            more = self._strangers(rng, owned, also, rng.randint(1, MAX_DISTRACTORS))
            here += [(t, view, False) for t, view in more]
        seen = list(seen)
        rng.shuffle(here)
        rng.shuffle(seen)
        photos = [view.open() for view in seen]
        return tasks.identity_consistency_row(
            rng, row_id, self.show.references(rng, [(t, view) for t, view, _ in here]),
            [present for _, _, present in here],
            self.show.bounded(photos[0]) if len(photos) == 1
            else composite(photos, self.size, self.side),
            manner=tasks.draw_manner(rng), templates=self.templates,
            source=f"{self.source.name}: {' + '.join(view.where for _, view, _ in here)} | "
            + ("composite " if len(seen) > 1 else "") + " + ".join(view.where for view in seen))

    # ---- choices ----

    def _scene(self, rng: random.Random, i: int) -> tuple[list[int], list, list]:
        """2-3 things of one scene, a view of each to be shown (of another picture where there is
        one), and the scene itself."""
        scene = self.source.scenes[self.choose.turn("scenes", i, "scenes")]
        owned = rng.sample(scene.things, rng.randint(2, min(MAX_MULTI, len(scene.things))))
        shown, seen = [], []
        for t in owned:
            views = self.things[t].views
            elsewhere = [view for view in views if view.of != scene.picture]
            seen = [view for view in views if view.of == scene.picture]
            shown.append(rng.choice(elsewhere or seen))
        return owned, shown, seen[:1]

    def _strangers(self, rng: random.Random, owned: list[int], also: list[int], n: int
                   ) -> list[tuple[int, View]]:
        """Up to ``n`` things that are neither ``owned`` nor in ``also``, nor seen in a picture with
        one of these, each with a view."""
        taken, found = [*owned, *also], []
        pictures = self.show.pictures(*taken)
        for _ in range(n):
            other = self.choose.another(rng, rng.choice(owned), taken, pictures)
            if other is None:
                break
            taken.append(other[0])
            pictures |= self.show.pictures(other[0])
            found.append((other[0], rng.choice(self.things[other[0]].views)))
        return found

    def _other(self, rng: random.Random, subject: int) -> tuple[int, str]:
        found = self.choose.another(rng, subject, [subject], self.show.pictures(subject))
        if found is None:
            raise NoOther
        return found
