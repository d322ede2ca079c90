"""Preference rows: what is in them, and that no answer is known without the history."""

import random
from collections import Counter

import numpy as np
import pytest

from data_gen.files.errors import InputError
from data_gen.generators import GENERATORS
from data_gen.leaks.cues import thumbnails
from data_gen.leaks.report import find_leaks, leak
from data_gen.preferences.chains import chain, fault_of
from data_gen.preferences.rows import READING, PreferenceSettings, draw_case, preference_prompt
from data_gen.preferences.toybox import ToyboxPreferenceSettings, picture
from data_gen.preferences.users import Profile, Taste, is_unseen, read_vocabulary
from data_gen.rows import check_row
from data_gen.tasks.prompts import load_prompts
from data_gen.toybox.looks import ELEMENTS
from rewards import preference_accuracy, preference_format, profile_similarity
from rewards.preference import TASK, read_chain

SETTINGS = {
    "pictures": {2: 1.0},
    "exchanged": {0: 0.3, 1: 0.4, 2: 0.3},
    "targets": True,
    "size": 32,
}


@pytest.fixture(scope="module")
def rows():
    counts = {TASK: 240, READING: 4}
    return list(GENERATORS["toybox_preferences"].rows(counts, 3, dict(SETTINGS)))


ASK = [{"type": "text", "text": "Which picture will the user like?"}]


def of_task(rows, task=TASK):
    return [row for row in rows if row["task"] == task]


def cases(users="seen", n=400, **settings):
    given = ToyboxPreferenceSettings(users=users, **{**SETTINGS, **settings})
    return [draw_case(f"case-{i}", i, given, ELEMENTS) for i in range(n)]


def test_rows_keep_the_contract_and_are_the_same_by_index(rows):
    for row in rows:
        check_row(row)
    again = GENERATORS["toybox_preferences"].rows({TASK: 9}, 3, dict(SETTINGS))
    one = again.make(TASK, 7)
    assert one["target"] == rows[7]["target"]
    assert [i.tobytes() for i in one["images"]] == [i.tobytes() for i in rows[7]["images"]]


def test_a_row_shows_the_history_then_both_candidates(rows):
    row = of_task(rows)[0]
    parts = row["prompt"][0]["content"]
    kinds = "".join("i" if part["type"] == "image" else "t" for part in parts)
    assert kinds == "tiitiititit" and len(row["images"]) == 6
    assert parts[0]["text"] == "The user likes:\n"
    assert [p["text"] for p in parts if "Picture" in (p["text"] or "")] == [
        "Picture A:\n",
        "Picture B:\n",
    ]


def test_a_is_right_in_every_other_row(rows):
    assert [row["answer"] for row in of_task(rows)] == ["A", "B"] * 120


def test_the_chain_of_a_row_is_true_and_worth_every_reward(rows):
    picked = of_task(rows)
    columns = {
        key: [row[key] for row in picked]
        for key in ("task", "answer", "liked_profile", "disliked_profile")
    }
    said = [row["target"] for row in picked]
    for reward in (preference_accuracy, preference_format, profile_similarity):
        assert reward(said, **columns) == [1.0] * len(said)
    # One element is not enough: the scores of some rows are split two to three.
    assert {read_chain(text).totals[0] for text in said} == {5, 9, 13, 17, 21, 25}


def test_no_look_of_the_seen_side_is_an_unseen_profile():
    for case in cases():
        assert not any(is_unseen(look) for _, look in (*case.liked, *case.disliked))
        assert not any(is_unseen(look) for _, look in case.candidates)
    assert all(is_unseen(case.taste.liked) for case in cases("unseen", 30))


def test_the_candidates_are_one_scene_and_the_history_others(rows):
    for case in cases(n=20):
        (a, _), (b, _) = case.candidates
        scenes = {scene for scene, _ in (*case.liked, *case.disliked)}
        assert a == b and len(scenes) == 4 and a not in scenes


def test_every_taste_of_a_user_is_in_the_history():
    for case in cases(n=60, tastes={2: 1.0}, pictures={3: 1.0}):
        assert {look for _, look in case.liked} == {t.liked for t in case.user.tastes}
        assert {look for _, look in case.disliked} == {t.disliked for t in case.user.tastes}


def test_terms_of_the_candidates_tell_nothing():
    """Which of two terms an element shows on the preferred side depends on the user alone: over all
    users each term is preferred as often as not."""
    preferred, other = Counter(), Counter()
    for case in cases(n=3000):
        best, worse = case.candidates if case.answer == "A" else case.candidates[::-1]
        preferred.update(best[1])
        other.update(worse[1])
    for term in preferred:
        n = preferred[term] + other[term]
        assert abs(preferred[term] - other[term]) < 4 * n**0.5


