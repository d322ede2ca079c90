"""Compare captions by their n-grams: BLEU, Self-BLEU, and overlap with the given information.

BLEU comes from sacrebleu (extra ``benchmarks``). For CIDEr and METEOR see
:mod:`benchmarks.captions.coco`.
"""

import random
from collections.abc import Sequence

from data_gen.files.errors import InputError
from data_gen.rows import ICT
from rewards.penalties import copying

MOST_OTHERS = 100
"""How many other captions one is compared with in Self-BLEU."""


def bleu(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU-4 (Papineni 2002, as sacrebleu computes it), 0-1.

    Args:
        captions: N texts.
        references: N lists of texts, at least one each.

    Raises:
        InputError: nothing to compare, or sacrebleu is not installed.
    """
    check_pairs(captions, references)
    most = max(map(len, references))
    # sacrebleu takes None for a caption that has fewer references than others.
    columns: list = [[of[k] if k < len(of) else None for of in references] for k in range(most)]
    return _bleu().corpus_score(list(captions), columns).score / 100


def bleus(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-4 of each caption by itself, 0-1: smoothed as sacrebleu does, shorter n-grams where a
    caption has no four words. Its mean is not corpus BLEU. Arguments as for :func:`bleu`."""
    check_pairs(captions, references)
    metric = _bleu(effective_order=True)
    return [
        metric.sentence_score(caption, list(of)).score / 100
        for caption, of in zip(captions, references, strict=True)
    ]


def self_bleus(captions: Sequence[str], seed: int = 0) -> list[float]:
    """How much each caption resembles the others: its BLEU-4 with them as references (Zhu 2018),
    0-1. 1: all the same. Of many others, some are drawn.

    Raises:
        InputError: fewer than two captions.
    """
    if len(captions) < 2:
        raise InputError("Self-BLEU needs two captions or more")
    metric = _bleu(effective_order=True)
    rng = random.Random(seed)
    found = []
    for i, caption in enumerate(captions):
        others = [*captions[:i], *captions[i + 1 :]]
        if len(others) > MOST_OTHERS:
            others = rng.sample(others, MOST_OTHERS)
        found.append(metric.sentence_score(caption, others).score / 100)
    return found


def overlaps(captions: Sequence[str], infos: Sequence[str], ngram: int = 4) -> list[float]:
    """Share of each caption's n-grams that stand in the information given with the question, 0-1;
    captions shorter than one n-gram have 0.

    Args:
        captions: N texts.
        infos: for each, all that was said about the references.
        ngram: in words.
    """
    found = copying(list(infos), list(captions), task=[ICT] * len(captions), ngram=ngram)
    return [-(penalty or 0.0) for penalty in found]


def check_pairs(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuse captions that lack a reference, and an empty list of them.

    Raises:
        InputError: so.
    """
    if not captions or len(captions) != len(references) or not all(references):
        raise InputError(
            f"{len(captions)} captions and {len(references)} lists of references; "
            f"each caption needs at least one reference"
        )


def _bleu(**settings):
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise InputError(
            "BLEU and Self-BLEU need sacrebleu: pip install 'byname[benchmarks]'"
        ) from None
    return BLEU(**settings)
