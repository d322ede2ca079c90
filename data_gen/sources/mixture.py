"""One row set from several sources: how many rows of each task come from which."""

import random
from array import array
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from data_gen.files.errors import SourceError
from data_gen.files.files import stamp_of
from data_gen.rows.indexed import RowMaker, Skipped, interleaved

OWN = ("generator", "seed", "shares", "caps")
"""Keys of a source in a mixture; all others are its generator's settings."""


class Generator(Protocol):
    """What makes the rows of a source, and the names of its settings."""

    maker: Callable[[dict, int, dict], RowMaker]
    settings: set[str]


class Turn(NamedTuple):
    """Which source makes a row, and which of its rows of the task it is."""

    source: str
    index: int


def mixture_maker(
    counts: Mapping[str, int],
    seed: int,
    sources: Mapping[str, Mapping],
    generators: Mapping[str, Generator],
) -> RowMaker:
    """Rows of several sources, in the proportions of their shares.

    Row ``i`` of a task comes from the same source however many rows there are, so that a larger set
    begins with the smaller one.

    Args:
        counts: task -> number of rows.
        seed: each source draws with a seed of its own, made from this one and its name.
        sources: name -> ``generator``; ``shares``: task -> weight among the sources; ``caps``: task
            -> most rows from this source, the others make up for it; ``seed``: instead of the one
            above; and the generator's own settings.
        generators: by the names that ``generator`` may have.

    Raises:
        SourceError: naming the source, the key and the remedy.
    """
    check_sources(sources, generators)
    shares = {task: {name: source["shares"].get(task, 0) for name, source in sources.items()}
              for task in counts}
    caps = {task: {name: (source.get("caps") or {}).get(task) for name, source in sources.items()}
            for task in counts}
    dealt = {task: deal(shares[task], caps[task], n, task) for task, n in counts.items()}
    makers: dict[str, RowMaker] = {}
    for name, source in sources.items():
        own = {task: turns.count(name) for task, turns in dealt.items()}
        own = {task: n for task, n in own.items() if n}
        if own:
            makers[name] = _maker(name, source, own, seed, generators)
    columns = {name: maker.columns for name, maker in makers.items()}
    first = next(iter(columns.values()), {})
    for name, own in columns.items():
        if own.keys() != first.keys():
            raise SourceError(f"mixture: source '{name}' has the further columns {sorted(own)}, "
                              f"another has {sorted(first)}; make them agree (targets)")

    def make(task: str, i: int) -> dict | Skipped:
        name, index = dealt[task][i]
        row = makers[name].encoded(task, index)  # as each source has it
        return row if isinstance(row, Skipped) else row | {"id": f"{name}:{row['id']}"}

    return RowMaker(
        dict(counts), make, order=interleaved, columns=first,
        left_out={f"{name}: {reason}": n for name, maker in makers.items()
                  for reason, n in maker.left_out.items()},
        stamp=stamp_of(*(part for name, maker in makers.items() for part in (name, maker.stamp))))


class Turns:
    """Whose turn it is, row after row."""

    def __init__(self, names: list[str]):
        self.names, self.code, self.index = names, array("H"), array("i")

    def __getitem__(self, i: int) -> Turn:
        return Turn(self.names[self.code[i]], self.index[i])

    def count(self, name: str) -> int:
        """How often it is a source's turn."""
        return self.code.count(self.names.index(name))


def deal(shares: Mapping[str, float], caps: Mapping[str, int | None], n: int, task: str) -> Turns:
    """Who makes each of ``n`` rows: the source that is furthest behind its share, so that any
    stretch has the proportions and no turn depends on ``n``.

    Raises:
        SourceError: no source has a share, or their caps allow fewer rows.
    """
    turns = Turns(list(shares))
    made = dict.fromkeys(shares, 0)
    open_to = [name for name, share in shares.items() if share > 0 and caps[name] != 0]
    for _ in range(n):
        if not open_to:
            raise SourceError(f"mixture: counts ask for {n} rows of {task}, shares and caps give "
                              f"{sum(made.values())}; raise a cap or give another source a share")
        name = min(open_to, key=lambda name: (made[name] + 0.5) / shares[name])
        turns.code.append(turns.names.index(name))
        turns.index.append(made[name])
        made[name] += 1
        if made[name] == caps[name]:
            open_to.remove(name)
    return turns


def check_sources(sources: Mapping[str, Mapping], generators: Mapping[str, Generator]) -> None:
    """Refuse sources that are no settings, of no generator, with unknown keys or odd numbers.

    Raises:
        SourceError: naming the source and the key.
    """
    if not isinstance(sources, Mapping) or not sources:
        raise SourceError("mixture: 'sources' must name at least one source")
    if len(sources) >= 2**16:
        raise SourceError("mixture: too many sources")
    for name, source in sources.items():
        where = f"mixture: source '{name}'"
        if not isinstance(source, Mapping):
            raise SourceError(f"{where}: must be settings, not {source!r}")
        if source.get("generator") not in generators:
            raise SourceError(f"{where}: generator must be one of {', '.join(generators)}, not "
                              f"{source.get('generator')!r}")
        allowed = {*OWN, *generators[source["generator"]].settings}
        unknown = sorted(set(source) - allowed)
        if unknown:
            raise SourceError(f"{where}: unknown key '{unknown[0]}'; it may have "
                              f"{', '.join(sorted(allowed))}")
        shares, caps = source.get("shares"), source.get("caps") or {}
        if not isinstance(shares, Mapping) or any(
                type(v) not in (int, float) or not 0 <= v < float("inf") for v in shares.values()):
            raise SourceError(f"{where}: shares must give tasks weights from 0, not {shares!r}")
        if not isinstance(caps, Mapping) or any(type(v) is not int or v < 0 for v in caps.values()):
            raise SourceError(f"{where}: caps must give tasks whole numbers from 0, not {caps!r}")


def _maker(name: str, source: Mapping, counts: dict, seed: int, generators: Mapping) -> RowMaker:
    settings = {key: value for key, value in source.items() if key not in OWN}
    # Two sources of one generator must not make the same rows.
    own_seed = source.get("seed", random.Random(f"{seed}/{name}").randrange(2**31))
    try:
        return generators[source["generator"]].maker(counts, own_seed, settings)
    except (ValueError, OSError) as error:
        raise SourceError(f"mixture: source '{name}': {error}") from None
