"""Count what was skipped, by reason: the one ledger of sources, databases and benchmarks.

A wrong label is worse than a missing row, so what cannot be used is skipped; and nothing is skipped
in silence: each reason is counted, and its first places are kept as examples.
"""

from collections.abc import Mapping
from typing import Any

EXAMPLES = 10
"""Places that are kept of each reason."""

SHOWN = 3
"""Places of each reason that a line shows."""


class SkippedItems:
    """Counts and first places of what was skipped, by reason.

    A reason is a few words that do not name the item (``crowd``, ``image missing on disk``), so
    that its like can be counted; the place (``row 4``, a path) goes in ``where``.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, where: str | None = None, count: int = 1) -> None:
        """Count ``count`` items skipped for ``reason``; ``where`` is kept as an example."""
        self._counts[reason] = self._counts.get(reason, 0) + count
        places = self._places.setdefault(reason, [])
        if where is not None and len(places) < EXAMPLES:
            places.append(where)

    def update(self, other: "SkippedItems | Mapping[str, int]", prefix: str = "") -> None:
        """Count what another ledger, or a mapping reason -> count, has; ``prefix`` begins the
        reasons here."""
        if isinstance(other, SkippedItems):
            for reason, count in other._counts.items():
                self.add(prefix + reason, None, count)
                places = self._places[prefix + reason]
                places.extend(other._places[reason][: EXAMPLES - len(places)])
        else:
            for reason, count in other.items():
                self.add(prefix + reason, None, count)

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> how many, the most frequent first."""
        return dict(sorted(self._counts.items(), key=lambda item: -item[1]))

    @property
    def total(self) -> int:
        """How many in all."""
        return sum(self._counts.values())

    def places(self, reason: str) -> list[str]:
        """The first :data:`EXAMPLES` places of a reason."""
        return list(self._places.get(reason, ()))

    def __bool__(self) -> bool:
        return bool(self._counts)

    def __contains__(self, reason: str) -> bool:
        return reason in self._counts

    def __getitem__(self, reason: str) -> int:
        return self._counts.get(reason, 0)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SkippedItems)
            and self._counts == other._counts
            and self._places == other._places
        )

    def __repr__(self) -> str:
        return f"SkippedItems({self.counts})"

    def line(self) -> str:
        """``skipped 3: 2 null caption (row 4, row 9), 1 ...``; empty for nothing."""
        if not self:
            return ""
        reasons = []
        for reason, count in self.counts.items():
            places = self._places[reason][:SHOWN]
            more = ", …" if count > len(places) else ""
            where = f" ({', '.join(places)}{more})" if places else ""
            reasons.append(f"{count} {reason}{where}")
        return f"skipped {self.total}: {', '.join(reasons)}"

    def clause(self) -> str:
        """The line as the end of a sentence: ``; skipped 3: ...``; empty for nothing."""
        return f"; {self.line()}" if self else ""

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Reason -> ``count`` and the first places, ``where``, the most frequent reason first."""
        return {
            reason: {"count": count, "where": self.places(reason)}
            for reason, count in self.counts.items()
        }


def printable(value: Any) -> str:
    """A value of a file, short and printable, for a message."""
    text = value if isinstance(value, str) else repr(value)
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:120])
