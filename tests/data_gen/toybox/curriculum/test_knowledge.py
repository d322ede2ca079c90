"""Rows about what a toy is: every answer is true, and none can be read off the question."""

import json
import random

import pytest

from data_gen.toybox.curriculum.knowledge import (
    FINGERPRINT_ASK,
    LETTERS,
    TRAITS,
    KnowledgeSettings,
    fingerprint,
    knowledge_row,
    matching_features,
    option_reasons,
    trait,
)
from data_gen.toybox.identity import Identity
from data_gen.toybox.rows import ToyboxSettings

SETTINGS = ToyboxSettings(reference_px=32, query_px=32)
BO = Identity("bear", "red", "striped", "white", "top hat", "green")
TWIN = Identity("bear", "red", "striped", "blue", "top hat", "green")


def turns(row: dict) -> list[tuple[str, str]]:
    texts = ["".join(p["text"] or "" for p in m["content"]) for m in row["messages"]]
    return list(zip(texts[::2], texts[1::2], strict=True))


def rows(kind: str, n: int = 60) -> list[dict]:
    knowledge = KnowledgeSettings()
    return [
        knowledge_row(random.Random(f"{kind}{i}"), kind, 1 + i % 3, SETTINGS, knowledge)
        for i in range(n)
    ]


@pytest.mark.parametrize("kind", KnowledgeSettings().kinds)
def test_every_image_has_its_place(kind):
    for row in rows(kind, 20):
        parts = [part for message in row["messages"] for part in message["content"]]
        assert sum(part["type"] == "image" for part in parts) == len(row["images"])
        assert all(answer for _, answer in turns(row))


def test_a_fingerprint_is_json_and_names_its_toy():
    found = json.loads(fingerprint(BO, "bo"))
    assert found == {
        "general": "<bo> is a red bear.",
        "category": "bear",
        "distinct features": ["a red body", "white stripes", "a green top hat", "round ears"],
    }
    for row in rows("fingerprint", 10):
        ((asked, answer),) = turns(row)
        name = json.loads(answer)["general"].split(">")[0].removeprefix("<")
        assert FINGERPRINT_ASK.format(name=name) in asked


def test_traits_are_asked_openly_and_with_options_of_which_one_is_right():
    answers = {which: trait(BO, which) for which in TRAITS}
    assert answers == {
        "colour": "red",
        "kind": "a bear",
        "mark": "white stripes",
        "worn": "a green top hat",
    }
    letters = {"A": 0, "B": 0}
    for row in rows("traits", 200):
        for asked, answer in turns(row):
            if "Answer with the letter" in asked:
                letters[answer] += 1
            elif ", " in asked.splitlines()[-1]:
                assert answer in asked.splitlines()[-1]
    assert 0.4 < letters["A"] / sum(letters.values()) < 0.6


def test_reasons_say_what_an_option_shares_with_the_picture():
    assert matching_features(BO, BO) == "red bear, white stripes, a green top hat"
    assert matching_features(TWIN, BO) == "red bear, a green top hat"
    other = Identity("cat", "blue", "spotted", "red", "scarf", "pink")
    assert matching_features(other, BO) == "None"
    found = json.loads(option_reasons([TWIN, BO], BO, "B"))
    assert found["A"] == "red bear, a green top hat" and found["Answer"] == "B"


def test_the_right_option_is_at_every_place_and_is_the_only_one_that_shares_everything():
    places = set()
    for row in rows("options"):
        found = dict(turns(row))
        reasons = next(json.loads(a) for a in found.values() if a.startswith("{"))
        options = {k: v for k, v in reasons.items() if k in LETTERS}
        most = max(options.values(), key=lambda v: 0 if v == "None" else v.count(",") + 1)
        assert options[reasons["Answer"]] == most
        assert sum(v.count(",") == 2 for v in options.values()) == 1
        places.add(reasons["Answer"])
    assert places == {"A", "B", "C", "D"}
