"""Sample the next subject, and its negative.

Negatives are drawn from the subjects that can also be the right answer: one that is seen in one
image only could never be asked for with yes, and would tell that the answer is no.
"""

import random
import unicodedata
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from data_gen.tasks.subjects import Subject

NEGATIVES = ("category", "nearest")
"""What makes a negative hard: the same category, or a neighbour table."""

TRIES = 32
"""Random draws before a small pool is searched and a large one is given up."""

SMALL = 4096
"""Largest pool, in subjects, that is searched after :data:`TRIES` draws."""

SEED_KEY = "turn"
"""Part of the text that seeds each shuffle; kept from an earlier name, as rows depend on it."""


class Index:
    """What must be known of all subjects at once, in a few numbers for each.

    Attributes:
        kinds, labels: a number per subject, equal for equal categories or labels; -1 for none.
        members: kind -> the subjects of that kind.
        blocks: block -> its subjects.
        single: subjects seen in one image only, without a box: the image cannot be both reference
            and query.
        boxed: subjects whose box can be asked for.
        has_boxes: whether any view has a box.
        words: words that occur in categories, casefolded.
    """

    def __init__(self, subjects: Sequence[Subject]):
        kinds: dict[str, int] = {}
        labels: dict[str, int] = {}
        self.kinds, self.labels = array("i"), array("i")
        self.members: dict[int, array] = defaultdict(lambda: array("i"))
        self.blocks: dict[int, array] = defaultdict(lambda: array("i"))
        self.single: set[int] = set()
        self.boxed = array("i")
        self.has_boxes = False
        for i in range(len(subjects)):
            subject = subjects[i]
            kind = _number(kinds, subject.category)
            self.kinds.append(kind)
            self.labels.append(_number(labels, subject.label))
            if kind >= 0:
                self.members[kind].append(i)
            self.blocks[subject.block].append(i)
            framed = any(view.box for view in subject.views)
            self.has_boxes |= framed
            if len(subject.views) < 2 and not framed:
                self.single.add(i)
            if framed and subject.askable:
                self.boxed.append(i)
        self.words = {word for kind in kinds for word in kind.split()}

    def same_category(self, a: int, b: int) -> bool:
        """Whether two subjects are of one category."""
        return self.kinds[a] >= 0 and self.kinds[a] == self.kinds[b]


def _number(numbers: dict[str, int], text: str | None) -> int:
    text = unicodedata.normalize("NFC", text or "").strip().casefold()
    return numbers.setdefault(text, len(numbers)) if text else -1


class SubjectSampler:
    """Samples subjects; every random draw comes from a generator that the caller seeds.

    Args:
        subjects: of the source.
        seed: text that seeds the shuffles.
        hard_share: share of hard negatives over all subjects that can be asked about: where some
            have no hard negative, the rest get one more often.
        nearest: place of a subject -> its neighbours, from
            :func:`data_gen.negatives.table.read_neighbours`; ``None``: a negative of the same
            category is a hard one.
        scenes: number of scenes, which are shuffled too.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        seed: str,
        hard_share: float,
        nearest: Mapping[int, Sequence[int]] | None = None,
        scenes: int = 0,
    ):
        self.subjects, self.seed, self.nearest = subjects, seed, nearest
        self.index = Index(subjects)
        self.everything = range(len(subjects))
        self.pairs = array("i", (i for i in self.everything if i not in self.index.single))
        self.everybody = self.only(self.pairs)
        mates = Counter(self.index.kinds[i] for i in self.pairs)
        able = sum(self._has_hard(i, mates) for i in self.pairs) / max(1, len(self.pairs))
        self.hard_share = min(1.0, hard_share / able) if able else 0.0
        self.pools = {"pairs": self.pairs, "boxed": self.index.boxed, "scenes": range(scenes)}
        self.shuffle = lru_cache(8)(self._shuffle)

    def shuffled_index(self, label: str, k: int, of: str = "pairs") -> int:
        """Number ``k`` of an endless series of shuffles of a pool, so that all members come equally
        often.

        Args:
            label: each label has shuffles of its own.
            k: from 0.
            of: the pool: subjects that can be reference and query (``pairs``), subjects with a box
                (``boxed``), or ``scenes``.
        """
        n = len(self.pools[of])
        return self.shuffle(label, k // n, of)[k % n]

    def only(self, subjects: Iterable[int]) -> bytearray:
        """These subjects and no others, as :meth:`negative` takes them: 1 at their places."""
        among = bytearray(len(self.subjects))
        for i in subjects:
            among[i] = 1
        return among

    def negative(
        self,
        rng: random.Random,
        subject: int,
        taken: Sequence[int],
        image_ids: set[str],
        among: bytearray | None = None,
    ) -> tuple[int, str] | None:
        """Another subject, to stand for "not this one".

        Args:
            rng: of the draws.
            subject: whose negative is wanted.
            taken: subjects that it must not be.
            image_ids: images that must not show it.
            among: from :meth:`only`; ``None``: subjects that can be reference and query.

        Returns:
            The negative and how it was chosen: ``hard`` (of the subject's category), ``nearest``
            or ``other``; ``None`` where there is none.
        """
        labels = {self.index.labels[t] for t in (*taken, subject)} - {-1}
        among = self.everybody if among is None else among

        def free(t: int) -> bool:
            return (
                bool(among[t])
                and t not in taken
                and self.index.labels[t] not in labels
                and not (
                    self.index.has_boxes
                    and image_ids
                    and any(view.image_id in image_ids for view in self.subjects[t].views)
                )
            )

        def same() -> int | None:
            return draw(rng, self.index.members.get(self.index.kinds[subject], ()), free)

        def different() -> int | None:
            return draw(
                rng, self.everything, lambda t: free(t) and not self.index.same_category(t, subject)
            )

        hard = rng.random() < self.hard_share
        if hard and self.nearest is not None:
            found = draw(rng, self.nearest.get(subject, ()), free)
            if found is not None:
                return found, "nearest"
        for choose in (same, different) if hard else (different, same):
            found = choose()
            if found is not None:
                return found, "hard" if self.index.same_category(found, subject) else "other"
        return None

    def _has_hard(self, i: int, mates: Mapping[int, int]) -> bool:
        if self.nearest is not None and self.nearest.get(i):
            return True
        return self.index.kinds[i] >= 0 and mates[self.index.kinds[i]] > 1

    def _shuffle(self, label: str, number: int, of: str) -> Sequence[int]:
        rng = random.Random(f"{self.seed}/{label}/{SEED_KEY} {number}")
        pool = self.pools[of]
        if len(self.index.blocks) < 2 or of == "scenes":
            return array("i", rng.sample(pool, len(pool)))
        # Block by block: what lies together on disk is read together.
        inside = bytearray(len(self.subjects))
        for t in pool:
            inside[t] = 1
        order = rng.sample(list(self.index.blocks), len(self.index.blocks))
        members = ([t for t in self.index.blocks[block] if inside[t]] for block in order)
        return array("i", (t for block in members for t in rng.sample(block, len(block))))


def draw(rng: random.Random, pool: Sequence[int], free: Callable[[int], bool]) -> int | None:
    """A member of ``pool`` that is ``free``, each as likely. A large pool of which next to nothing
    is free may give ``None``."""
    for _ in range(TRIES if len(pool) <= SMALL else SMALL):
        if not pool:
            return None
        found = pool[rng.randrange(len(pool))]
        if free(found):
            return found
    left = [t for t in pool if free(t)] if len(pool) <= SMALL else []
    return rng.choice(left) if left else None
