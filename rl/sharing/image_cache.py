"""Each distinct picture once through processor and frozen tower, whichever pass asks for it.

In a generation batch a picture belongs to all G completions of a group, and often to several
groups; generation, old, reference and policy pass each ask for its features again. Here pictures
travel as *tickets*: ``pixel_values`` keeps its layout, but holds the picture's number in a
:class:`PictureShelf` instead of pixels. TRL slices, shuffles and pads tickets like pixels, and the
model's ``get_image_features`` turns them into features that were computed once, without gradients.

Left out: video, and processors whose pictures need more than ``pixel_values`` and
``image_grid_thw`` (they keep the path of stock TRL; :func:`why_not` says so).
"""

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images
from transformers.utils import ModelOutput

from rl.sharing.image_rows import FIELDS


@dataclass
class Picture:
    """One distinct picture: pixels until its features are known, features after.

    ``pixels``: (rows, ...) as the processor gives them for this picture, rows > 1 where it gives
    patches; ``shape``: of its tickets; ``grid``: (3,) or ``None``; ``features``: (tokens, D),
    followed by one of the same shape per deepstack layer.
    """

    pixels: torch.Tensor | None
    shape: tuple[int, ...]
    grid: torch.Tensor | None
    features: list[torch.Tensor] = field(default_factory=list)


@dataclass
class PictureFeatures(ModelOutput):
    """What models read of ``get_image_features``: per picture (tokens, D), stacked in one tensor
    where the model does so, and the same per deepstack layer."""

    pooler_output: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    deepstack_features: list | None = None


class PictureShelf:
    """The distinct pictures of the training batch at hand, and of an evaluation beside it.

    Args:
        model: the policy; its ``get_image_features`` is replaced by one that knows tickets.
        processor: whose image processor makes the pixels.

    Attributes:
        encoded: pictures that went through the tower so far.
        asked: pictures that were asked for so far.
    """

    def __init__(self, model, processor):
        self.processor = processor
        self.pictures: dict[int, Picture] = {}
        self.numbers: dict[str, dict[str, int]] = {"train": {}, "eval": {}}
        self.next = 0
        self.encoded = self.asked = 0
        self.joined = {"pooled": False, "deep": False}  # tensors, or tuples of one per picture
        self._mode = "train"
        self._inner = _inner(model)
        self._encode = self._inner.get_image_features
        self._inner.get_image_features = self._features

    def begin(self, mode: str) -> None:
        """Forget the pictures of ``mode`` (train or eval): a new batch of it starts."""
        self._mode = mode
        for number in self.numbers[mode].values():
            del self.pictures[number]
        self.numbers[mode].clear()

    def share_with(self, model) -> None:
        """Let a second model with the same frozen tower (a reference) read from this shelf."""
        _inner(model).get_image_features = self._features

    @contextmanager
    def tickets(self):
        """While this lasts, the processor gives tickets instead of pixels."""
        real = self.processor.image_processor
        self.processor.image_processor = _TicketOffice(real, self)
        try:
            yield
        finally:
            self.processor.image_processor = real

    def save(self, path: Path) -> None:
        """Write the features, so that a run that resumes between two generations has them."""
        self._encode_new()
        tensors = {}
        for number, picture in self.pictures.items():
            for i, part in enumerate(picture.features):
                tensors[f"{number}/{i}"] = part.detach().cpu().contiguous()
        save_file(tensors, path, metadata={key: str(int(on)) for key, on in self.joined.items()})

    def load(self, path: Path, device: torch.device) -> None:
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            self.joined = {key: on == "1" for key, on in file.metadata().items()}
            for name in sorted(file.keys()):
                number = int(name.split("/")[0])
                picture = self.pictures.setdefault(number, Picture(None, (), None))
                picture.features.append(file.get_tensor(name).to(device))
                self.numbers["train"][f"resumed {number}"] = number
                self.next = max(self.next, number + 1)

    def number(self, image, real, kwargs: dict) -> int:
        """The number of a picture, processed now if it is new."""
        content = hashlib.blake2b(image.tobytes(), digest_size=16,
                                  key=f"{image.mode}{image.size}".encode()).hexdigest()
        shelf = self.numbers[self._mode]
        if content not in shelf:
            made = real(images=[image], **{**kwargs, "return_tensors": "pt"})
            if not set(made) <= FIELDS:
                raise ValueError(f"the processor gives {', '.join(sorted(set(made) - FIELDS))}")
            grid = made["image_grid_thw"][0] if "image_grid_thw" in made else None
            pixels = made["pixel_values"]
            # Processors without patches read a picture's size off its pixels.
            shape = pixels.shape if grid is None else (pixels.size(0), 1)
            self.pictures[self.next] = Picture(pixels, shape, grid)
            shelf[content] = self.next
            self.next += 1
        return shelf[content]

    def _features(self, pixel_values, image_grid_thw=None, **kwargs):
        """``get_image_features``, for tickets (int64) and for pixels."""
        if pixel_values.dtype != torch.int64:
            return self._encode(pixel_values, *([] if image_grid_thw is None else [image_grid_thw]),
                                **kwargs)
        rows = pixel_values.flatten(1)[:, 0]
        if image_grid_thw is not None:
            lengths = image_grid_thw.prod(-1)
            rows = rows[lengths.cumsum(0) - lengths]
        numbers = rows.tolist()
        self.asked += len(numbers)
        self._encode_new()
        return self._gather(numbers)

    def _encode_new(self) -> None:
        new = [p for p in self.pictures.values() if not p.features]
        if not new:
            return
        for picture, parts in zip(new, self._run_tower(new), strict=True):
            picture.features, picture.pixels = parts, None
        self.encoded += len(new)

    @torch.no_grad()
    def _run_tower(self, pictures: list[Picture]) -> list[list[torch.Tensor]]:
        device = next(self._inner.parameters()).device
        pixels = torch.cat([p.pixels for p in pictures]).to(device)
        grids = [p.grid for p in pictures if p.grid is not None]
        grid = [torch.stack(grids).to(device)] if grids else []
        out = self._encode(pixels, *grid, return_dict=True)
        self.joined["pooled"] = isinstance(out.pooler_output, torch.Tensor)
        pooled = list(out.pooler_output)
        sizes = [part.size(0) for part in pooled]
        deep = [layer.split(sizes) if isinstance(layer, torch.Tensor) else layer
                for layer in getattr(out, "deepstack_features", None) or []]
        self.joined["deep"] = bool(deep) and isinstance(out.deepstack_features[0], torch.Tensor)
        return [[part, *(layer[i] for layer in deep)] for i, part in enumerate(pooled)]

    def _gather(self, numbers: list[int]):
        parts = [self.pictures[n].features for n in numbers]
        pooled = [part[0] for part in parts]
        layers = zip(*(part[1:] for part in parts), strict=True)
        deep = [torch.cat(layer) if self.joined["deep"] else layer for layer in layers]
        return PictureFeatures(torch.stack(pooled) if self.joined["pooled"] else tuple(pooled),
                               deep or None)