def test_the_answer_is_not_in_the_candidates_nor_in_the_files(rows):
    def without_history(row):
        return {**row, "images": row["images"][-2:], "prompt": [
            {"role": "user", "content": [{"type": "image", "text": None}] * 2 + ASK}
        ]}  # fmt: skip

    picked = [without_history(row) for row in of_task(rows)]
    found = find_leaks(picked, thumbnails)
    assert {guess.cue for guess in found} >= {"the query image", "its file beside the others'"}
    assert not [guess for guess in found if leak(guess)]


def test_the_history_does_tell(rows):
    """The same features, the history with them: the liked mean less the disliked mean decides."""
    right = 0
    for row in of_task(rows):
        vectors = thumbnails(row["images"])
        liked, disliked, (a, b) = vectors[:2].mean(0), vectors[2:4].mean(0), vectors[4:]
        direction = liked - disliked
        right += ("A" if a @ direction > b @ direction else "B") == row["answer"]
    assert right / 240 > 0.6


def test_the_toys_are_those_of_the_split():
    look = Profile("cartoon", "golden", "digital", "natural", "minimal")
    pictures = [picture("scene", look, split, 32) for split in ("train", "heldout", "test")]
    assert len({p.tobytes() for p in pictures}) == 3
    again = picture("scene", look, "train", 32)
    assert np.array_equal(np.asarray(again), np.asarray(pictures[0]))


def test_reading_rows_ask_for_the_terms_of_one_picture(rows):
    for row in of_task(rows, READING):
        assert len(row["images"]) == 1
        terms = row["answer"].split(", ")
        assert all(t in ELEMENTS[e] for t, e in zip(terms, ELEMENTS, strict=True))


def test_a_side_without_pictures_is_not_mentioned():
    words = preference_prompt(random.Random(0), 0, 0, load_prompts()[TASK])[0]["content"]
    assert "likes" not in " ".join(part["text"] or "" for part in words)
    told = preference_prompt(random.Random(0), 1, 0, load_prompts()[TASK] | {"system": "Hi"})
    assert told[0]["role"] == "system" and len(told) == 2


TASTE = Taste(
    Profile("anime", "teal", "etching", "muted", "plain"),
    Profile("cubism", "rust", "felt", "neon", "busy"),
)
LOOKS = (TASTE.disliked._replace(detail="plain"), TASTE.liked._replace(colour="jade"))


@pytest.mark.parametrize("wording", ["short", "long"])
def test_a_chain_in_either_wording_passes_the_filter_and_others_do_not(wording):
    text = chain(TASTE, LOOKS, wording)
    assert read_chain(text).totals == (9, 23)  # 5 for liked, 1 for disliked, 3 for neither
    assert fault_of(text, TASTE, "B") == ""
    assert fault_of(text, TASTE, "A") == "answer is wrong"
    assert fault_of(text, Taste(TASTE.disliked, TASTE.liked), "B") == "profile is not the user's"
    assert fault_of(text.replace("23", "24"), TASTE, "B") == "totals do not add up"
    with pytest.raises(ValueError, match="worth the same"):
        chain(TASTE, (TASTE.liked, TASTE.liked), wording)


def test_all_terms_of_the_real_vocabulary_go_through_a_chain():
    vocabulary = read_vocabulary()
    for i in range(86):
        liked, disliked = (
            Profile(*(terms[(i + k) % len(terms)] for terms in vocabulary.values())) for k in (0, 1)
        )
        taste = Taste(liked, disliked)
        for wording in ("short", "long"):
            assert fault_of(chain(taste, (liked, disliked), wording), taste, "A") == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"users": "all"}, "users must be one of seen, unseen, not 'all'"),
        ({"wording": "medium"}, "wording must be one of short, long"),
        ({"tastes": {2: 1.0}, "pictures": {1: 1.0}}, "1 cannot show 2 tastes"),
        ({"pictures": {6: 1.0}}, "pictures"),
        ({"exchanged": {3: 1.0}}, "exchanged"),
        ({"tastes": {0: 1.0}}, "tastes"),
    ],
)
def test_settings_that_cannot_be_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        PreferenceSettings(**given)


def test_the_toybox_refuses_other_toys_sizes_and_tasks():
    with pytest.raises(InputError, match="split must be one of"):
        ToyboxPreferenceSettings(split="all")
    with pytest.raises(InputError, match="size must be 32-512"):
        ToyboxPreferenceSettings(size=8)
    with pytest.raises(InputError, match="makes preference and picture_look; not 'naming'"):
        GENERATORS["toybox_preferences"].rows({"naming": 1}, 0, {})
