"""Features of image files: each content is encoded once."""

import pytest
from PIL import Image

from data_gen.images.encoders import Encoder, load_encoder
from data_gen.images.features import file_features
from tests.concepts.tiny_encoders import save_dinov2


@pytest.fixture
def plates(tmp_path):
    """A red and a blue plate."""
    folder = tmp_path / "plates"
    folder.mkdir()
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 40), colour).save(folder / f"{colour}0.png")
    return folder


def test_an_image_is_encoded_once_whatever_it_is_called(plates, tmp_path):
    encoder = load_encoder(str(save_dinov2(tmp_path / "dinov2")), "cpu")
    (plates / "copy.png").write_bytes((plates / "red0.png").read_bytes())
    (plates / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    paths = [plates / name for name in ("red0.png", "copy.png", "blue0.png", "bad.png", "none.png")]
    seen = []
    counted = Encoder(
        encoder.name,
        encoder.dim,
        encoder.fingerprint,
        lambda images: seen.append(len(images)) or encoder.images(images),
    )
    found, skipped = file_features(counted, paths, tmp_path / "cache")
    assert seen == [2] and (found[paths[0]] == found[paths[1]]).all()
    assert skipped.counts == {"damaged": 1, "broken link": 1}
    assert skipped.places("damaged") == [str(paths[3])]
    assert skipped.places("broken link") == [str(paths[4])]
    again, _ = file_features(counted, paths, tmp_path / "cache")
    assert seen == [2]
    assert all((again[path] == found[path]).all() for path in found)
    # A damaged file of the cache is made anew; another encoder has its own.
    for kept in (tmp_path / "cache").rglob("*.safetensors"):
        kept.write_bytes(kept.read_bytes()[:20])
    file_features(counted, paths, tmp_path / "cache")
    assert seen == [2, 2]
    other = Encoder("other", encoder.dim, "0" * 12, counted.images)
    file_features(other, paths, tmp_path / "cache")
    assert seen == [2, 2, 2]
