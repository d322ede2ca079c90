"""Toybox rows: the contract, determinism, balance, targets."""

import itertools
import json
import random
import re
from collections import Counter
from statistics import mean, stdev

import pytest

from data_gen.files.errors import InputError
from data_gen.rows import ICT, OCT, VLT, check_row, encode_image, read_rows, write_rows
from data_gen.toybox.rows import (
    DESCRIPTION,
    Combination,
    ToyboxSettings,
    augmented,
    combination_of,
    draw_cast,
    draw_identities,
    toybox_row,
    toybox_rows,
)
from data_gen.toybox.scene import compose

COUNTS = {OCT: 24, VLT: 12, ICT: 24, DESCRIPTION: 4}


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
        return {
            row["id"]: (
                str({k: v for k, v in row.items() if k != "images"}),
                [encode_image(i)["bytes"] for i in row["images"]],
            )
            for row in toybox_rows(counts, seed, ToyboxSettings())
        }

    first, again = bytes_of(COUNTS, 4), bytes_of(COUNTS, 4)
    assert first == again
    larger = bytes_of({task: n + 2 for task, n in COUNTS.items()}, 4)
    assert all(larger[row_id] == row for row_id, row in first.items())
    other = bytes_of(COUNTS, 5)
    assert not set(other) & set(first)


def test_oct_is_balanced_and_half_of_the_negatives_are_hard():
    rows = [toybox_row(OCT, i, 0, ToyboxSettings(query_px=32, reference_px=32)) for i in range(600)]
    assert Counter(row["answer"] for row in rows) == {"yes": 300, "no": 300}
    sources = Counter(row["source"] for row in rows)
    assert 120 < sources["toybox:hard"] < 180


def test_rows_of_a_pair_ask_about_one_query_and_differ_in_the_answer():
    settings = ToyboxSettings(paired_rows=True, query_px=32, reference_px=32, facts=True)
    for task, n in ((OCT, 200), (ICT, 200)):
        rows = [toybox_row(task, i, 0, settings) for i in range(n)]
        assert len({row["pair"] for row in rows}) == n / 2
        for one, other in zip(rows[::2], rows[1::2], strict=True):
            assert one["pair"] == other["pair"]
            assert one["images"][-1].tobytes() == other["images"][-1].tobytes()
            assert one["images"][0].tobytes() != other["images"][0].tobytes()
            if task == OCT:
                assert (one["answer"], other["answer"]) == ("yes", "no")
            else:
                assert one["names"] and not other["names"]
                assert len(one["images"]) == len(other["images"]), "R tells nothing"
    kinds = Counter(toybox_row(OCT, i, 0, settings)["source"] for i in range(1, 400, 2))
    assert set(kinds) == {"toybox:hard", "toybox:easy"} and 70 < kinds["toybox:hard"] < 130
    assert toybox_row(VLT, 0, 0, settings)["pair"] is None


def test_of_a_pair_one_row_names_toys_of_the_query_and_the_other_none():
    """Also where every distractor is a hard one: those are drawn after the query."""
    settings = ToyboxSettings(paired_rows=True, query_px=32, reference_px=32, facts=True,
                              hard_distractor_share=1.0)  # fmt: skip
    for i in range(100):
        row = toybox_row(ICT, i, 0, settings)
        on_toys = [name for name in json.loads(row["facts"])["names"] if name]
        assert sorted(on_toys) == sorted(row["names"]) and bool(on_toys) == (i % 2 == 0)


@pytest.mark.parametrize(
    "settings",
    [{"absent_share": 0.4}, {"references": {0: 1, 1: 1}}, {"combinations": {"1/1/1": 1}}],
)
def test_pairs_need_as_many_rows_of_either_kind(settings):
    with pytest.raises(InputError, match="paired_rows: of two caption rows one expects somebody"):
        ToyboxSettings(paired_rows=True, **settings)


