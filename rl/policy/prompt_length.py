"""How long prompts are: image sizes after the processor's resize, and tokens per prompt.

Sizes are read from image headers, and the processor is called once per distinct size, with a blank
image. So thousands of rows are measured without decoding an image, and the result is that of the
installed processor, whatever its version.
"""

from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from PIL import Image as PILImage

from data_gen.images.photos import orientation
from data_gen.rows.contract import open_image


def image_sizes(dataset: Dataset) -> list[list[tuple[int, int]]]:
    """(width, height) in pixels of every image of every row, as ``datasets`` will decode them.

    Images stored sideways (EXIF orientation 5-8) are measured upright, as they are decoded.
    """
    # As stored. A cast to undecoded images would write all of them to the cache once more.
    stored: Any = dataset.select_columns(["images"]).with_format("arrow")
    return [
        [_size(image) for image in images or []]
        for table in stored.iter(batch_size=32)
        for images in table["images"].to_pylist()
    ]


def _size(image: dict) -> tuple[int, int]:
    with open_image(image) as opened:
        sideways = orientation(opened) >= 5
        width, height = opened.size
        return (height, width) if sideways else (width, height)


@dataclass
class ImageMeter:
    """Measures what a processor makes of images of a given size; each distinct size once.

    Args:
        processor: the policy's processor.
    """

    processor: Any
    _tokens: dict[tuple[int, int], int] = field(default_factory=dict)
    _frames: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def tokens(self, size: tuple[int, int]) -> int:
        """Tokens that an image of ``size`` (width, height) adds to its placeholder's own."""
        if size not in self._tokens:
            message = [{"role": "user", "content": [{"type": "image"}]}]
            text = self.processor.apply_chat_template(message, add_generation_prompt=True)
            whole = self.processor(text=[text], images=[[_blank(size)]])["input_ids"][0]
            self._tokens[size] = len(whole) - len(self.processor.tokenizer(text)["input_ids"])
        return self._tokens[size]

    def frame(self, size: tuple[int, int]) -> tuple[float, float]:
        """(width, height) in pixels after the resize, for processors that give a patch grid."""
        if size not in self._frames:
            images = self.processor.image_processor
            _, rows, columns = images(images=[_blank(size)])["image_grid_thw"][0]
            patch = images.patch_size
            self._frames[size] = (float(columns * patch), float(rows * patch))
        return self._frames[size]


def prompt_tokens(dataset: Dataset, processor, meter: ImageMeter | None = None) -> list[int]:
    """Tokens of each row's prompt as the policy reads it, chat template and image tokens included.

    Equal to the length of ``processor(text=..., images=...)`` for processors in which an image's
    tokens depend on its own size alone (all of :data:`rl.policy.boxes.FAMILIES`); a test compares
    the two.
    """
    meter = meter or ImageMeter(processor)
    lengths = []
    for prompt, sizes in zip(dataset["prompt"], image_sizes(dataset), strict=True):
        text = processor.apply_chat_template(prompt, add_generation_prompt=True)
        lengths.append(len(processor.tokenizer(text)["input_ids"]) + sum(map(meter.tokens, sizes)))
    return lengths


def _blank(size: tuple[int, int]) -> PILImage.Image:
    return PILImage.new("RGB", size)
