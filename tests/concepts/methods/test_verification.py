"""Verification: the policy says which of the retrieved concepts are really in the image."""

import random

import numpy as np
import pytest
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import draw_toys, toybox_database
from concepts.methods import verification
from concepts.methods.verification import (
    presence_probabilities,
    presence_row,
    reasoned_probabilities,
    verify,
)
from concepts.retrieval import Found
from data_gen.toybox.scene import compose
from rl.policy.likelihood import yes_probabilities
from rl.policy.loading import load_policy
from tests.tiny import save_tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy"))


def test_the_shipped_policy_keeps_what_is_there_more_often_than_what_is_not(tmp_path):
    """The tiny base tells toys of other kinds apart; retrieval brings both."""
    model, processor = load_policy("toybox_base")
    database = toybox_database(tmp_path / "toys", 8, 5)
    toys = draw_toys(8, 5)
    there, absent = [], []
    for i, (name, toy) in enumerate(toys.items()):
        image = compose(random.Random(i), [toy], 96).image
        other = next(n for n, t in toys.items() if t.kind != toy.kind and t.colour != toy.colour)
        kept, dropped = verify(
            model, processor, image, [Found(name, "image"), Found(other, "image")], database
        )
        sure = {one.name: one.p_yes for one in kept + dropped}
        assert all((sure[one.name] >= 0.5) == (one in kept) for one in kept + dropped)
        there.append(sure[name])
        absent.append(sure[other])
    assert np.mean(there) > np.mean(absent) + 0.2


def test_what_has_left_the_database_is_dropped_unasked(policy, tmp_path):
    database = Database(tmp_path / "database.json")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "0.png")
    database.add(Concept("bo", ("0.png",)))
    database.image_path("0.png").write_bytes(b"no image any more")
    query = Image.new("RGB", (40, 40), "red")
    kept, dropped = verify(
        *policy, query, [Found("bo", "image"), Found("who", "image")], database, threshold=0.0
    )
    assert kept == [] and [one.p_yes for one in dropped] == [None, None]
    assert verify(*policy, query, [], database) == ([], [])


def test_each_candidate_is_asked_about_alone(policy):
    """Its probability does not depend on the others, nor on how many are asked at a time."""
    query = Image.new("RGB", (40, 40), "red")
    candidates = [
        (name, Image.new("RGB", (40, 40), colour))
        for name, colour in (("bo", "red"), ("mia", "blue"), ("kim", "green"))
    ]
    found = presence_probabilities(*policy, query, candidates)
    assert all(0 <= p <= 1 for p in found)
    alone = [presence_probabilities(*policy, query, [one], batch_size=1)[0] for one in candidates]
    assert found == pytest.approx(alone, abs=1e-5)
    assert presence_probabilities(*policy, query, []) == []


def test_after_reasons_it_is_the_probability_of_the_last_yes_or_no(policy, monkeypatch):
    """Read off behind the policy's own reasons; yes and no in the reasons do not count."""
    model, processor = policy
    row = presence_row(
        Image.new("RGB", (40, 40), "red"), "bo", Image.new("RGB", (40, 40), "blue"), reasons=True
    )
    assert "First say what either picture shows" in row["prompt"][0]["content"][-1]["text"]
    said = ["No ears, yes a hat; so yes", "neither of them", ""]
    monkeypatch.setattr(
        verification, "complete", lambda m, p, rows, n: [(said[i], 1) for i in range(len(rows))]
    )
    monkeypatch.setattr(verification, "length_batches", lambda sizes, n: [list(range(len(sizes)))])
    found = reasoned_probabilities(model, processor, [row] * 3)
    begun = ["No ears, yes a hat; so", "neither of them ", " "]
    assert found == pytest.approx(yes_probabilities(model, processor, [row] * 3, begun=begun))
    assert len(set(found)) == 3
    plain = yes_probabilities(model, processor, [row])
    assert plain == pytest.approx(yes_probabilities(model, processor, [row], begun=[""]))


def test_reasons_are_the_policys_own(policy):
    model, processor = policy
    row = presence_row(
        Image.new("RGB", (40, 40), "red"), "bo", Image.new("RGB", (40, 40), "blue"), reasons=True
    )
    (p,) = reasoned_probabilities(model, processor, [row])
    assert 0 <= p <= 1