def test_vlt_queries_hold_two_to_four_toys():
    sources = Counter(toybox_row(VLT, i, 0, ToyboxSettings())["source"] for i in range(60))
    assert set(sources) == {"toybox:2", "toybox:3", "toybox:4"}


def combinations(n=4000, **settings):
    drawn, rng = ToyboxSettings(**settings), random.Random(0)
    return [combination_of(rng, drawn) for _ in range(n)]


def test_every_combination_occurs_and_nothing_tells_whether_a_name_is_expected():
    drawn = combinations()
    pairs = itertools.product(range(1, 5), range(1, 5))
    assert set(drawn) == {(r, t, k) for r, t in pairs for k in range(min(r, t) + 1)}
    table = Counter((r, t, k > 0) for r, t, k in drawn)
    for r, t in {(r, t) for r, t, _ in table}:
        absent, present = table[r, t, False], table[r, t, True]
        assert abs(absent / (absent + present) - 0.5) < 3.5 * 0.5 / (absent + present) ** 0.5
    # R and T are independent of each other too, and so is K where any name is expected.
    deep = Counter(k for _, _, k in combinations(references={4: 1}, scene_toys={4: 1}) if k)
    assert min(deep.values()) > 0.8 * max(deep.values()) and set(deep) == {1, 2, 3, 4}


def test_a_setting_weights_the_combinations():
    assert {k for *_, k in combinations(200, absent_share=1.0)} == {0}
    assert {r for r, *_ in combinations(200, references={0: 1, 2: 1})} == {0, 2}
    assert all(not k for r, _, k in combinations(200, references={0: 1, 2: 1}) if not r)
    assert {k for *_, k in combinations(200, expected={1: 1}, absent_share=0)} == {1}
    # Weights that leave nothing at this R and T give what comes nearest.
    assert {
        k for *_, k in combinations(20, expected={3: 1}, references={2: 1}, absent_share=0)
    } <= {1, 2}
    assert set(combinations(50, combinations={"1/1/1": 1, "2/3/0": 2})) == {(1, 1, 1), (2, 3, 0)}


def test_rows_show_the_combination_that_their_source_says():
    settings = ToyboxSettings(query_px=32, reference_px=32, info_share=0.5)
    rows = [toybox_row(ICT, i, 0, settings) for i in range(300)]
    for row in rows:
        r, k = len(row["names"]) + len(row["absent_names"]), len(row["names"])
        assert row["source"].startswith(f"toybox:R{r} T") and f" K{k} " in row["source"]
        assert len(row["images"]) == r + 1
    # Neither the place of a reference nor the owner's words tell whether it is in the query.
    first = [row for row in rows if row["names"] and row["absent_names"]]
    firsts = sum(_names(row)[0] in row["names"] for row in first)
    due = sum(len(row["names"]) / len(_names(row)) for row in first)
    assert abs(firsts - due) < 3.5 * (len(first) / 4) ** 0.5


def test_hard_distractors_resemble_toys_that_have_no_reference():
    settings, rng = ToyboxSettings(hard_distractor_share=1.0), random.Random(1)
    for combination in [(1, 1, 0), (3, 2, 1), (2, 4, 0), (4, 1, 1)]:
        shown, in_scene, n_hard = draw_cast(rng, Combination(*combination), settings)
        r, t, k = combination
        assert (len(shown), len(in_scene)) == (r, t) and len({*shown} & {*in_scene}) == k
        assert len({*shown, *in_scene}) == r + t - k and n_hard == min(r - k, t - k)
        alike = [
            (a, b)
            for a, b in itertools.combinations({*shown, *in_scene}, 2)
            if sum(vars(a)[x] != vars(b)[x] for x in vars(a)) == 1
        ]
        assert len(alike) == n_hard
        assert all(
            (a in shown) != (b in shown) and (a in in_scene) != (b in in_scene) for a, b in alike
        )
    assert draw_cast(rng, Combination(2, 2, 0), ToyboxSettings(hard_distractor_share=0))[2] == 0


