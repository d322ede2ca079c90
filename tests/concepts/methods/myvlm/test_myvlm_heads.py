"""Concept heads: what they learn from, how batches are drawn, and the views of pictures."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from concepts.methods.myvlm.faces import face_descriptors, face_probability, faces_of_person
from concepts.methods.myvlm.heads import HeadSettings, hard_negatives, learn_head
from concepts.methods.myvlm.views import Augmentation, opened, view, view_features
from data_gen.files.errors import InputError
from data_gen.images.encoders import load_encoder
from data_gen.images.features import content_key, forget_features
from tests.concepts.tiny_encoders import save_dinov2

QUICK = HeadSettings(steps=80, learning_rate=0.05, clip=1.0)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def around(rng, centre, n, views=2, spread=0.4):
    return unit(centre + spread * rng.normal(size=(n, views, len(centre))) / len(centre) ** 0.5)


# ---- heads ----


def test_a_head_tells_its_concept_from_hard_negatives_that_it_saw_the_like_of():
    rng = np.random.default_rng(0)
    concept = unit(rng.normal(size=64))
    sibling = unit(concept + 0.7 * unit(rng.normal(size=64)))
    others = unit(rng.normal(size=(100, 1, 64)))
    negatives = np.concatenate([others, around(rng, sibling, 8, 1)])
    head = learn_head(around(rng, concept, 4), negatives, QUICK)
    new, alike = around(rng, concept, 50)[:, 0], around(rng, sibling, 50)[:, 0]
    assert (head.probability(new) > 0.5).mean() > 0.95
    assert (head.probability(alike) < 0.5).mean() > 0.95
    assert head.weight.shape == (2, 64) and head.bias.shape == (2,)


def test_p_is_the_softmax_of_two_logits_and_repeats_with_its_seed():
    rng = np.random.default_rng(1)
    yes, no = unit(rng.normal(size=(3, 2, 16))), unit(rng.normal(size=(9, 1, 16)))
    first, same, other = (learn_head(yes, no, HeadSettings(steps=20), seed=s) for s in (0, 0, 1))
    assert np.array_equal(first.weight, same.weight) and not np.array_equal(
        first.weight, other.weight
    )
    f = no[0, 0]
    logits = np.exp(first.weight @ f + first.bias)
    assert float(first.probability(f)) == pytest.approx(float(logits[1] / logits.sum()))


def test_hard_negatives_are_the_nearest_and_those_of_the_category():
    yes = unit(np.array([[[1.0, 0, 0]]]))
    no = unit(np.array([[[0.0, 1, 0]], [[1.0, 0.1, 0]], [[0.0, 0, 1]], [[1.0, 1, 0]]]))
    assert hard_negatives(yes, no, 2).tolist() == [1, 3]
    assert hard_negatives(yes, no, 1, [False, False, True, False]).tolist() == [1, 2]
    assert hard_negatives(yes, no, 0).tolist() == []


def test_hard_ones_are_drawn_more_often_and_so_pushed_further_away():
    rng = np.random.default_rng(2)
    concept = unit(rng.normal(size=32))
    alike = around(rng, unit(concept + 0.5 * unit(rng.normal(size=32))), 2, 1)
    negatives = np.concatenate([unit(rng.normal(size=(200, 1, 32))), alike])
    how = replace(QUICK, hardest=2)
    heads = [
        learn_head(around(rng, concept, 4), negatives, replace(how, hard=share))
        for share in (0.0, 0.9)
    ]
    without, with_hard = (float(head.probability(alike[:, 0]).mean()) for head in heads)
    assert with_hard < without


# ---- views ----


@pytest.fixture(scope="module")
def picture():
    image = Image.new("RGB", (64, 48), "ivory")
    ImageDraw.Draw(image).polygon([(20, 10), (40, 20), (25, 40)], fill="red")
    return image


def test_the_first_view_is_the_picture_and_the_others_are_the_same_each_time(picture):
    how = Augmentation(brightness=0.5)
    assert view(picture, 0, how) is picture
    views = [view(picture, k, how) for k in range(1, 6)]
    assert all(one.size == picture.size for one in views)
    assert len({one.tobytes() for one in views} | {picture.tobytes()}) == 6
    assert [v.tobytes() for v in views] == [view(picture, k, how).tobytes() for k in range(1, 6)]


def test_a_rotated_view_has_no_black_corners(picture):
    turned = view(picture, 1, Augmentation(flip=0, rotation=45))
    assert min(min(turned.getpixel(xy)) for xy in [(0, 0), (63, 0), (0, 47), (63, 47)]) > 200


def test_features_of_views_are_encoded_once(picture, tmp_path):
    encoder = load_encoder(str(save_dinov2(tmp_path / "dinov2")))
    picture.save(tmp_path / "a.png")
    cache, how = tmp_path / "cache", Augmentation()
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    found = view_features(encoder, [tmp_path / "a.png", tmp_path / "b.png"], 3, how, cache)
    assert found.shape == (2, 3, encoder.dim)
    assert np.allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
    np.testing.assert_array_equal(found[0], found[1])  # by content, not by path
    np.testing.assert_allclose(
        found[0, 2], encoder.images([view(opened(picture), 2, how)])[0], atol=1e-5
    )

    def never(images):
        raise AssertionError("encoded again")

    kept, file = replace(encoder, images=never), tmp_path / "b.png"
    np.testing.assert_array_equal(view_features(kept, [file], 3, how, cache)[0], found[0])
    for changed in (Augmentation(rotation=5), Augmentation(flip=0)):  # other views
        with pytest.raises(AssertionError, match="again"):
            view_features(kept, [file], 3, changed, cache)
    with pytest.raises(AssertionError, match="again"):
        view_features(kept, [picture], 1, how, cache)  # of an opened image nothing is kept
    assert forget_features(cache, [content_key(file)]) == 3
    assert not [path for path in cache.rglob("*") if path.is_file()]


# ---- faces ----


def test_faces_of_others_on_the_photos_are_left_out():
    me, friend = np.zeros(128, np.float32), np.full(128, 0.1, np.float32)  # 1.13 apart
    near = me.copy()
    near[0] = 0.3
    photos = [me[None], np.stack([friend, near]), np.stack([friend, friend])]
    assert np.array_equal(faces_of_person(photos), np.stack([me, near]))
    with pytest.raises(InputError, match="single face"):
        faces_of_person(photos[1:])


def test_the_nearest_face_decides():
    me = np.zeros((1, 128), np.float32)
    faces = np.zeros((2, 128), np.float32)
    faces[:, 0] = [0.6, 5]
    assert face_probability(faces, me) == pytest.approx(0.5)
    assert face_probability(faces[1:], me) == 0 and face_probability(me, me) == 1
    assert face_probability(faces[:0], me) == 0


def test_without_the_extra_the_sentence_says_what_to_install(picture):
    try:
        import dlib  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match=r"byname\[faces\]"):
            face_descriptors(picture)


def test_a_picture_without_a_face_has_no_descriptor(picture):
    pytest.importorskip("dlib")
    assert face_descriptors(picture).shape == (0, 128)
