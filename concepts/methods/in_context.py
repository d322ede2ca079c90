"""In-context personalization: references of the user's concepts stand in the prompt (RePIC).

References are handed over with the query (the *skip-retrieval* protocol of RePIC 2506.18369), or
the system finds them among the concepts that the user owns (its *retrieval* protocol,
:mod:`concepts.methods.finding`). Either way the policy may be asked first, of each reference by
itself, whether it is in the image (R2P 2503.18623 verifies candidates so), and is shown only those
that it says yes to. What was retrieved, how similar it is and what the policy said of it is part of
every reply.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, cast

from concepts.concept import Concept
from concepts.methods.prompting import without_pictures, without_references, without_words
from concepts.methods.protocol import (
    Evidence,
    Learned,
    Method,
    Picture,
    Query,
    Reference,
)
from concepts.methods.verification import (
    presence_question,
    presence_row,
    reasoned_probabilities,
)
from concepts.regions import around, windows
from data_gen.files.errors import InputError
from data_gen.images.boxes import Box
from data_gen.images.photos import PhotoError, at_side
from rewards.names import names_written
from rl.policy.generation import row_size
from rl.policy.likelihood import yes_probabilities

CONTEXT = 1.6
"""Side of the part of an image that is looked at closely, in longer sides of the box."""

PARTS = 512
"""Parts of images that are held in memory at a time."""

SHOW = ("both", "text", "pictures", "names", "wrong")
"""What the policy is given of a concept beside its name; the last two are controls."""


@dataclass(frozen=True)
class InContextSettings:
    """What the policy is given of a concept."""

    show: str = field(
        default="both",
        metadata={
            "help": "both: the concept's picture and what its owner says of it; text or pictures: "
            "its name with that alone. Controls: names: nothing but its name; wrong: what belongs "
            "to another concept of the database."
        },
    )
    reasons: bool = field(
        default=False,
        metadata={
            "help": "Whether a concept is there is asked with reasons before the yes or no, by the "
            "gate and where that is the question: slower, and better where the policy can compare "
            "(docs/methods.md)."
        },
    )
    photos: int = field(
        default=1,
        metadata={
            "help": "The gate compares an image with so many photos of a concept that is in a "
            "database, one after another, and takes the mean p: one photo may be misread."
        },
    )
    side: int | None = field(
        default=None,
        metadata={
            "help": "Long side, in pixels, to which an image is brought where the question is who "
            "is there: that in which the policy learned to compare. null: as it is."
        },
    )
    closer: bool = field(
        default=False,
        metadata={
            "help": "Where the answer is no, the policy locates the concept and is asked again "
            "about that part of the image, enlarged: crowded images hide less."
        },
    )
    windows: float | None = field(
        default=None,
        metadata={
            "help": "What is located in a part smaller than this share of the image's sides, or "
            "nowhere, is looked for through overlapping windows of that size, too. Needs closer."
        },
    )
    votes: int = field(
        default=2,
        metadata={
            "help": "Of the image, the part and the windows, so many must show it: more let fewer "
            "look-alikes pass, and fewer that are there."
        },
    )
    gate: float | None = field(
        default=None,
        metadata={
            "help": "Least p(yes), 0-1, with which the policy is shown a reference, retrieved or "
            "handed over; those that the question names are always shown. null: all are."
        },
    )

    def __post_init__(self):
        if self.show not in SHOW:
            raise InputError(f"show must be one of {', '.join(SHOW)}, not {self.show!r}")
        if self.closer and self.show in ("text", "names"):
            raise InputError(f"closer: a concept is located by its picture; show is {self.show!r}")
        for name, least in (("photos", self.photos), ("side", self.side), ("votes", self.votes)):
            if least is not None and least < 1:
                raise InputError(f"{name} must be 1 or more, not {least!r}")
        if self.windows is not None and not (self.closer and 0 < self.windows < 1):
            raise InputError(
                f"windows must be a share of an image, as 0.6, beside closer: true; not "
                f"{self.windows!r} beside closer: {str(self.closer).lower()}"
            )
        if self.gate is not None and not 0 <= self.gate <= 1:
            raise InputError(f"gate must be a probability, not {self.gate!r}")


class InContext(Method):
    """A policy with references in its prompt. Nothing is learned: a concept is known as soon as it
    is in the database."""

    kind = "in_context"
    Settings = InContextSettings
    uses_database = False

    def learn(
        self,
        concepts: Sequence[Concept],
        negatives: Sequence[Picture] = (),
        progress: bool = False,
    ) -> list[Learned]:
        """Nothing is learned, which costs nothing."""
        return [Learned(concept.name, 0.0, 0, 0) for concept in concepts]

    def recognize(self, pairs: Sequence[tuple[Picture, str]]) -> list[float]:
        """The policy's p(yes) to the object-consistency question with the concept's picture; or
        with its words alone, where ``show`` is text."""
        return self._seen([(image, self._given(self.reference(name))) for image, name in pairs])

    @property
    def least(self) -> float:
        """The gate, where there is one."""
        return super().least if self.settings.gate is None else self.settings.gate

    def _seen(self, pairs: Sequence[tuple[Picture, Reference]]) -> list[float]:
        """p(yes) that each reference is in its image. With a closer look the larger one of the
        image's and of the part's; with windows, where it is small, the ``votes``-th largest."""
        p = self._asked(pairs)
        if not self.settings.closer:
            return p
        side = self.settings.windows
        looked = [i for i, one in enumerate(p) if one < 0.5 or side is not None]
        boxes = dict(zip(looked, self._where([pairs[i] for i in looked]), strict=True))
        looks = [[one] for one in p]
        self._look(looks, pairs, {i: [box] for i, box in boxes.items() if box is not None}, CONTEXT)
        if side is None:
            return [max(of) for of in looks]
        votes = self.settings.votes
        small = {
            i
            for i, box in boxes.items()
            if box is None or max(box[2] - box[0], box[3] - box[1]) <= side
        }
        undecided = [i for i in sorted(small) if sum(one >= 0.5 for one in looks[i]) < votes]
        through = {i: windows(self._opened(pairs[i][0]), (side,)) for i in undecided}
        self._look(looks, pairs, through)
        return [
            sorted(of)[-min(votes, len(of))] if i in small else max(of)
            for i, of in enumerate(looks)
        ]

    def _look(
        self,
        looks: list[list[float]],
        pairs: Sequence[tuple[Picture, Reference]],
        boxes: Mapping[int, Sequence[Box]],
        context: float = 1.0,
    ) -> None:
        """Add to the looks of some pairs what the policy says of parts of their images, enlarged.

        Args:
            looks: p of each of N pairs.
            boxes: number of a pair -> parts, in 0-1 of its image.
            context: see :func:`concepts.regions.around`.
        """
        wanted = [(i, box) for i, of in boxes.items() for box in of]
        for begin in range(0, len(wanted), PARTS):
            asked = wanted[begin : begin + PARTS]
            images = {i: self._opened(pairs[i][0]) for i in {i for i, _ in asked}}
            parts = [(around(images[i], box, context), pairs[i][1]) for i, box in asked]
            whole = [pairs[i][0] for i, _ in asked]
            for (i, _), p in zip(asked, self._asked(parts, whole), strict=True):
                looks[i].append(p)

    def _asked(
        self, pairs: Sequence[tuple[Picture, Reference]], whole: Sequence[Picture] | None = None
    ) -> list[float]:
        """p(yes) of the policy that each reference is in its image: the mean over its photos.

        Args:
            whole: what each image is a part of, where it is one.
        """
        rows, owners = [], []
        words = self.settings.show in ("text", "names")
        for i, (image, reference) in enumerate(pairs):
            shown = at_side(self._opened(image), self.settings.side)
            info = reference.info if self.settings.show == "text" else None
            itself = image if whole is None else whole[i]
            photos = self._photos_of(itself, reference, 1 if words else self.settings.photos)
            for picture in photos:
                row = presence_row(
                    shown, reference.name, picture, info, reasons=self.settings.reasons
                )
                rows.append(without_pictures(row, 1) if words else row)
            owners += [i] * len(photos)
        if not rows:
            return []
        model, processor = self.load()
        ask = reasoned_probabilities if self.settings.reasons else yes_probabilities
        p = ask(model, processor, rows, batch_size=self.batch_size)
        found: list[list[float]] = [[] for _ in pairs]
        for i, one in zip(owners, p, strict=True):
            found[i].append(one)
        return [fmean(of) for of in found]

    def _photos_of(self, image: Picture, reference: Reference, most: int) -> list[Any]:
        """The photos of a concept that an image, or a part of it, is compared with: its reference,
        and others that open, but the image itself."""
        found = [self._opened(reference.image)]
        for other in reference.others:
            if len(found) == most:
                break
            with suppress(PhotoError):
                found += [] if other == image else [self._opened(other)]
        return found

    def query_size(self, query: Query) -> tuple[int, int, int]:
        """As of the base, before the gate."""
        references = query.references
        if references is None:
            references, _ = self._retrieved(query)
        return row_size(self.row(replace(query, image=self._opened(query.image)), references))

    def row(self, query: Query, references: Sequence[Reference]) -> dict:
        """``prompt`` and ``images`` of a query, less what ``show`` leaves out."""
        show = self.settings.show
        if query.asks_presence and query.prompt is None and query.image is not None:
            shown = at_side(self._opened(query.image), self.settings.side)
            query = replace(query, image=shown)
        if self.with_reasons(query) and references:
            query = replace(query, text=presence_question(references[0].name))
        wordless = show in ("pictures", "names")
        if wordless and query.prompt is None:
            references = [replace(one, info=None) for one in references]
        row = super().row(query, references)
        if wordless:
            row["prompt"] = without_words(row["prompt"], [one.info for one in references])
        return without_pictures(row, len(references)) if show in ("text", "names") else row

    def with_reasons(self, query: Query) -> bool:
        """The question whether the one reference that is handed over is in the image, where the
        settings ask for reasons and the benchmark has not written the prompt."""
        return self.settings.reasons and query.asks_presence and query.prompt is None

    def rows(self, queries: Sequence[Query]) -> tuple[list[dict], list[tuple[Evidence, ...]]]:
        """The references that were handed over or retrieved and, where that is asked first, seen by
        the policy; then the image, then the words."""
        found: list[tuple[Query, Sequence[Reference], list[Evidence]]] = []
        for query in queries:
            if query.references is None:
                references, evidence = self._retrieved(query)
                query = replace(query, image=self._opened(query.image))
            else:
                references, evidence = query.references, []
            found.append((query, [self._given(one) for one in references], evidence))
        asked = [
            (i, j)
            for i, (query, references, _) in enumerate(found)
            if self.settings.gate is not None and query.image is not None and not query.judged
            for j, one in enumerate(references)
            if one.image is not None and not names_written(query.text, [one.name])
        ]
        seen = self._seen([(cast(Picture, found[i][0].image), found[i][1][j]) for i, j in asked])
        p = dict(zip(asked, seen, strict=True))
        rows, concepts, least = [], [], self.settings.gate
        for i, (query, references, evidence) in enumerate(found):
            if least is not None:
                evidence = [
                    replace(one, p=p.get((i, j)), used=p.get((i, j), 1.0) >= least)
                    for j, one in enumerate(evidence or [Evidence(r.name) for r in references])
                ]
                gone = {j for j, one in enumerate(evidence) if not one.used}
                if query.prompt is not None:
                    query = replace(query, prompt=without_references(query.prompt, gone))
                references = [one for j, one in enumerate(references) if j not in gone]
            rows.append(self.row(query, references))
            concepts.append(tuple(evidence))
        return rows, concepts

    def _given(self, reference: Reference) -> Reference:
        """A reference; under the control ``wrong``, with what belongs to the concept that stands
        half of the database behind it (its picture alone where a benchmark has written the words
        already)."""
        if self.settings.show != "wrong":
            return reference
        owned = [] if self.finder is None else list(self.finder.owned)
        if reference.name not in owned or len(owned) < 2:
            raise InputError(
                f"show: wrong has no other concept to take {reference.name!r} for; give the system "
                f"`retrieval`, and a benchmark with a database"
            )
        assert self.finder is not None
        at = (owned.index(reference.name) + len(owned) // 2) % len(owned)
        other = self.finder.owned[owned[at]]
        return replace(
            reference, image=self._opened(other.image), info=other.info, others=other.others
        )

    def _retrieved(self, query: Query) -> tuple[list[Reference], list[Evidence]]:
        if self.finder is None:
            raise InputError(
                f"query {query.id!r} comes without references; give the system "
                f"`retrieval`, such as {{encoder: imagenet}}"
            )
        found = self.finder.find(query)
        references = [
            replace(
                self.finder.owned[one.name], image=self._opened(self.finder.owned[one.name].image)
            )
            for one in found
        ]
        return references, [Evidence(one.name, one.similarity) for one in found]
