"""The curriculum's stages, and rows of every kind."""

import random

import pytest

from data_gen.rows import OCT
from data_gen.toybox.curriculum.knowledge import knowledge_row
from data_gen.toybox.curriculum.naming import name_binding_row, name_copying_row
from data_gen.toybox.curriculum.perception import listing_row, perception_row
from data_gen.toybox.curriculum.stages import (
    KNOWLEDGE,
    LISTING,
    NAME_BINDING,
    NAME_COPYING,
    PERCEPTION,
    SEED_KEYS,
    curriculum,
    curriculum_row,
)
from data_gen.toybox.rows import (
    DESCRIPTION,
    ToyboxSettings,
)


def test_a_curriculum_goes_through_its_stages_and_answers_every_question():
    stages = curriculum(
        [
            {"until": 96, "mix": {LISTING: 1}},
            {"until": 384, "mix": {PERCEPTION: 1, DESCRIPTION: 1}},
        ],
        384,
        ToyboxSettings(),
    )
    rows = [curriculum_row(i, 0, stages) for i in range(0, 384, 6)]
    assert all(len(row["messages"]) == 2 and len(row["images"]) == 1 for row in rows[:16])
    assert any(len(row["messages"]) > 2 for row in rows[16:])
    for row in rows:
        roles = [m["role"] for m in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        parts = [part for message in row["messages"] for part in message["content"]]
        assert sum(part["type"] == "image" for part in parts) == len(row["images"])


def test_a_curriculum_must_end_at_the_last_row():
    with pytest.raises(ValueError, match=r"last one at n_rows \(100\), not at \[50\]"):
        curriculum([{"until": 50, "mix": {OCT: 1}}], 100, ToyboxSettings())


@pytest.mark.parametrize("kind", SEED_KEYS)
def test_rows_of_a_kind_are_seeded_by_its_former_name(kind):
    """The shipped policy was trained on these rows."""
    settings = ToyboxSettings(reference_px=32, query_px=32)
    stages = curriculum(
        [
            {
                "until": 9,
                "mix": {kind: 1},
                "perception": {"references": {2: 1}},
                "name_binding": {"toys": {2: 1}},
                "knowledge": {"toys": {2: 1}, "kinds": {"traits": 1}},
            }
        ],
        9,
        settings,
    )
    rng = random.Random(f"{SEED_KEYS[kind]}-7-5")
    _, settings, perception, binding, knowledge = stages[0]
    expected = {
        LISTING: lambda: listing_row(rng, settings),
        PERCEPTION: lambda: perception_row(rng, 2, settings, perception),
        NAME_BINDING: lambda: name_binding_row(rng, 2, settings, binding),
        NAME_COPYING: lambda: name_copying_row(rng, settings),
        KNOWLEDGE: lambda: knowledge_row(rng, "traits", 2, settings, knowledge),
    }[kind]()
    assert curriculum_row(5, 7, stages)["messages"] == expected["messages"]
