"""Retrieval: names in the question first, then what the image and its regions show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.index import LiveIndex, build_index
from concepts.retrieval import Found, Retriever, name_keys, names_in
from data_gen.images.encoders import load_encoder
from rewards.names import names_written
from tests.concepts.tiny_encoders import save_dinov2

PLATES = {"bo": "red", "black widow": "blue", "Bond": "green", "小明": "yellow"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_encoder(str(save_dinov2(tmp_path_factory.mktemp("dinov2"))), "cpu")


@pytest.fixture
def database(tmp_path) -> Database:
    made = Database(tmp_path / "database.json")
    for i, (name, colour) in enumerate(PLATES.items()):
        Image.new("RGB", (40, 40), colour).save(tmp_path / f"{i}.png")
        made.add(Concept(name, (f"{i}.png",)))
    return made


def plate(colour: str, size: int = 40) -> Image.Image:
    return Image.new("RGB", (size, size), colour)


def on_white(colour: str) -> tuple[Image.Image, tuple]:
    """A plate in the lower right of a white image."""
    image = Image.new("RGB", (100, 100), "white")
    image.paste(plate(colour), (55, 55))
    return image, (0.55, 0.55, 0.95, 0.95)


def test_names_of_the_question_come_first_and_the_image_fills_up(database, encoder):
    retriever = Retriever(LiveIndex(database, encoder), encoder)
    assert retriever.retrieve(plate("blue"), k=1) == [
        Found("black widow", "image", pytest.approx(1, abs=1e-4))
    ]
    found = retriever.retrieve(plate("blue"), "Is this <bo>? Or 小明?", k=3)
    assert [(one.name, one.by) for one in found] == [
        ("bo", "question"),
        ("小明", "question"),
        ("black widow", "image"),
    ]
    assert retriever.retrieve(None, "Where is Black_Widow's web?") == [
        Found("black widow", "question")
    ]
    assert retriever.retrieve(None, "a bond of friendship") == []
    assert [one.name for one in retriever.retrieve(plate("red"), "<bo>", k=1)] == ["bo"]


def test_what_is_less_similar_than_the_least_is_not_found(database, encoder):
    strict = Retriever(LiveIndex(database, encoder), encoder, least=0.9999)
    assert [one.name for one in strict.retrieve(plate("red"), k=4)] == ["bo"]
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    assert strict.retrieve(Image.fromarray(noise), k=4) == []


def test_edits_count_at_the_next_question(database, encoder):
    retriever = Retriever(LiveIndex(database, encoder), encoder)
    assert retriever.retrieve(plate("red"), "<rosa>", k=1)[0].name == "bo"
    database.rename("bo", "rosa")
    assert retriever.retrieve(plate("red"), "<rosa>", k=1) == [Found("rosa", "question")]
    assert retriever.retrieve(plate("red"), k=1)[0].name == "rosa"
    database.remove("rosa")
    assert "rosa" not in [one.name for one in retriever.retrieve(plate("red"), "<rosa>", k=4)]


def test_a_region_finds_what_the_whole_image_hides(database, encoder):
    image, box = on_white("blue")
    index = LiveIndex(database, encoder)
    (found,) = Retriever(index, encoder, lambda image: [box]).retrieve(image, k=1)
    assert (found.name, found.by, found.box) == ("black widow", "region", box)
    assert found.similarity > 0.999


def test_a_fixed_index_needs_no_database(encoder):
    vectors = encoder.images([plate(colour) for colour in PLATES.values()])
    retriever = Retriever(build_index(vectors, list(PLATES)), encoder)
    assert retriever.retrieve(plate("green"), "<小明>", k=2)[1].name == "Bond"


@given(
    st.lists(
        st.sampled_from(["bo", "Bond", "black widow", "a", "小明", "widow", "é", "ﬁsh"]),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    st.lists(
        st.sampled_from(
            [
                "bo",
                "Bo's",
                "<BO>",
                "black",
                "_",
                " ",
                "widow",
                "Black Widow",
                "小明在",
                "</bo>",
                "bond",
                "Bond",
                "<a>",
                "É",
                "e\u0301",
                "fish",
                "ﬁSH",
                "\u00ad",
                ".",
                "-",
            ]
        )
        | st.text(max_size=3),
        max_size=8,
    ),
)
@settings(max_examples=100, deadline=None)
def test_looking_up_names_in_a_large_database_changes_nothing(names, words):
    question = " ".join(words)
    assert set(names_in(question, name_keys(names))) == names_written(question, names)
    question = "".join(words)
    assert set(names_in(question, name_keys(names))) == names_written(question, names)