class _TicketOffice:
    """An image processor that processes every distinct picture once and gives tickets."""

    def __init__(self, real, shelf: PictureShelf):
        self.real, self.shelf = real, shelf

    def __call__(self, images, **kwargs):
        flat = make_flat_list_of_images(images)
        taken = [self.shelf.number(image, self.real, kwargs) for image in flat]
        pictures = [self.shelf.pictures[n] for n in taken]
        tickets = torch.cat([torch.tensor(n).expand(p.shape)
                             for n, p in zip(taken, pictures, strict=True)])
        grids = [p.grid for p in pictures if p.grid is not None]
        return BatchFeature({"pixel_values": tickets,
                             **({"image_grid_thw": torch.stack(grids)} if grids else {})})

    def __getattr__(self, name):
        return getattr(self.real, name)


def why_not(model, processor) -> str | None:
    """Why pictures cannot be shared for this policy; ``None`` where they can.

    Asks the real processor with a blank picture and the model for what is trained.
    """
    from PIL import Image

    inner = _inner(model)
    if not hasattr(type(inner), "get_image_features"):
        return f"{type(inner).__name__} has no get_image_features"
    decoder = inner.get_decoder()
    language = {id(p) for p in decoder.parameters()}
    head = model.get_output_embeddings()
    language |= {id(p) for p in head.parameters()} if head is not None else set()
    if any(p.requires_grad and id(p) not in language for p in inner.parameters()):
        return "the vision tower or the projector is trained"
    seen = [m for m in inner.modules() if isinstance(m, torch.nn.Dropout) and m.p > 0]
    spoken = set(decoder.modules())
    if any(m not in spoken for m in seen):
        return "the vision tower has dropout"
    made = processor.image_processor(images=[Image.new("RGB", (64, 64))], return_tensors="pt")
    if extra := set(made) - FIELDS:
        return f"the processor gives {', '.join(sorted(extra))} beside pixels"
    if "image_grid_thw" not in made and made["pixel_values"].size(0) != 1:
        return "the processor cuts pictures into tiles"
    return None


def _inner(model):
    """The body with tower and decoder, adapters and heads aside."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return plain.base_model
