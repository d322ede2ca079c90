"""Captions compared as words: with references (BLEU, CIDEr), with one another (Self-BLEU), and with
the information that was given (overlap).

BLEU comes from sacrebleu, CIDEr from pycocoevalcap (extra ``benchmarks``). Left out: METEOR and
SPICE. pycocoevalcap's both start Java; METEOR in nltk is plain Python, but needs WordNet, which no
package that could be installed here brings along.
"""

import random
from collections.abc import Sequence

from sacrebleu.metrics import BLEU

from benchmarks.files import BenchmarkError
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
        BenchmarkError: nothing to compare.
    """
    _check(captions, references)
    most = max(map(len, references))
    columns = [[of[k] if k < len(of) else None for of in references] for k in range(most)]
    return BLEU().corpus_score(list(captions), columns).score / 100


def bleus(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU-4 of each caption by itself, 0-1: smoothed as sacrebleu does, shorter n-grams where a
    caption has no four words. Its mean is not corpus BLEU. Arguments as for :func:`bleu`."""
    _check(captions, references)
    metric = BLEU(effective_order=True)
    return [metric.sentence_score(caption, list(of)).score / 100
            for caption, of in zip(captions, references, strict=True)]


def ciders(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """CIDEr-D of each caption (Vedantam 2015, as the COCO caption evaluation computes it), 0-10,
    weighted by how rare words are in all N; words are cut at blanks, without case.

    Raises:
        BenchmarkError: nothing to compare, or pycocoevalcap is not installed.
    """
    _check(captions, references)
    try:
        from pycocoevalcap.cider.cider_scorer import CiderScorer
    except ImportError:
        raise BenchmarkError("CIDEr needs pycocoevalcap: pip install 'byname[benchmarks]'"
                             ) from None
    scorer = CiderScorer(n=4, sigma=6.0)
    for caption, of in zip(captions, references, strict=True):
        scorer += (caption.lower(), [text.lower() for text in of])
    return [float(score) for score in scorer.compute_score()[1]]


def self_bleus(captions: Sequence[str], seed: int = 0) -> list[float]:
    """How much each caption resembles the others: its BLEU-4 with them as references (Zhu 2018),
    0-1. 1: all the same. Of many others, some are drawn.

    Raises:
        BenchmarkError: fewer than two captions.
    """
    if len(captions) < 2:
        raise BenchmarkError("Self-BLEU needs two captions or more")
    metric = BLEU(effective_order=True)
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
    return [-penalty for penalty in found]


def _check(captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not captions or len(captions) != len(references) or not all(references):
        raise BenchmarkError(f"{len(captions)} captions and {len(references)} lists of references; "
                             f"each caption needs at least one reference")
