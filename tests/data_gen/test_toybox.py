"""The toybox: identities, pictures, boxes, captions and rows, all true by construction."""

import random
import re
from collections import Counter

import numpy as np
import pytest
from PIL import ImageChops

from concepts.importers import draw_toys
from data_gen.rows import ICT, OCT, VLT, check_row, encode_image, read_rows, write_rows
from data_gen.tasks.names import all_names
from data_gen.tasks.prompts import load_prompts
from data_gen.toybox import identity as toys
from data_gen.toybox.curriculum.naming import NameBindingSettings, name_copying_row, name_binding_row
from data_gen.toybox.curriculum.perception import (
    COMPARE_ASK,
    LIST_ASK,
    NAMED_LIST_ASK,
    RECALL_ASK,
    NAMES_ASK,
    WHO_ASK,
    PerceptionSettings,
    inventory,
    perception_row,
)
from data_gen.toybox.curriculum.stages import (
    INVENTORY,
    QUIZ,
    curriculum,
    curriculum_row,
)
from data_gen.toybox.draw import GROUNDS, STYLES, Placed, Stage, box_of, draw_scene, outline
from data_gen.toybox.identity import (
    ATTRIBUTES,
    HALVES,
    N_IDENTITIES,
    from_number,
    half_of,
    is_held_out,
    mark,
    to_number,
    worn,
)
from data_gen.toybox.language import LENGTHS, VOICES, caption, read_caption
from data_gen.toybox.rows import (
    DESCRIPTION,
    ToyboxSettings,
    draw_identities,
    toybox_row,
    toybox_rows,
)
from data_gen.toybox.scene import compose

COUNTS = {OCT: 24, VLT: 12, ICT: 24, DESCRIPTION: 4}


def some_identities(n, seed=0, held_out=False):
    rng = random.Random(seed)
    return [toys.draw_identity(rng, held_out=held_out) for _ in range(n)]


# Identities


def test_there_are_more_than_100_000_identities_and_each_has_one_number():
    assert N_IDENTITIES >= 100_000
    sample = random.Random(0).sample(range(N_IDENTITIES), 2000)
    assert [to_number(from_number(n)) for n in sample] == sample
    assert len({from_number(n) for n in sample}) == len(sample)


def test_colours_of_one_toy_can_be_told_apart():
    for identity in some_identities(500):
        assert identity.colour not in (identity.second, identity.accessory_colour)


def test_a_tenth_is_held_out_and_no_draw_crosses_the_line():
    share = np.mean([is_held_out(from_number(n)) for n in range(0, N_IDENTITIES, 7)])
    assert 0.09 < share < 0.11
    assert not any(map(is_held_out, some_identities(300, held_out=False)))
    assert all(map(is_held_out, some_identities(300, held_out=True)))


@pytest.mark.parametrize("held_out", [False, True])
def test_hard_negatives_differ_in_one_attribute_and_stay_on_their_side(held_out):
    rng = random.Random(1)
    changed = Counter()
    for identity in some_identities(300, held_out=held_out):
        other = toys.hard_negative(rng, identity)
        differing = [a for a in ATTRIBUTES if getattr(a_of := identity, a) != getattr(other, a)]
        assert a_of is identity and len(differing) == 1
        assert is_held_out(other) == held_out
        assert other.colour not in (other.second, other.accessory_colour)
        changed[differing[0]] += 1
    assert set(changed) == set(ATTRIBUTES), "every attribute is varied"


@pytest.mark.parametrize("half", HALVES)
def test_the_held_out_toys_are_halved(half):
    """Everybody in a row, twins and databases' toys too, is of the one half."""
    share = np.mean([half_of(from_number(n)) == half for n in range(0, N_IDENTITIES, 7)
                     if is_held_out(from_number(n))])
    assert 0.48 < share < 0.52
    rng = random.Random(2)
    drawn = [toys.draw_identity(rng, held_out=True, half=half) for _ in range(200)]
    for toy in [*drawn, *(toys.hard_negative(rng, toy, half) for toy in drawn),
                *draw_toys(40, 1, half=half).values()]:
        assert is_held_out(toy) and half_of(toy) == half


