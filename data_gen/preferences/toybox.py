"""Preference rows in the toybox: pictures of toys in looks, whose toys decide nothing."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from data_gen.files.errors import InputError
from data_gen.preferences.rows import Paint, PreferenceSettings, preference_rows
from data_gen.preferences.users import Profile
from data_gen.rows.indexed import IndexedRows
from data_gen.toybox.identity import HALVES, draw_identity
from data_gen.toybox.looks import ELEMENTS, Look
from data_gen.toybox.rows import SPLITS
from data_gen.toybox.scene import compose


@dataclass
class ToyboxPreferenceSettings(PreferenceSettings):
    """Preference rows of the toybox; the vocabulary is that of ``data_gen/toybox/looks.py``."""

    split: str = field(
        default="train", metadata={"help": "Which toys: train, heldout, or validation, test."}
    )
    size: int = field(default=64, metadata={"help": "Side of a picture, in pixels."})

    def __post_init__(self):
        super().__post_init__()
        if self.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        if not 32 <= self.size <= 512:
            raise InputError(f"size must be 32-512 pixels, not {self.size!r}")


def toybox_preference_rows(
    counts: dict[str, int], seed: int, settings: ToyboxPreferenceSettings
) -> IndexedRows:
    """Rows whose pictures show one or two toys in the looks of a user's taste.

    Raises:
        InputError: a task that these rows do not have.
    """
    return preference_rows(
        counts, seed, settings, ELEMENTS, painter(settings), name="toybox_preferences"
    )


def painter(settings: ToyboxPreferenceSettings) -> Paint:
    """What draws the pictures of a row."""

    def paint(pictures: Sequence[tuple[str, Profile]]) -> list[Image.Image]:
        return [picture(scene, look, settings.split, settings.size) for scene, look in pictures]

    return paint


def picture(scene: str, look: Profile, split: str, size: int) -> Image.Image:
    """One or two toys of a split, drawn from the text ``scene``, in a look."""
    rng = random.Random(f"{scene}/{split}")
    half = split if split in HALVES else None
    toys = [
        draw_identity(rng, held_out=split != "train", half=half) for _ in range(rng.choice((1, 2)))
    ]
    return compose(rng, toys, size, Look(*look)).image
