"""Verification: the policy says whether a concept is really in the image."""

import random

import numpy as np
import pytest
from PIL import Image

from concepts.importers import draw_toys
from concepts.methods import verification
from concepts.methods.verification import presence_row, reasoned_probabilities
from data_gen.toybox.scene import compose
from rl.policy.likelihood import yes_probabilities
from rl.policy.loading import load_policy
from tests.tiny import save_tiny_policy


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy"))


def test_the_shipped_policy_is_surer_of_what_is_there_than_of_what_is_not():
    """The tiny base tells toys of other kinds apart."""
    model, processor = load_policy("toybox_base")
    toys = draw_toys(8, 5)
    there, absent = [], []
    for i, (name, toy) in enumerate(toys.items()):
        image = compose(random.Random(i), [toy], 96).image
        other = next(n for n, t in toys.items() if t.kind != toy.kind and t.colour != toy.colour)
        rows = [
            presence_row(image, n, compose(random.Random(n), [toys[n]], 64).image)
            for n in (name, other)
        ]
        sure, unsure = yes_probabilities(model, processor, rows)
        there.append(sure)
        absent.append(unsure)
    assert np.mean(there) > np.mean(absent) + 0.2


def test_each_concept_is_asked_about_alone(policy):
    """Its probability does not depend on the others, nor on how many are asked at a time."""
    query = Image.new("RGB", (40, 40), "red")
    rows = [
        presence_row(query, name, Image.new("RGB", (40, 40), colour))
        for name, colour in (("bo", "red"), ("mia", "blue"), ("kim", "green"))
    ]
    found = yes_probabilities(*policy, rows)
    assert all(0 <= p <= 1 for p in found)
    alone = [yes_probabilities(*policy, [row], batch_size=1)[0] for row in rows]
    assert found == pytest.approx(alone, abs=1e-5)


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