def test_descriptions_and_features_state_the_attributes():
    for i in some_identities(50):
        words = " ".join([i.description, *i.features])
        for value in (i.kind, i.colour, i.second, i.accessory, i.accessory_colour):
            assert value in words
        assert i.category == i.kind


# Pictures


@pytest.mark.parametrize("style", STYLES)
def test_a_box_is_the_extent_of_what_is_drawn(style):
    for identity in some_identities(8):
        toy = Placed(identity, 0.5, 0.55, 0.6, angle=17)
        stage = Stage(style=style, wall="mint")
        with_toy, (box,) = draw_scene([toy], stage, 192)
        bare, _ = draw_scene([], stage, 192)
        drawn = ImageChops.difference(with_toy, bare).getbbox()
        shadow = 0.03 * toy.height * 192  # the floor's shadow reaches that far below
        slack = 4 + shadow
        assert np.allclose(np.array(box) * 192, drawn, atol=slack), (box, drawn)
        # Left, top and right have no shadow: within the outline's width.
        assert abs(box[1] * 192 - drawn[1]) <= 4


def test_boxes_stay_inside_the_picture_and_toys_hardly_overlap():
    rng = random.Random(3)
    for k in (1, 2, 3, 4):
        for _ in range(20):
            scene = compose(rng, some_identities(k, seed=rng.random()), 64)
            assert len(scene.boxes) == k and scene.image.size == (64, 64)
            for toy, box in zip(scene.toys, scene.boxes, strict=True):
                assert 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
                assert box == box_of(outline(toy))


def test_every_attribute_can_be_seen_at_64_pixels():
    """Twins that differ in one attribute give different pictures of the same scene."""
    rng = random.Random(0)
    for identity in some_identities(60):
        twin = toys.hard_negative(rng, identity)
        a, _ = draw_scene([Placed(identity, 0.5, 0.55, 0.7)], Stage(), 64)
        b, _ = draw_scene([Placed(twin, 0.5, 0.55, 0.7)], Stage(), 64)
        difference = np.abs(np.asarray(a, int) - np.asarray(b, int)).max(-1)
        assert (difference > 30).sum() >= 12, (identity, twin)


@pytest.mark.parametrize("ground", GROUNDS)
def test_one_code_path_draws_every_size(ground):
    toy = Placed(some_identities(1)[0], 0.5, 0.55, 0.7)
    boxes = []
    for size in (64, 512):
        image, (box,) = draw_scene([toy], Stage(ground=ground, seed=5), size)
        assert image.size == (size, size)
        boxes.append(box)
    assert boxes[0] == boxes[1]


def test_a_scene_has_one_to_four_toys():
    with pytest.raises(ValueError, match="one to four"):
        compose(random.Random(0), [], 64)


# Language


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("voice", VOICES)
def test_captions_tell_the_truth_and_nothing_else(length, voice):
    rng = random.Random(7)
    for k in (1, 2, 3, 4):
        scene = compose(rng, some_identities(k, seed=k), 64)
        text = caption(rng, scene, [None] * k, length, voice)
        claims = read_caption(text)
        assert len(claims) == k
        for claim, toy in zip(claims, scene.toys, strict=True):
            assert all(getattr(toy.identity, a) == value for a, value in claim.items())
            assert length == "short" or set(claim) == set(ATTRIBUTES)


def test_a_caption_writes_exactly_the_names_it_is_given():
    rng = random.Random(8)
    for length in LENGTHS:
        scene = compose(rng, some_identities(3), 64)
        text = caption(rng, scene, ["bo", None, "Zoé"], length)
        assert "<bo>" in text and "<Zoé>" in text and text.count("<") == text.count(">")


@pytest.mark.parametrize("text", ["", "blue", "a striped blue", "<bo> has red stripes.", "\ud800"])
def test_reading_a_caption_that_claims_nothing_gives_nothing(text):
    assert read_caption(text) == []


