"""The naming metric as RePIC (arXiv 2506.18369) reports it, defects included, to stay comparable.

A caption is cut at whitespace, after ``</s>`` is taken out; every word loses the signs
``. , ! ? ; : ( ) [ ] { } " ' -`` at both ends. A concept is present where ``<name>`` or ``name`` is
one of the words. Each expected name of a caption is then

    a hit    it is present
    wrong    it is not, and a concept of the same file that is not expected here is present
    silent   neither

precision = hits / (hits + wrong), recall = hits / expected names, F1 their harmonic mean; 0 where a
denominator is 0.

What follows from it: a wrong name costs nothing where all expected names are present, and counts as
one error for every expected name that is missing; possessives (``<bo>'s``), markup (``**<bo>**``)
and names of several words never match; ``bond`` counts wherever the word stands alone. The file
with captions for two concepts is read with case, all others without.
"""

from collections import defaultdict
from collections.abc import Sequence

from rewards.names import Tally

VARIANTS = ("2", "n")
"""Two concepts, with case; and all others, without."""

_EDGES = ".,!?;:()[]{}\"'-"


def published_tallies(
    captions: Sequence[str], expected: Sequence[Sequence[str]], variant: str
) -> list[Tally]:
    """The counts of N captions: ``hits``, ``extra`` (what is wrong above) and ``missed`` (wrong or
    silent), so that :func:`benchmarks.metrics.naming.naming_metrics` gives the published figures.

    Args:
        captions: N texts.
        expected: N lists of names as the file writes them, ``<bo>``; a name that stands there
            twice is expected twice.
        variant: one of :data:`VARIANTS`.
    """
    fold = str if variant == "2" else str.lower
    # The released scorer for one concept tells other concepts apart after folding, the one for
    # several before: `<Bo>` with `<bo>` expected is another concept to the latter only.
    single = variant == "n" and all(len(names) == 1 for names in expected)
    spellings, words = defaultdict(set), defaultdict(set)
    for name in {name for names in expected for name in names}:
        key = _inside(fold(name))
        spellings[key].add(name)
        words[key].add(key)
        words[fold(name)].add(key)
    words.pop("", None)
    found = []
    for caption, names in zip(captions, expected, strict=True):
        said = {word.strip(_EDGES) for word in fold(caption.replace("</s>", "")).split()}
        present = set().union(*(words[word] for word in said & words.keys()))
        keys = [_inside(fold(name)) for name in names]
        if single:
            other = bool(present - set(keys))
        else:
            other = any(name not in names for key in present for name in spellings[key])
        hits = sum(key in present for key in keys)
        missed = len(keys) - hits
        found.append(Tally(hits, missed if other else 0, missed))
    return found


def _inside(name: str) -> str:
    return name[1:-1] if name.startswith("<") and name.endswith(">") else name
