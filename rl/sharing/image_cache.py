"""Each distinct image once through processor and frozen tower, for all passes over a batch.

In a generation batch an image belongs to all G completions of a group, and often to several groups;
generation and the passes for old, reference and policy log-probabilities each need its features.
``pixel_values`` carries integer image ids into a feature cache: it keeps its layout, but holds an
image's id in a :class:`VisionFeatureCache` instead of pixels. TRL slices, shuffles and pads ids
like pixels, and the model's ``get_image_features`` looks up features that were computed once,
without gradients.

Not supported: video, and processors that return more than ``pixel_values`` and ``image_grid_thw``;
:func:`unsupported_reason` names them, and their policies train as in stock TRL.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images
from transformers.utils.generic import ModelOutput

from rl.sharing.image_rows import FIELDS


@dataclass
class CachedImage:
    """One distinct image: pixels until its features are known, features after.

    ``pixels``: (rows, ...) as the processor returns them for this image, rows > 1 where it returns
    patches; ``shape``: of its part of ``pixel_values`` when that holds ids; ``grid``: (3,) or
    ``None``; ``features``: (tokens, D), followed by one of the same shape per deepstack layer.
    """

    pixels: torch.Tensor | None
    shape: tuple[int, ...]
    grid: torch.Tensor | None
    features: list[torch.Tensor] = field(default_factory=list)


@dataclass
class ImageFeatures(ModelOutput):
    """What models read of ``get_image_features``: (tokens, D) per image, stacked in one tensor
    where the model does so, and the same per deepstack layer."""

    pooler_output: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    deepstack_features: list | None = None


class VisionFeatureCache:
    """The distinct images of the current training batch, and of the current evaluation batch.

    Args:
        model: the policy; its ``get_image_features`` is replaced by one that accepts ids.
        processor: whose image processor makes the pixels.

    Attributes:
        images: id -> image.
        encoded: number of images that went through the tower so far.
        asked: number of images whose features were looked up so far.
    """

    def __init__(self, model, processor):
        self.processor = processor
        self.images: dict[int, CachedImage] = {}
        self.ids: dict[str, dict[str, int]] = {"train": {}, "eval": {}}  # mode -> content -> id
        self.next = 0
        self.encoded = self.asked = 0
        # Whether the model returns one tensor for all images, or a tuple of one per image.
        self.stacked = {"pooled": False, "deep": False}
        self._mode = "train"
        self._inner = _inner(model)
        self._before = self._inner.__dict__.get("get_image_features")
        self._encode = self._inner.get_image_features
        self._inner.get_image_features = self._features

    def begin(self, mode: str) -> None:
        """Forget the images of ``mode`` (train or eval), because a new batch of it starts."""
        self._mode = mode
        for image_id in self.ids[mode].values():
            del self.images[image_id]
        self.ids[mode].clear()

    def close(self) -> None:
        """Give the model the ``get_image_features`` back that it had."""
        if self._before is None:
            del self._inner.get_image_features
        else:
            self._inner.get_image_features = self._before

    def share_with(self, model) -> None:
        """Let a second model with the same frozen tower (a reference) read from this cache."""
        _inner(model).get_image_features = self._features

    @contextmanager
    def image_ids(self) -> Iterator[None]:
        """Context in which the processor returns image ids instead of pixels."""
        real = self.processor.image_processor
        self.processor.image_processor = CachingImageProcessor(real, self)
        try:
            yield
        finally:
            self.processor.image_processor = real

    def save(self, path: Path) -> None:
        """Write the features, for a run that resumes between two generation batches."""
        self._encode_new()
        tensors = {}
        for image_id, image in self.images.items():
            for i, part in enumerate(image.features):
                tensors[f"{image_id}/{i}"] = part.detach().cpu().contiguous()
        save_file(tensors, path, metadata={key: str(int(on)) for key, on in self.stacked.items()})

    def load(self, path: Path, device: torch.device) -> None:
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            self.stacked = {key: on == "1" for key, on in file.metadata().items()}
            for name in sorted(file.keys()):
                image_id = int(name.split("/")[0])
                image = self.images.setdefault(image_id, CachedImage(None, (), None))
                image.features.append(file.get_tensor(name).to(device))
                self.ids["train"][f"resumed {image_id}"] = image_id
                self.next = max(self.next, image_id + 1)

    def id_of(self, image, real, kwargs: dict) -> int:
        """The id of an image, which is processed now if it is new.

        Args:
            real: the image processor.
            kwargs: of the call of the image processor.
        """
        content = hashlib.blake2b(
            image.tobytes(), digest_size=16, key=f"{image.mode}{image.size}".encode()
        ).hexdigest()
        ids = self.ids[self._mode]
        if content not in ids:
            made = real(images=[image], **{**kwargs, "return_tensors": "pt"})
            if not set(made) <= FIELDS:
                raise ValueError(f"the processor returns {', '.join(sorted(set(made) - FIELDS))}")
            grid = made["image_grid_thw"][0] if "image_grid_thw" in made else None
            pixels = made["pixel_values"]
            # Processors without patches read an image's size off the shape of its pixels.
            shape = pixels.shape if grid is None else (pixels.size(0), 1)
            self.images[self.next] = CachedImage(pixels, shape, grid)
            ids[content] = self.next
            self.next += 1
        return ids[content]

    def _features(self, pixel_values, image_grid_thw=None, **kwargs):
        """``get_image_features``, for ids (int64) and for pixels."""
        if pixel_values.dtype != torch.int64:
            return self._encode(
                pixel_values, *([] if image_grid_thw is None else [image_grid_thw]), **kwargs
            )
        rows = pixel_values.flatten(1)[:, 0]
        if image_grid_thw is not None:
            lengths = image_grid_thw.prod(-1)
            rows = rows[lengths.cumsum(0) - lengths]
        ids = rows.tolist()
        self.asked += len(ids)
        self._encode_new()
        return self._gather(ids)

    def _encode_new(self) -> None:
        new = [image for image in self.images.values() if not image.features]
        if not new:
            return
        for image, parts in zip(new, self._run_tower(new), strict=True):
            image.features, image.pixels = parts, None
        self.encoded += len(new)

    @torch.no_grad()
    def _run_tower(self, images: list[CachedImage]) -> list[list[torch.Tensor]]:
        """Per image, its features and those of its deepstack layers."""
        device = next(self._inner.parameters()).device
        pixels = torch.cat([i.pixels for i in images if i.pixels is not None]).to(device)
        grids = [i.grid for i in images if i.grid is not None]
        grid = [torch.stack(grids).to(device)] if grids else []
        out = self._encode(pixels, *grid, return_dict=True)
        self.stacked["pooled"] = isinstance(out.pooler_output, torch.Tensor)
        pooled = list(out.pooler_output)
        sizes = [part.size(0) for part in pooled]
        deep = [
            layer.split(sizes) if isinstance(layer, torch.Tensor) else layer
            for layer in getattr(out, "deepstack_features", None) or []
        ]
        self.stacked["deep"] = bool(deep) and isinstance(out.deepstack_features[0], torch.Tensor)
        return [[part, *(layer[i] for layer in deep)] for i, part in enumerate(pooled)]

    def _gather(self, ids: list[int]) -> ImageFeatures:
        parts = [self.images[i].features for i in ids]
        pooled = [part[0] for part in parts]
        layers = zip(*(part[1:] for part in parts), strict=True)
        deep = [torch.cat(layer) if self.stacked["deep"] else layer for layer in layers]
        return ImageFeatures(
            torch.stack(pooled) if self.stacked["pooled"] else tuple(pooled), deep or None
        )


class CachingImageProcessor:
    """An image processor that processes each distinct image once and returns image ids."""

    def __init__(self, real, cache: VisionFeatureCache):
        self.real, self.cache = real, cache

    def __call__(self, images, **kwargs) -> BatchFeature:
        flat: Any = make_flat_list_of_images(images)
        ids = [self.cache.id_of(image, self.real, kwargs) for image in flat]
        cached = [self.cache.images[i] for i in ids]
        values = torch.cat(
            [torch.tensor(i).expand(image.shape) for i, image in zip(ids, cached, strict=True)]
        )
        grids = [image.grid for image in cached if image.grid is not None]
        return BatchFeature(
            {"pixel_values": values, **({"image_grid_thw": torch.stack(grids)} if grids else {})}
        )

    def __getattr__(self, name):
        return getattr(self.real, name)


def unsupported_reason(model, processor) -> str | None:
    """Why images cannot be shared for this policy; ``None`` where they can.

    Tries the real processor on a blank image, and looks for trained weights and dropout.
    """
    inner = _inner(model)
    if not hasattr(type(inner), "get_image_features"):
        return f"{type(inner).__name__} has no get_image_features"
    decoder = inner.get_decoder()
    language = {id(p) for p in decoder.parameters()}
    head = model.get_output_embeddings()
    language |= {id(p) for p in head.parameters()} if head is not None else set()
    if any(p.requires_grad and id(p) not in language for p in inner.parameters()):
        return "the vision tower or the projector is trained"
    in_decoder = set(decoder.modules())
    if any(
        isinstance(m, torch.nn.Dropout) and m.p > 0 and m not in in_decoder for m in inner.modules()
    ):
        return "the vision tower has dropout"
    made = processor.image_processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt")
    if extra := set(made) - FIELDS:
        return f"the processor returns {', '.join(sorted(extra))} beside pixels"
    if "image_grid_thw" not in made and made["pixel_values"].size(0) != 1:
        return "the processor cuts images into tiles"
    return None


def _inner(model) -> Any:
    """The body with tower and decoder, without adapters and heads."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return plain.base_model
