"""What is trained of a concept: recognition, captions, and traits without the picture."""

import random

from PIL import Image

from concepts.concept import Concept
from concepts.methods.soft_prompts import examples
from concepts.methods.soft_prompts.examples import (
    ask,
    captions,
    personal_prompt,
    recognition,
    traits,
)
from concepts.methods.soft_prompts.phrasings import load_phrasings

PHRASINGS = load_phrasings()
PERSONAL = personal_prompt("bo", 2, PHRASINGS)
PHOTOS = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]


def answering(monkeypatch, answers):
    """The policy's answers are given; what it was asked is kept."""
    asked = []

    def generate(model, processor, rows, **_):
        asked.extend(rows)
        return [(answer, len(answer)) for answer in answers]

    monkeypatch.setattr(examples, "generate", generate)
    return asked


def test_the_personal_prompt_stands_behind_the_picture_and_before_the_question():
    assert PERSONAL == "<bo> is <bo/1><bo/2>."
    (turn,) = ask(PERSONAL, "Who?", True)
    assert [part["type"] for part in turn["content"]] == ["image", "text"]
    assert turn["content"][1]["text"] == "<bo> is <bo/1><bo/2>. Who?"
    assert ask("", "Who?", False)[0]["content"] == [{"type": "text", "text": "Who?"}]


def test_photos_are_repeated_until_they_balance_the_negatives():
    def made(balanced):
        return recognition(
            random.Random(0), "bo", PERSONAL, PHRASINGS, [0, 1], range(2, 12), balanced, "user"
        )

    several, once = made(True), made(False)
    assert [sum(one.picture < 2 for one in of) for of in (several, once)] == [10, 2]
    for one in several:
        assert one.answer.startswith("Yes" if one.picture < 2 else "No") and "<bo>" in one.answer
    assert len({one.prompt[0]["content"][1]["text"] for one in several}) > 10  # phrasings vary


def test_traits_are_asked_with_the_photo_and_trained_without_it(monkeypatch):
    questions = PHRASINGS.thing
    asked = answering(monkeypatch, ["This subject is red."] * 19 + [""])
    made = traits(None, None, Concept("bo"), PERSONAL, PHRASINGS, PHOTOS, "user", 8)
    assert len(asked) == 2 * len(questions) and asked[10]["images"] == [PHOTOS[1]]
    assert "this subject" in str(asked[0]["prompt"]) and "bo" not in str(asked[0]["prompt"])
    assert len(made) == 19  # an empty answer teaches nothing
    assert {one.answer for one in made} == {"<bo> is red."}
    assert all(one.picture is None and "image" not in str(one.prompt) for one in made)


def test_persons_are_asked_about_as_persons(monkeypatch):
    asked = answering(monkeypatch, ["yes"] * 20)
    traits(None, None, Concept("bo", category="Woman"), PERSONAL, PHRASINGS, PHOTOS, "user", 8)
    assert "hair" in str(asked[0]["prompt"])


def test_captions_are_those_that_name_the_concept_and_are_never_mirrored(monkeypatch):
    asked = answering(monkeypatch, ["A red box.", " <bo> is on the left. "])
    made = captions(random.Random(0), None, None, "bo", PERSONAL, PHOTOS, "user", 8)
    assert [row["images"] for row in asked] == [PHOTOS[::-1], PHOTOS]  # reference, query
    (one,) = made
    assert (one.answer, one.picture, one.may_flip) == ("<bo> is on the left.", 1, False)
    assert one.prompt[0]["content"][1]["text"].startswith(PERSONAL)
