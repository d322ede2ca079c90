"""The truth of a scene as a column, read back from its true captions."""

import json
import random

from data_gen.toybox.facts import facts_of, read_facts
from data_gen.toybox.identity import draw_identity
from data_gen.toybox.language import VOICES, caption
from data_gen.toybox.rows import ToyboxSettings, toybox_row, toybox_rows
from data_gen.toybox.scene import compose

SMALL = {"reference_px": 32, "query_px": 32}


def test_true_captions_claim_nothing_false_and_long_ones_everything():
    rng = random.Random(0)
    for n in (1, 2, 3, 4):
        scene = compose(rng, [draw_identity(rng, held_out=False) for _ in range(n)], 32)
        facts = facts_of(scene)
        for voice in VOICES:
            text = caption(rng, scene, ["bo", *[None] * (n - 1)], "long", voice)
            assert read_facts(text, facts) == (6 * n, 6 * n, 6 * n)
            claims, true, _ = read_facts(caption(rng, scene, [None] * n, "short", voice), facts)
            assert claims == true == 2 * n


def test_the_column_is_the_truth_of_captioned_scenes_and_changes_nothing_else():
    counts = {"identity_consistency": 3, "description": 2, "object_consistency": 2}
    with_facts = list(toybox_rows(counts, 0, ToyboxSettings(**SMALL, targets=True, facts=True)))
    without = list(toybox_rows(counts, 0, ToyboxSettings(**SMALL, targets=True)))
    for row, plain in zip(with_facts, without, strict=True):
        facts = row.pop("facts")
        assert row == plain
        assert (facts is None) == (row["task"] == "object_consistency")
        if facts:
            claims, true, there = read_facts(row["target"], facts)
            assert claims == true > 0 and there == 6 * len(json.loads(facts)["toys"])


def test_owner_words_are_asked_about():
    settings = ToyboxSettings(**SMALL, owner_words=True)
    for i in range(6):
        row = toybox_row("identity_consistency", i, 0, settings)
        prompt = json.dumps(row["prompt"], ensure_ascii=False)
        asked = json.loads(row["questions"])
        assert len(asked) == 3 * (len(row["names"]) + len(row["absent_names"]))
        for each in asked:
            (name,) = [
                n for n in row["names"] + row["absent_names"] if f"<{n}>" in each["question"]
            ]
            assert (each["answer"] is None) == (name in row["absent_names"])
            assert len(set(each["options"])) == 4
            if each["answer"] is not None:
                assert each["options"][each["answer"]] in prompt, "the owner has said it"
    assert toybox_row("description", 0, 0, settings)["questions"] is None
