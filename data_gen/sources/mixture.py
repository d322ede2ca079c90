"""Mix several sources into one row set: which source makes which row of each task."""

import random
from array import array
from collections.abc import Mapping
from typing import Any, NamedTuple

from data_gen.files.errors import SourceError
from data_gen.files.files import fingerprint_of
from data_gen.files.skipped import SkippedItems
from data_gen.rows.indexed import IndexedRows, Skipped, interleaved
from data_gen.sources.needed import check_needed

OWN = ("generator", "seed", "shares", "caps")
"""Keys of a source that the mixture reads; all others are its generator's settings."""


class Turn(NamedTuple):
    """Which source makes a row, and which of the source's rows it is."""

    source: str
    index: int


def mixture_rows(
    counts: Mapping[str, int],
    seed: int,
    sources: Mapping[str, Mapping],
    generators: Mapping[str, Any],
) -> IndexedRows:
    """Rows of several sources, in the proportions of their shares.

    Row ``i`` of a task comes from the same source however many rows there are, so that a larger set
    begins with the smaller one.

    Args:
        counts: task -> number of rows.
        seed: each source draws with a seed of its own, made from this one and the source's name.
        sources: name -> settings: ``generator``; ``shares``: task -> weight among the sources;
            ``caps``: task -> most rows from this source, for which the others make up; ``seed``:
            instead of the one above; and the generator's own settings.
        generators: by the names that ``generator`` may have.

    Raises:
        SourceError: naming the source, the key and the remedy.
    """
    check_sources(sources, generators)
    shares = {
        task: {name: source["shares"].get(task, 0) for name, source in sources.items()}
        for task in counts
    }
    caps = {
        task: {name: (source.get("caps") or {}).get(task) for name, source in sources.items()}
        for task in counts
    }
    dealt = {task: deal(shares[task], caps[task], n, task) for task, n in counts.items()}
    asked = {
        name: {task: n for task, turns in dealt.items() if (n := turns.count(name))}
        for name in sources
    }
    asked = {name: own for name, own in asked.items() if own}
    for name in asked:  # of all, before the first is fetched or read
        check_needed(sources[name], f"mixture: source '{name}': ")
    parts = {name: _part(name, sources[name], own, seed, generators) for name, own in asked.items()}
    columns = {name: part.columns for name, part in parts.items()}
    first = next(iter(columns.values()), {})
    for name, own in columns.items():
        if own.keys() != first.keys():
            raise SourceError(
                f"mixture: source '{name}' has the further columns {sorted(own)}, "
                f"another has {sorted(first)}; make them agree (targets)"
            )

    def make(task: str, i: int) -> dict | Skipped:
        name, index = dealt[task][i]
        row = parts[name].encoded(task, index)  # in the image format of each source
        return row if isinstance(row, Skipped) else row | {"id": f"{name}:{row['id']}"}

    skipped = SkippedItems()
    for name, part in parts.items():
        skipped.update(part.skipped, prefix=f"{name}: ")
    fingerprints = (text for name, part in parts.items() for text in (name, part.fingerprint))
    return IndexedRows(
        dict(counts),
        make,
        order=interleaved,
        columns=first,
        skipped=skipped,
        fingerprint=fingerprint_of(*fingerprints),
    )


class Turns:
    """The turns of one task, row after row."""

    def __init__(self, names: list[str]):
        self.names, self.code, self.index = names, array("H"), array("i")

    def __getitem__(self, i: int) -> Turn:
        return Turn(self.names[self.code[i]], self.index[i])

    def count(self, name: str) -> int:
        """How many rows a source makes."""
        return self.code.count(self.names.index(name))


def deal(shares: Mapping[str, float], caps: Mapping[str, int | None], n: int, task: str) -> Turns:
    """Deal ``n`` rows to the sources: each to the source that is furthest behind its share, so that
    any stretch has the proportions and no turn depends on ``n``.

    Raises:
        SourceError: no source has a share, or their caps allow fewer rows.
    """
    turns = Turns(list(shares))
    made = dict.fromkeys(shares, 0)
    open_to = [name for name, share in shares.items() if share > 0 and caps[name] != 0]
    for _ in range(n):
        if not open_to:
            raise SourceError(
                f"mixture: counts ask for {n} rows of {task}, shares and caps give "
                f"{sum(made.values())}; raise a cap or give another source a share"
            )
        name = min(open_to, key=lambda name: (made[name] + 0.5) / shares[name])
        turns.code.append(turns.names.index(name))
        turns.index.append(made[name])
        made[name] += 1
        if made[name] == caps[name]:
            open_to.remove(name)
    return turns


def check_sources(sources: Mapping[str, Mapping], generators: Mapping[str, Any]) -> None:
    """Refuse sources that are no settings, have no known generator, unknown keys or wrong numbers.

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
            raise SourceError(
                f"{where}: generator must be one of {', '.join(generators)}, not "
                f"{source.get('generator')!r}"
            )
        allowed = {*OWN, *generators[source["generator"]].settings}
        unknown = sorted(set(source) - allowed)
        if unknown:
            raise SourceError(
                f"{where}: unknown key '{unknown[0]}'; it may have {', '.join(sorted(allowed))}"
            )
        shares, caps = source.get("shares"), source.get("caps") or {}
        if not isinstance(shares, Mapping) or any(
            type(v) not in (int, float) or not 0 <= v < float("inf") for v in shares.values()
        ):
            raise SourceError(f"{where}: shares must give tasks weights from 0, not {shares!r}")
        if not isinstance(caps, Mapping) or any(type(v) is not int or v < 0 for v in caps.values()):
            raise SourceError(f"{where}: caps must give tasks whole numbers from 0, not {caps!r}")


def _part(name: str, source: Mapping, counts: dict, seed: int, generators: Mapping) -> IndexedRows:
    settings = {key: value for key, value in source.items() if key not in OWN}
    # Two sources of one generator must not make the same rows.
    own_seed = source.get("seed", random.Random(f"{seed}/{name}").randrange(2**31))
    try:
        return generators[source["generator"]].rows(counts, own_seed, settings)
    except (ValueError, OSError) as error:
        raise SourceError(f"mixture: source '{name}': {error}") from None
