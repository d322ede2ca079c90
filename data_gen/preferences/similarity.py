"""What the reward for profiles may compare with: pictures drawn from the two profiles.

Sentence encoders compare terms in :func:`benchmarks.captions.embeddings.term_similarities`.
"""

from collections.abc import Sequence

import numpy as np

from data_gen.preferences.toybox import picture
from data_gen.preferences.users import Profile
from data_gen.toybox.looks import ELEMENTS

Pairs = Sequence[tuple[Sequence[str], Sequence[str]]]


def toybox_pictures(pairs: Pairs, size: int = 64, scenes: int = 2) -> list[float]:
    """How alike the toybox draws the predicted and the true profile: 1 - the mean difference of
    their pixels over that of the true picture and a grey one, at least 0.

    PreferThinker (arXiv 2511.00609) compares pictures that a text-to-image model makes.

    Args:
        pairs: (predicted, true), five terms each.
        size: side of the pictures, in pixels.
        scenes: pictures of each profile, of different toys.

    Returns:
        N numbers in 0-1; 0 where a term is none that the toybox can draw.
    """
    return [_alike(Profile(*predicted), Profile(*true), size, scenes) for predicted, true in pairs]


def _alike(predicted: Profile, true: Profile, size: int, scenes: int) -> float:
    for look in (predicted, true):
        if not all(term in known for term, known in zip(look, ELEMENTS.values(), strict=True)):
            return 0.0
    a, b = (
        np.stack(
            [
                np.asarray(picture(f"reward {k}", look, "train", size), np.float64)
                for k in range(scenes)
            ]
        )
        for look in (predicted, true)
    )
    return max(0.0, 1 - float(np.abs(a - b).mean() / np.abs(b - b.mean()).mean()))