def test_names_are_no_words_of_captions_or_prompts():
    rng = random.Random(9)
    text = [str(load_prompts())]
    for seed in range(300):
        scene = compose(rng, some_identities(rng.randint(1, 4), seed=seed), 32)
        text += [caption(rng, scene, [None] * len(scene.toys), length) for length in LENGTHS]
    words = {w.strip(".,:;!?\"'[]{}()").casefold() for line in text for w in line.split()}
    assert not {name.casefold() for name in all_names()} & words
    assert len(all_names()) == len({n.casefold() for n in all_names()}) >= 900


# Rows


def test_every_row_keeps_the_contract_and_a_set_can_be_read_back(tmp_path):
    rows = list(toybox_rows(COUNTS, 3, ToyboxSettings()))
    for row in rows:
        check_row(row)
    manifest = write_rows(rows, tmp_path / "set", seed=3, generator="toybox")
    assert manifest["tasks"] == COUNTS
    back = read_rows(tmp_path / "set")
    assert back["id"] == [row["id"] for row in rows]


def test_the_same_seed_gives_the_same_bytes_and_a_prefix_of_a_larger_set():
    def bytes_of(counts, seed):
        return {row["id"]: (str({k: v for k, v in row.items() if k != "images"}),
                            [encode_image(i)["bytes"] for i in row["images"]])
                for row in toybox_rows(counts, seed, ToyboxSettings())}

    first, again = bytes_of(COUNTS, 4), bytes_of(COUNTS, 4)
    assert first == again
    larger = bytes_of({task: n + 2 for task, n in COUNTS.items()}, 4)
    assert all(larger[row_id] == row for row_id, row in first.items())
    other = bytes_of(COUNTS, 5)
    assert not set(other) & set(first)


def test_oct_is_balanced_and_half_of_the_negatives_are_hard():
    rows = [toybox_row(OCT, i, 0, ToyboxSettings(query_px=32, reference_px=32))
            for i in range(600)]
    assert Counter(row["answer"] for row in rows) == {"yes": 300, "no": 300}
    sources = Counter(row["source"] for row in rows)
    assert 120 < sources["toybox:hard"] < 180


def test_vlt_queries_hold_two_to_four_toys():
    sources = Counter(toybox_row(VLT, i, 0, ToyboxSettings())["source"] for i in range(60))
    assert set(sources) == {"toybox:2", "toybox:3", "toybox:4"}


def test_naming_every_reference_does_not_pay():
    rows = [toybox_row(ICT, i, 0, ToyboxSettings()) for i in range(200)]
    assert {len(row["names"]) for row in rows} == {0, 1, 2, 3}
    assert sum(bool(row["absent_names"]) for row in rows) > 80
    for row in rows:
        assert len(row["images"]) == len(row["names"]) + len(row["absent_names"]) + 1


def test_targets_answer_their_rows():
    settings = ToyboxSettings(targets=True, named_share=1.0)
    for i in range(20):
        assert (row := toybox_row(OCT, i, 0, settings))["target"] == row["answer"]
        row = toybox_row(ICT, i, 0, settings)
        assert all(f"<{name}>" in row["target"] for name in row["names"])
        assert not any(f"<{name}>" in row["target"] for name in row["absent_names"])


def test_settings_and_tasks_are_checked():
    with pytest.raises(ValueError, match="one of train, heldout, validation, test, not 'dev'"):
        ToyboxSettings(split="dev")
    with pytest.raises(ValueError, match="not 'dance'"):
        next(toybox_rows({"dance": 1}, 0, ToyboxSettings()))


# Curriculum


def test_a_curriculum_goes_through_its_stages_and_answers_every_question():
    stages = curriculum(
        [{"until": 96, "mix": {INVENTORY: 1}}, {"until": 384, "mix": {QUIZ: 1, DESCRIPTION: 1}}],
        384, ToyboxSettings(),
    )
    rows = [curriculum_row(i, 0, stages) for i in range(0, 384, 6)]
    assert all(len(row["messages"]) == 2 and len(row["images"]) == 1 for row in rows[:16])
    assert any(len(row["messages"]) > 2 for row in rows[16:])
    for row in rows:
        roles = [m["role"] for m in row["messages"]]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        parts = [part for message in row["messages"] for part in message["content"]]
        assert sum(part["type"] == "image" for part in parts) == len(row["images"])


