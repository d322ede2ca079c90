"""Lists of toys and questions on references are answered truly."""

import random

import pytest

from data_gen.toybox.curriculum.perception import (
    COMPARE_ASK,
    LIST_ASK,
    NAMED_LIST_ASK,
    NAMES_ASK,
    RECALL_ASK,
    WHO_ASK,
    PerceptionSettings,
    explanation,
    perception_row,
    toy_list,
)
from data_gen.toybox.identity import (
    hard_negative,
    mark,
    worn,
)
from data_gen.toybox.rows import (
    ToyboxSettings,
    draw_identities,
)
from data_gen.toybox.scene import compose


def test_a_list_has_all_six_attributes_of_every_toy_and_its_box():
    scene = compose(random.Random(0), draw_identities(random.Random(0), 3, ToyboxSettings()), 96)
    listed = toy_list(scene, {}, ToyboxSettings(query_px=96)).split("; ")
    for text, toy, box in zip(listed, scene.toys, scene.boxes, strict=True):
        colour, kind, *_ = text.split(", ")[0].split()
        assert (colour, kind) == (toy.identity.colour, toy.identity.kind)
        assert mark(toy.identity) in text and worn(toy.identity) in text
        assert text.endswith(f"[{', '.join(str(round(v * 96)) for v in box)}]")


def test_reasons_compare_the_toy_most_like_the_reference_trait_by_trait():
    (known,) = draw_identities(random.Random(0), 1, ToyboxSettings())
    twin = hard_negative(random.Random(0), known)
    others = draw_identities(random.Random(1), 2, ToyboxSettings())
    said = explanation("Mia", known, [*others, twin])
    assert said.startswith(f"<Mia>, here: {known.kind}, ") and said.endswith(". no")
    assert said.count("same") == 3 and said.count("other") == 1
    said = explanation("Mia", known, [twin, known])
    assert said.count("same") == 4 and "other" not in said and said.endswith(". yes")


@pytest.mark.parametrize("seed", range(20))
def test_questions_are_answered_truly(seed):
    perception = PerceptionSettings(unlisted={0: 1}, questions=99)
    row = perception_row(random.Random(seed), 1, ToyboxSettings(), perception)
    turns = [message["content"][-1]["text"].split("\n")[-1] for message in row["messages"]]
    said = dict(zip(turns[::2], turns[1::2], strict=True))
    told = said.pop(NAMES_ASK)
    same = next(answer for ask, answer in said.items() if "yes or no" in ask)
    compared = said[COMPARE_ASK.format(name=told[1:-1])].split()
    assert (same == "yes") == all(word == "yes" for word in compared) and len(compared) == 6
    assert said[WHO_ASK] == (told if same == "yes" else "nobody")
    seen = said.get(LIST_ASK) or said[NAMED_LIST_ASK].replace(f", {told}", "")
    assert (seen.split(" [")[0] == said[RECALL_ASK.format(name=told[1:-1])]) == (same == "yes")
