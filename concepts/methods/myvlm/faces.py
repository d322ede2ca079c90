"""The head of a person: whether a face in the picture is near one of the person's photos.

MyVLM (2403.14599, section 3.2) keeps every face of the training photos and fires near one of them.
Faces are found and described by dlib, in the extra ``faces``: its descriptors of 128 numbers are
compared by Euclidean distance (MyVLM takes insightface's and cosines, which are not packaged).
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_gen.files.errors import InputError

SAME = 0.6
"""Distance of two descriptors below which dlib's model takes them for one person's."""

SURE = 0.2
"""Least score of a detection that counts as a face; dlib's own 0 also takes buttons and folds."""

FACE_PX = 800
"""Long side of a picture in which faces are looked for, in pixels."""


@cache
def face_models() -> tuple[Any, Any, Any]:
    """dlib's detector of faces, its finder of five landmarks, and its network.

    Raises:
        InputError: the extra is not installed.
    """
    found = find_spec("face_recognition_models")
    if found is None or found.origin is None or find_spec("dlib") is None:
        raise InputError("faces: dlib is not installed; pip install 'byname[faces]'")
    import dlib  # pyright: ignore[reportMissingImports]

    # Not imported: its __init__ needs a part of setuptools that no longer exists.
    folder = Path(found.origin).parent / "models"
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat")),
        dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat")),
    )


def face_descriptors(image: Image.Image) -> np.ndarray:
    """(F, 128) float32: a descriptor of each face in an image.

    Raises:
        InputError: the extra is not installed.
    """
    detector, landmarks, network = face_models()
    image = image.convert("RGB")
    image.thumbnail((FACE_PX, FACE_PX))
    pixels = np.asarray(image)
    rows = [
        np.array(network.compute_face_descriptor(pixels, landmarks(pixels, box)), np.float32)
        for box in detector.run(pixels, 1, SURE)[0]
    ]
    return np.stack(rows) if rows else np.zeros((0, 128), np.float32)


def faces_of_person(photos: Sequence[np.ndarray], same: float = SAME) -> np.ndarray:
    """The faces of one person, from photos on which others may be: those of photos with a single
    face, and in the others the one that is nearest to these, if it is near enough.

    Args:
        photos: of each photo (F, 128) descriptors.
        same: distance below which two are of one person.

    Returns:
        (K, 128), K at least 1.

    Raises:
        InputError: no photo shows a single face.
    """
    solo = [faces[0] for faces in photos if len(faces) == 1]
    if not solo:
        raise InputError("no photo shows a single face; add one on which the person is alone")
    known = list(solo)
    for faces in (faces for faces in photos if len(faces) > 1):
        distances = _distances(faces, np.stack(solo)).min(1)
        if distances.min() < same:
            known.append(faces[int(distances.argmin())])
    return np.stack(known)


def face_probability(faces: np.ndarray, known: np.ndarray, same: float = SAME) -> float:
    """How sure it is that somebody is in a picture, 0-1: 1 at distance 0, 1/2 at ``same``.

    Args:
        faces: (F, 128), those in the picture; none: 0.
        known: (K, 128), those of the person.
    """
    if not len(faces):
        return 0.0
    return float(np.clip(1 - _distances(faces, known).min() / (2 * same), 0, 1))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=-1)
