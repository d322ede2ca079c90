"""Nearest concepts: exact where exact is asked for, and never behind the database."""

import json
import random
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database, DatabaseError
from concepts.index import (
    IndexFileError,
    LiveIndex,
    build_index,
    nearest,
    read_index,
    write_index,
)
from data_gen.images.encoders import Encoder, load_encoder
from tests.concepts.tiny_encoders import save_dinov2

COLOURS = ["red", "green", "blue", "yellow", "black", "white"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    return load_encoder(str(save_dinov2(tmp_path_factory.mktemp("dinov2"))), "cpu")


@pytest.fixture
def database(tmp_path) -> Database:
    """Six noisy plates, two images each."""
    rng = np.random.default_rng(0)
    made = Database(tmp_path / "db" / "database.json")
    made.root.mkdir()
    for colour in COLOURS:
        plate = np.asarray(Image.new("RGB", (40, 40), colour), np.float32)
        for i in range(2):
            noisy = (plate + rng.normal(0, 25, plate.shape)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(made.root / f"{colour}{i}.png")
    made.add_all([Concept(c, (f"{c}0.png", f"{c}1.png")) for c in COLOURS])
    return made


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def asked(index, encoder, database, image) -> list[str]:
    query = encoder.images([Image.open(database.image_path(image))])
    return [name for name, _ in nearest(index, query, 3)[0]]


# ---- search ----


@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 5), st.randoms())
@settings(max_examples=40, deadline=None)
def test_flat_search_is_what_sorting_all_of_them_gives(rows, concepts, k, random):
    rng = np.random.default_rng(random.randrange(2**32))
    vectors, query = unit(rng.normal(size=(rows, 8))), unit(rng.normal(size=(3, 8)))
    owners = [f"c{random.randrange(concepts)}" for _ in range(rows)]
    answers = nearest(build_index(vectors, owners), query, k)
    for one, answer in zip(query, answers, strict=True):
        best = {}
        for owner, similarity in zip(owners, vectors @ one, strict=True):
            best[owner] = max(best.get(owner, -2), similarity)
        expected = sorted(best.items(), key=lambda item: -item[1])[:k]
        assert [name for name, _ in answer] == [name for name, _ in expected]
        np.testing.assert_allclose([s for _, s in answer], [s for _, s in expected], atol=1e-5)


def test_the_approximate_index_agrees_on_queries_near_to_a_concept():
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(5000, 16)))
    owners = [str(i) for i in range(5000)]
    query = unit(vectors[:100] + 0.2 * unit(rng.normal(size=(100, 16))))
    exact = nearest(build_index(vectors, owners), query, 1)
    index = build_index(vectors, owners, "ivf")
    assert index.faiss.nprobe < index.faiss.nlist
    close = nearest(index, query, 1)
    assert (
        sum(a == b for a, b in zip([x[0][0] for x in exact], [x[0][0] for x in close], strict=True))
        >= 80
    )
    assert isinstance(build_index(vectors[:100], owners[:100], "ivf").faiss, faiss.IndexFlatIP)


def test_what_makes_no_index_is_refused():
    with pytest.raises(ValueError, match="0 vectors"):
        build_index(np.zeros((0, 4), np.float32), [])
    with pytest.raises(ValueError, match="there are flat, ivf"):
        build_index(np.eye(4, dtype=np.float32), list("abcd"), "hnsw")
    with pytest.raises(ValueError, match="made with another encoder"):
        nearest(
            build_index(np.eye(4, dtype=np.float32), list("abcd")), np.eye(3, dtype=np.float32), 1
        )


# ---- existing indexes ----


@pytest.mark.parametrize("made", [faiss.IndexFlatL2, faiss.IndexFlatIP])
@pytest.mark.parametrize("ids", ['["<a>", "b", "<a>"]', "<a>\nb\n<a>\n"])
def test_an_existing_index_with_its_id_list(tmp_path, made, ids):
    index = made(3)
    index.add(unit(np.array([[1, 0, 0], [0, 1, 0], [0.9, 0.1, 0]])))
    faiss.write_index(index, str(tmp_path / "faiss.index"))
    (tmp_path / "ids").write_text(ids)
    read = read_index(tmp_path / "faiss.index", tmp_path / "ids")
    (answer,) = nearest(read, unit(np.array([[0.95, 0.05, 0.0]])), 5)
    assert [name for name, _ in answer] == ["a", "b"]
    assert answer[1][1] == pytest.approx(unit(np.array([0.95, 0.05, 0]))[1], abs=1e-5)
    write_index(read, tmp_path / "again.index", tmp_path / "again.json")
    again = read_index(tmp_path / "again.index", tmp_path / "again.json")
    assert nearest(again, unit(np.array([[0.95, 0.05, 0.0]])), 5) == [answer]


