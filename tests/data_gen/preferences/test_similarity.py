"""How alike pictures of two profiles are, as the reward for profiles asks it."""

import random

from data_gen.preferences.similarity import toybox_pictures
from data_gen.preferences.users import Profile, draw_profile
from data_gen.toybox.looks import ELEMENTS
from rewards import profile_similarity

LOOK = Profile("cartoon", "golden", "digital", "natural", "moderate")


def test_the_same_profile_draws_the_same_picture_and_no_other_is_as_near():
    rng = random.Random(0)
    others = [draw_profile(rng, ELEMENTS) for _ in range(12)]
    same, *found = toybox_pictures([(LOOK, LOOK), *((other, LOOK) for other in others)], size=32)
    assert same == 1.0
    assert all(
        0.0 <= value < 1.0 for value, other in zip(found, others, strict=True) if other != LOOK
    )


def test_one_wrong_element_costs_less_than_five():
    one = LOOK._replace(saturation="muted")
    five = Profile("mosaic", "dusky", "pencil", "muted", "intricate")
    near, far = toybox_pictures([(one, LOOK), (five, LOOK)], size=32)
    assert near > far


def test_terms_that_cannot_be_drawn_are_worth_nothing():
    wrong = LOOK._replace(colour="<b>")
    assert toybox_pictures([(wrong, LOOK), (LOOK, wrong)], size=32) == [0.0, 0.0]
    assert toybox_pictures([]) == []


def test_the_reward_takes_it_by_its_address():
    said = f"<liked>{', '.join(LOOK)}</liked>"
    truth = {"liked_profile": [list(LOOK)], "disliked_profile": [list(LOOK._replace(colour="icy"))]}
    settings = {"pictures_settings": {"size": 32, "scenes": 1}, "picture_weight": 1.0}
    (found,) = profile_similarity(
        [said], task=["preference"], pictures=toybox_pictures, **truth, **settings
    )
    assert found == 0.5  # the opposite was not said