def test_an_inventory_says_all_six_attributes_of_every_toy_and_its_box():
    scene = compose(random.Random(0), draw_identities(random.Random(0), 3, ToyboxSettings()), 96)
    listed = inventory(scene, {}, ToyboxSettings(query_px=96)).split("; ")
    for text, toy, box in zip(listed, scene.toys, scene.boxes, strict=True):
        colour, kind, *_ = text.split(", ")[0].split()
        assert (colour, kind) == (toy.identity.colour, toy.identity.kind)
        assert mark(toy.identity) in text and worn(toy.identity) in text
        assert text.endswith(f"[{', '.join(str(round(v * 96)) for v in box)}]")


@pytest.mark.parametrize("seed", range(20))
def test_a_quiz_is_answered_truly(seed):
    quiz = PerceptionSettings(strangers={0: 1}, questions=99)
    row = perception_row(random.Random(seed), 1, ToyboxSettings(), quiz)
    turns = [message["content"][-1]["text"].split("\n")[-1] for message in row["messages"]]
    said = dict(zip(turns[::2], turns[1::2], strict=True))
    told = said.pop(NAMES_ASK)
    same = next(answer for ask, answer in said.items() if "yes or no" in ask)
    compared = said[COMPARE_ASK.format(name=told[1:-1])].split()
    assert (same == "yes") == all(word == "yes" for word in compared) and len(compared) == 6
    assert said[WHO_ASK] == (told if same == "yes" else "nobody")
    seen = said.get(LIST_ASK) or said[NAMED_LIST_ASK].replace(f", {told}", "")
    assert (seen.split(" [")[0] == said[RECALL_ASK.format(name=told[1:-1])]) == (same == "yes")


@pytest.mark.parametrize("manner", ["list", "card", "sentences"])
@pytest.mark.parametrize("seed", range(10))
def test_who_was_told_of_is_told_apart(seed, manner):
    telling = NameBindingSettings(manners={manner: 1})
    row = name_binding_row(random.Random(seed), 3, ToyboxSettings(), telling)
    turns = [message["content"] for message in row["messages"]]
    speech = re.compile(r"It is an? (\w+) (\w+) with (.+) on its belly and (.+)\.")
    names = {}
    for line in (part["text"] for part in turns[0][:-2]):
        name = re.search("<(.+)>", line)[1]
        read = speech.search(line)
        names[name] = read.groups() if read else re.split(r"[:,.]\s*",
                                                          line.replace(f"<{name}>", ""))
    for said in turns[1][0]["text"].split("; "):
        *facts, name = said.split(", ")
        true_of = [n for n, known in names.items() if set(facts) <= set(known)]
        assert true_of == [name[1:-1]] and facts
    ask, seen = turns[2][0]["text"], turns[3][0]["text"]
    if ask == NAMED_LIST_ASK:
        looks, mark_said, worn_said, name = seen.split(" [")[0].split(", ")
        assert (*looks.split(), mark_said, worn_said) == names[name[1:-1]]
    else:
        assert ask == LIST_ASK and "<" not in seen


@pytest.mark.parametrize("seed", range(5))
def test_a_roll_call_is_answered_by_what_was_said(seed):
    row = name_copying_row(random.Random(seed), ToyboxSettings())
    listed, called, following = (row["messages"][i]["content"][0]["text"] for i in (1, 3, 5))
    assert listed.count("[") == len(row["images"]) == 1
    assert row["messages"][2]["content"][0]["text"] == f"Say these names: {called}."
    names = called.split(", ")
    before = row["messages"][4]["content"][0]["text"].removeprefix("Who comes after ")[:-1]
    assert names[names.index(before) + 1] == following and len(set(names)) == len(names) >= 4


def test_a_curriculum_must_end_at_the_last_row():
    with pytest.raises(ValueError, match=r"last one at n_rows \(100\), not at \[50\]"):
        curriculum([{"until": 50, "mix": {OCT: 1}}], 100, ToyboxSettings())
