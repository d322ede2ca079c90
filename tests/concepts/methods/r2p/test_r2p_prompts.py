"""R2P's prompts: the shipped files, files of users, the toybox's in its curriculum's words."""

import random

import pytest
import yaml
from PIL import Image

from concepts.methods.r2p.fingerprints import Fingerprint
from concepts.methods.r2p.prompts import SHIPPED, load_prompts
from data_gen.files.errors import InputError
from data_gen.tasks.prompts import load_prompts as task_prompts
from data_gen.toybox.curriculum.knowledge import KnowledgeSettings, knowledge_row
from data_gen.toybox.models.tokenizer import toybox_words
from data_gen.toybox.rows import ToyboxSettings

DOG = Fingerprint("red dog", "dog", ("a red body", "white stripes", "a blue hat", "floppy ears"))
PLAIN = Image.new("RGB", (8, 8))


def spoken(row: dict) -> str:
    """The text of a row's user turns, images as a line of their own."""
    parts = [part for message in row["prompt"] for part in message["content"]]
    return "".join(p["text"] if p["type"] == "text" else "[image]" for p in parts)


def taught(kind: str, n: int = 2) -> list[str]:
    """The first user turns of some rows of the curriculum, as :func:`spoken`."""
    found = []
    for seed in range(12):
        rng = random.Random(seed)
        row = knowledge_row(rng, kind, n, ToyboxSettings(), KnowledgeSettings())
        found.append(spoken({"prompt": row["messages"][:1]}))
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_prompts_can_be_filled_in(name):
    prompts = load_prompts(name)
    assert spoken(prompts.fingerprint_row("bo", "dog", PLAIN)).count("<bo>") >= 1
    row = prompts.comparison_row(PLAIN, ["bo", "mia"], [DOG, DOG])
    assert spoken(row).startswith("A. ") and "\nB. " in spoken(row) and row["images"] == [PLAIN]
    pair = prompts.pair_row(PLAIN, "bo", DOG, Image.new("RGB", (4, 4)))
    assert [image.width for image in pair["images"]] == [4, 8], "the reference comes first"
    assert spoken(pair).startswith("[image]") and spoken(pair).count("[image]") == 2
    for text in (prompts.whole_text(DOG), prompts.attribute_text("a hat", "dog")):
        assert text and not set(text) & set("{}<>")


def test_clothing_is_left_out_of_people_alone():
    prompts = load_prompts("default")
    person, dog = (spoken(prompts.fingerprint_row("bo", c, PLAIN)) for c in ("young man", "dog"))
    assert "Clothes" in person and "Clothes" not in dog
    assert spoken(prompts.fingerprint_row("bo", "", PLAIN)).count("thing") >= 1


def test_the_toyboxs_prompts_are_those_of_its_curriculum():
    prompts = load_prompts("toybox")
    fingerprints = {text.partition("<")[0] for text in taught("fingerprint")}
    assert spoken(prompts.fingerprint_row("bo", "dog", PLAIN)).partition("<")[0] in fingerprints
    mine = spoken(prompts.comparison_row(PLAIN, ["bo", "mia"], [DOG, DOG]))
    assert mine.startswith("A. red dog, white stripes, a blue hat\nB. ")
    assert mine.partition("[image]")[2] in {t.partition("[image]")[2] for t in taught("options")}
    words = task_prompts()["object_consistency"]
    pair = spoken(prompts.pair_row(PLAIN, "bo", DOG, PLAIN))
    assert pair in {
        f"[image]{r}\n[image]{a} {s}".replace("{name}", "<bo>")
        for r in words["reference"]
        for a in words["ask"]
        for s in words["suffix"]
    }


def test_the_toyboxs_encoder_is_read_words_it_knows():
    prompts = load_prompts("toybox")
    hat = Fingerprint("red dog", "dog", ("a red body", "white stripes", "a blue top hat"))
    assert prompts.whole_text(hat) == "one toy, red dog with white stripes and blue top hat"
    texts = [prompts.attribute_text(a, "dog") for a in ("red dog", "a white star", "boots")]
    assert texts == ["one toy, red dog", "one toy, dog with white star", "one toy, dog with boots"]
    for text in (prompts.whole_text(hat), *texts):
        assert set(text.replace(",", "").split()) <= set(toybox_words())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"whole": "{name} is shown"}, "'whole' needs a text, with no placeholders but {category}"),
        ({"whole": "{0}"}, "'whole' needs a text"),
        ({"whole": "{"}, "'whole' needs a text"),
        ({"pair": None}, "'pair.reference' needs a text"),
        ({"joined_by": 3}, "'joined_by' needs a text, with no placeholders but none"),
        ({"people": "man"}, "'people' needs a list of words"),
        ({"leave_out": [1]}, "'leave_out' needs a list of words"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, changes, sentence):
    given = yaml.safe_load(SHIPPED["default"].read_text()) | changes
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(given))
    with pytest.raises(InputError, match=sentence):
        load_prompts(tmp_path / "mine.yaml")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"- a list", None])
def test_what_is_no_file_of_prompts_is_refused(tmp_path, content):
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match="mine.yaml"):
        load_prompts(file)