def test_the_toy_asked_for_is_any_of_those_in_the_query():
    """The first toy placed stands freely; it is asked for no more often than the others."""
    settings = ToyboxSettings(query_px=32, reference_px=32, vlt_toys={2: 1.0})
    rows = [toybox_row(VLT, i, 0, settings) for i in range(400)]
    central = [
        abs(sum(row["box"][::2]) / 2 - 0.5) + abs(sum(row["box"][1::2]) / 2 - 0.5) for row in rows
    ]
    rng, others = random.Random(5), []
    for _ in rows:
        box = rng.choice(compose(rng, draw_identities(rng, 2, settings), 32).boxes)
        others.append(abs((box[0] + box[2]) / 2 - 0.5) + abs((box[1] + box[3]) / 2 - 0.5))
    assert abs(mean(central) - mean(others)) < 3.5 * stdev(others) * (2 / len(rows)) ** 0.5


def _names(row):
    """The names of the references in their order."""
    words = "".join(part["text"] or "" for part in row["prompt"][0]["content"])
    return sorted([*row["names"], *row["absent_names"]], key=lambda name: words.index(f"<{name}>"))


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


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"scene_toys": {5: 1}}, "scene_toys: 5 is not from 1 to 4"),
        ({"references": {1: -1, 2: 2}}, "references: weights must not be negative"),
        ({"expected": {1: 0}}, "expected: weights .* one must be above 0"),
        ({"combinations": {"2/3": 1}}, "'2/3' is not 'references/subjects/expected'"),
        ({"combinations": {"1/2/2": 1}}, "1/2/2 is impossible"),
    ],
)
def test_impossible_numbers_of_toys_are_refused(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        ToyboxSettings(**settings)


def test_noise_concepts_stand_in_the_prompt_and_change_no_answer():
    """RAP's noise: further references about which nothing is asked."""
    noisy = ToyboxSettings(noise={0: 1.0, 2: 1.0}, targets=True)
    numbers = Counter()
    for task in (OCT, VLT):
        for i in range(30):
            row, plain = (toybox_row(task, i, 0, s) for s in (noisy, ToyboxSettings(targets=True)))
            check_row(row, "here")
            n = len(row["images"]) - 2
            numbers[n] += 1
            assert (row["answer"], row["source"]) == (plain["answer"], plain["source"])
            texts = [p["text"] for p in row["prompt"][0]["content"] if p["type"] == "text"]
            names = set(re.findall(r"<([^<>]+)>", " ".join(texts)))
            assert len(names) == 1 + n
            (asked,) = set(re.findall(r"<([^<>]+)>", texts[-1].splitlines()[-1]))
            assert asked in names
    assert set(numbers) == {0, 2} and min(numbers.values()) > 15


def test_the_asked_reference_stands_anywhere_among_the_noise():
    places = Counter()
    for i in range(60):
        row = toybox_row(OCT, i, 0, ToyboxSettings(noise={2: 1.0}))
        texts = [p["text"] for p in row["prompt"][0]["content"] if p["type"] == "text"]
        *shown, last = [re.findall(r"<([^<>]+)>", text) for text in texts]
        places[[name for of in shown for name in of].index(last[-1])] += 1
    assert min(places[i] for i in range(3)) > 8


def test_augmented_crops_keep_their_size_and_look_another_way():
    image = compose(
        random.Random(0), draw_identities(random.Random(0), 1, ToyboxSettings()), 48
    ).image
    looks = {augmented(random.Random(i), image).tobytes() for i in range(8)}
    assert len(looks) == 8 and augmented(random.Random(1), image).size == image.size
    plain, changed = (
        toybox_row(OCT, 0, 0, ToyboxSettings(augment_share=share))["images"] for share in (0.0, 1.0)
    )
    assert plain[0].tobytes() != changed[0].tobytes() and plain[0].size == changed[0].size