def test_an_index_and_ids_that_do_not_belong_together_are_refused(tmp_path):
    index = build_index(np.eye(3, dtype=np.float32), list("abc"))
    write_index(index, tmp_path / "i", tmp_path / "ids")
    for content, says in [
        (json.dumps(["a"]), "3 vectors, its ids .* are 1"),
        ("[1, 2]", "a list"),
        ("", "a list of names"),
        ("[", "cannot be read"),
    ]:
        (tmp_path / "ids").write_text(content)
        with pytest.raises(IndexFileError, match=says):
            read_index(tmp_path / "i", tmp_path / "ids")
    (tmp_path / "i").write_bytes(b"no index at all")
    with pytest.raises(IndexFileError, match="cannot be read"):
        read_index(tmp_path / "i", tmp_path / "ids")


# ---- following a database ----


def test_the_index_follows_every_edit_and_encodes_only_what_is_new(database, encoder):
    seen = []
    counted = Encoder(
        encoder.name,
        encoder.dim,
        encoder.fingerprint,
        lambda images: seen.append(len(images)) or encoder.images(images),
    )
    live = LiveIndex(database, counted)
    assert asked(live.current(), encoder, database, "red1.png")[0] == "red" and seen == [12]
    elsewhere = Database(database.path)  # as another process would
    elsewhere.rename("red", "Rosa")
    assert asked(live.current(), encoder, database, "red1.png")[0] == "Rosa"
    elsewhere.remove("Rosa")
    assert "Rosa" not in asked(live.current(), encoder, database, "red1.png")
    assert seen == [12]
    database.add(Concept("scarlet", ("red0.png",)))
    assert asked(live.current(), encoder, database, "red0.png")[0] == "scarlet" and seen == [12, 1]
    Image.new("RGB", (40, 40), "purple").save(database.root / "red0.png")
    database.edit("scarlet", info="repainted")
    live.current()
    assert seen == [12, 1, 1]
    assert live.current() is live.current()


def test_images_that_do_not_open_are_named_and_the_rest_is_found(database, encoder):
    for name in ("red0.png", "red1.png", "blue0.png"):
        (database.root / name).write_bytes(b"no image")
    live = LiveIndex(database, encoder)
    owners = live.current().owners
    assert "red" not in owners and owners.count("blue") == 1 and owners.count("green") == 2
    assert sorted(Path(p).name for p in live.skipped.places("not an image")) == [
        "blue0.png",
        "red0.png",
        "red1.png",
    ]
    for path in database.root.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatabaseError, match="none of its images can be opened"):
        LiveIndex(database, encoder).current()


def test_an_existing_index_spares_the_encoding_until_images_change(database, encoder):
    seen = []
    counted = Encoder(
        encoder.name,
        encoder.dim,
        encoder.fingerprint,
        lambda images: seen.append(len(images)) or encoder.images(images),
    )
    start = LiveIndex(database, encoder).current()
    live = LiveIndex(database, counted, start=start)
    assert list(live.current().owners) == list(start.owners) and seen == []
    database.edit("red", images=("red1.png",))
    assert live.current().owners.count("red") == 1 and seen == [1]
    with pytest.raises(IndexFileError, match="holds vectors of 4 numbers"):
        LiveIndex(database, encoder, start=build_index(np.eye(4, dtype=np.float32), list("abcd")))


@pytest.mark.parametrize("every", [1, 3], ids=["asked after each edit", "after every third"])
def test_an_index_changed_in_place_is_the_one_that_would_be_built_anew(tmp_path, every):
    """Renamed, edited, removed and added, many times: names and vectors stay together."""
    rng = random.Random(0)
    encoder = Encoder(
        "mean colour",
        3,
        "0" * 12,
        lambda images: unit(np.stack([np.asarray(image).mean((0, 1)) + 1 for image in images])),
    )
    database = Database(tmp_path / "database.json")

    def picture(name):
        image = Image.new("RGB", (8, 8), tuple(rng.randrange(256) for _ in range(3)))
        image.save(tmp_path / f"{name}.png")
        return f"{name}.png"

    database.add_all([Concept(f"c{i}", (picture(f"c{i}"),)) for i in range(120)])
    index = LiveIndex(database, encoder)
    built = index.current()
    patched = 0
    for step in range(16):
        name = rng.choice(list(database.concepts()))
        what = step % 4
        if what == 0:
            database.rename(name, f"r{step}")
        elif what == 1:
            database.remove(name)
        elif what == 2:
            database.add(Concept(f"n{step}", (picture(f"n{step}"), picture(f"m{step}"))))
        else:
            Database(database.path).edit(name, images=(picture(f"e{step}"),))  # another process
        if step % every:
            continue
        now = index.current()
        patched += now.faiss is built.faiss
        fresh = LiveIndex(database, encoder).current()
        assert sorted(zip(now.owners, map(tuple, rows_of(now)), strict=True)) == sorted(
            zip(fresh.owners, map(tuple, rows_of(fresh)), strict=True)
        )
        assert now.most == fresh.most
    assert patched == len(range(0, 16, every)), "never built anew"


def rows_of(index):
    return index.faiss.reconstruct_n(0, index.faiss.ntotal).tolist()
