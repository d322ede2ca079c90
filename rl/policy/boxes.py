"""In which frame of coordinates a policy writes boxes."""

from collections.abc import Sequence

from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage

from data_gen.files.errors import InputError
from data_gen.rows import encode_image
from rl.policy.prompt_length import ImageMeter, image_sizes

BOX_CONVENTIONS = ("pixels", "thousand", "unit")
"""Frames in which policies write boxes: pixels of the resized image, 0-1000, or 0-1."""

FAMILIES = {
    "qwen2_vl": "thousand",
    "qwen2_5_vl": "pixels",
    "qwen3_vl": "thousand",
    "qwen3_vl_moe": "thousand",
    "glm4v": "thousand",
    "internvl": "thousand",
}
"""``config.model_type`` -> box convention, as the families were trained (their model cards)."""


def add_box_frame(
    dataset: Dataset, processor, model_type: str, convention: str | None = None
) -> Dataset:
    """Add the column ``box_frame``: [width, height] of the frame in which the policy writes boxes.

    Args:
        dataset: rows with ``images``, the query last.
        processor: the policy's; it is asked how it resizes.
        model_type: ``model.config.model_type``.
        convention: one of :data:`BOX_CONVENTIONS`; overrides the family's.

    Returns:
        The rows with two floats each, or null in rows without images.

    Raises:
        InputError: an unknown family and no ``convention``.
    """
    convention = convention or FAMILIES.get(model_type)
    if convention not in BOX_CONVENTIONS:
        raise InputError(
            f"how '{model_type}' writes boxes is not known; set `box_convention` to one of "
            f"{', '.join(BOX_CONVENTIONS)}"
        )
    meter = ImageMeter(processor)
    fixed = {"thousand": [1000.0, 1000.0], "unit": [1.0, 1.0]}.get(convention)
    frames = [
        None if not sizes else fixed or list(meter.frame(sizes[-1]))
        for sizes in image_sizes(dataset)
    ]
    column = Features({"box_frame": List(Value("float64"))})
    return dataset.add_column("box_frame", frames, feature=column["box_frame"])


def box_frames(
    model, processor, rows: Sequence[dict], convention: str | None = None
) -> list[list[float] | None]:
    """As :func:`add_box_frame`, for decoded rows and a loaded model: [width, height] per row."""
    # Only sizes matter, and blank images are encoded quickly.
    queries = [
        [encode_image(PILImage.new("L", image.size)) for image in row["images"][-1:]]
        for row in rows
    ]
    dataset = Dataset.from_dict({"images": queries}, Features({"images": List(Image())}))
    framed = add_box_frame(dataset, processor, model.config.model_type, convention)
    return framed["box_frame"][:]
