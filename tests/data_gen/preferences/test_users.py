"""Users have consistent tastes, and the two sides of the split share no profile."""

import random
from collections import Counter
from itertools import product

import pytest

from data_gen.files.errors import InputError
from data_gen.preferences.users import (
    Profile,
    Taste,
    draw_candidates,
    draw_user,
    is_unseen,
    read_vocabulary,
)
from data_gen.toybox.looks import ELEMENTS
from rewards.preference import ELEMENTS as NAMES

ALL = [Profile(*terms) for terms in product(*ELEMENTS.values())]


def users(tastes: int, unseen: bool, n: int, seed: int = 0):
    rng = random.Random(seed)
    return [draw_user(rng, ELEMENTS, tastes, unseen) for _ in range(n)]


def test_the_vocabulary_is_large_and_every_term_can_stand_in_a_chain():
    vocabulary = read_vocabulary()
    assert tuple(vocabulary) == NAMES
    assert sum(map(len, vocabulary.values())) >= 280


def terms_file(art_style: str) -> str:
    others = "".join(f"{element}: [a, b]\n" for element in NAMES[1:])
    return f"art_style: {art_style}\n{others}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("art_style: [a, b]", "must have the keys"),
        ("[1, 2]", "must have the keys"),
        (terms_file("[a]"), "two or more"),
        (terms_file("a, b"), "two or more"),
        (terms_file("[a, A]"), "a term twice"),
        (terms_file("[a, 'b, c']"), "must be words"),
        (terms_file("[a, '</liked>']"), "must be words"),
        (terms_file("[a, 1]"), "must be words"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(tmp_path, text, said):
    file = tmp_path / "terms.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_vocabulary(file)


def test_a_fifth_of_the_profiles_is_unseen():
    assert 0.17 < sum(map(is_unseen, ALL)) / len(ALL) < 0.23


@pytest.mark.parametrize("tastes", [1, 2])
def test_no_user_of_one_side_has_a_profile_of_the_other(tastes):
    of = {
        unseen: {
            profile
            for user in users(tastes, unseen, 40)
            for taste in user.tastes
            for profile in (taste.liked, taste.disliked)
        }
        for unseen in (False, True)
    }
    assert not of[True] & of[False]
    assert all(map(is_unseen, of[True])) and not any(map(is_unseen, of[False]))


def test_nothing_is_liked_by_one_taste_and_disliked_by_another():
    for user in users(2, False, 60):
        for a, b in product(user.tastes, repeat=2):
            assert all(x != y for x, y in zip(a.liked, b.disliked, strict=True))


def test_a_term_is_liked_as_often_as_it_is_disliked():
    liked, disliked = Counter(), Counter()
    for user in users(1, False, 3000):
        liked.update(user.tastes[0].liked)
        disliked.update(user.tastes[0].disliked)
    for term in liked:
        assert abs(liked[term] - disliked[term]) < 5 * (liked[term] + disliked[term]) ** 0.5


def test_candidates_exchange_as_many_elements_as_asked():
    rng = random.Random(1)
    taste = Taste(
        *(Profile(*terms) for terms in zip(*[v[:2] for v in ELEMENTS.values()], strict=True))
    )
    for n in (0, 1, 2):
        best, other = draw_candidates(rng, taste, n, seen_only=False)
        assert sum(a != b for a, b in zip(best, taste.liked, strict=True)) == n
        assert all(
            {a, b} == {x, y}
            for a, b, x, y in zip(best, other, taste.liked, taste.disliked, strict=True)
        )


def test_a_vocabulary_without_a_profile_of_the_side_is_refused():
    small = {element: terms[:2] for element, terms in ELEMENTS.items()}
    unseen = [p for terms in product(*small.values()) if is_unseen(p := Profile(*terms))]
    pairs = product(unseen, repeat=2)
    assert unseen and not [p for p in pairs if all(a != b for a, b in zip(*p, strict=True))]
    with pytest.raises(InputError, match="too small for users with 1 taste of the side unseen"):
        draw_user(random.Random(0), small, 1, unseen=True)
