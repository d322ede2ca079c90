"""Which thing comes next, and which other thing stands beside it or in its place."""

import random
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from data_gen.tasks.subjects import Thing

NEGATIVES = ("category", "nearest")
"""What makes another thing hard to tell apart: its category, or a neighbour table."""

TRIES = 32
"""Random draws before a small pool is searched and a large one is given up."""

SMALL = 4096


class Index:
    """What must be known of all things at once, in a few numbers for each.

    Attributes:
        kinds, labels: a number per thing, the same for equal categories or labels; -1 for none.
        members: kind -> the things of that kind.
        blocks: block -> its things.
        single: things seen in one picture only, without a box: they cannot be reference and query.
        boxed: things whose box can be asked for.
        has_boxes: whether any view has a box.
        words: words that occur in categories, casefolded.
    """

    def __init__(self, things: Sequence[Thing]):
        kinds: dict[str, int] = {}
        labels: dict[str, int] = {}
        self.kinds, self.labels = array("i"), array("i")
        self.members: dict[int, array] = defaultdict(lambda: array("i"))
        self.blocks: dict[int, array] = defaultdict(lambda: array("i"))
        self.single: set[int] = set()
        self.boxed = array("i")
        self.has_boxes = False
        for i in range(len(things)):
            thing = things[i]
            kind = _number(kinds, thing.category)
            self.kinds.append(kind)
            self.labels.append(_number(labels, thing.label))
            if kind >= 0:
                self.members[kind].append(i)
            self.blocks[thing.block].append(i)
            framed = any(view.box for view in thing.views)
            self.has_boxes |= framed
            if len(thing.views) < 2 and not framed:
                self.single.add(i)
            if framed and thing.askable:
                self.boxed.append(i)
        self.words = {word for kind in kinds for word in kind.split()}

    def alike(self, a: int, b: int) -> bool:
        """Whether two things are of one category."""
        return self.kinds[a] >= 0 and self.kinds[a] == self.kinds[b]


def _number(numbers: dict[str, int], text: str | None) -> int:
    text = unicodedata.normalize("NFC", text or "").strip().casefold()
    return numbers.setdefault(text, len(numbers)) if text else -1


class Chooser:
    """Choices of things, each from a generator of random numbers that the caller seeds.

    Args:
        things: of the source.
        seed: text that seeds the order in which things take turns.
        hard_share: share of other things that are hard to tell apart, over all things that take
            turns: where some have no hard counterpart, the rest have them more often.
        nearest: place of a thing -> its neighbours, from
            :func:`data_gen.negatives.table.read_neighbours`; ``None``: same category is hard.
        scenes: number of scenes, which take turns too.
    """

    def __init__(self, things: Sequence[Thing], seed: str, hard_share: float,
                 nearest: Mapping[int, Sequence[int]] | None = None, scenes: int = 0):
        self.things, self.seed, self.nearest = things, seed, nearest
        self.index = Index(things)
        self.everything = range(len(things))
        self.pairs = array("i", (i for i in self.everything if i not in self.index.single))
        able = sum(self._has_hard(i) for i in self.pairs) / max(1, len(self.pairs))
        self.hard_share = min(1.0, hard_share / able) if able else 0.0
        self.pools = {"pairs": self.pairs, "boxed": self.index.boxed, "scenes": range(scenes)}
        self.shuffled = lru_cache(8)(self._shuffled)

    def turn(self, label: str, k: int, of: str = "pairs") -> int:
        """Number ``k`` of an endless row of shuffles, so that all come equally often: of the things
        that can be reference and query (``pairs``), of those with a box (``boxed``), or of the
        ``scenes``."""
        n = len(self.pools[of])
        return self.shuffled(label, k // n, of)[k % n]

    def another(self, rng: random.Random, subject: int, taken: Sequence[int],
                pictures: set[str]) -> tuple[int, str] | None:
        """A thing that is neither ``taken`` nor seen in ``pictures``, and how it was chosen:
        ``hard`` (of the subject's category), ``nearest`` or ``other``. ``None``: there is none."""
        labels = {self.index.labels[t] for t in (*taken, subject)} - {-1}

        def free(t: int) -> bool:
            return (t not in taken and self.index.labels[t] not in labels
                    and not (self.index.has_boxes and pictures
                             and any(view.of in pictures for view in self.things[t].views)))

        def near() -> int | None:
            return draw(rng, self.index.members.get(self.index.kinds[subject], ()), free)

        def far() -> int | None:
            return draw(rng, self.everything,
                        lambda t: free(t) and not self.index.alike(t, subject))

        hard = rng.random() < self.hard_share
        if hard and self.nearest is not None:
            found = draw(rng, self.nearest.get(subject, ()), free)
            if found is not None:
                return found, "nearest"
        for choose in (near, far) if hard else (far, near):
            found = choose()
            if found is not None:
                return found, "hard" if self.index.alike(found, subject) else "other"
        return None

    def another_pair(self, rng: random.Random, taken: Sequence[int]) -> int | None:
        """Another thing that can be reference and query, whatever its category."""
        labels = {self.index.labels[t] for t in taken} - {-1}
        return draw(rng, self.pairs,
                    lambda t: t not in taken and self.index.labels[t] not in labels)

    def _has_hard(self, i: int) -> bool:
        if self.nearest is not None and self.nearest.get(i):
            return True
        return self.index.kinds[i] >= 0 and len(self.index.members[self.index.kinds[i]]) > 1

    def _shuffled(self, label: str, turn: int, of: str) -> Sequence[int]:
        rng = random.Random(f"{self.seed}/{label}/turn {turn}")
        pool = self.pools[of]
        if len(self.index.blocks) < 2 or of == "scenes":
            return array("i", rng.sample(pool, len(pool)))
        # Block by block: what lies together on disk is read together.
        inside = bytearray(len(self.things))
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
