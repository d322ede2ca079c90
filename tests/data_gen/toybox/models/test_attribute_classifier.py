"""The attribute classifier learns, is saved and loaded, and is measured."""

import random

import pytest
import torch

from data_gen.files.errors import InputError
from data_gen.toybox.identity import KINDS, draw_identity
from data_gen.toybox.models.attribute_classifier import (
    AttributeClassifier,
    ClassifierShape,
    classifier_accuracy,
    classifier_loss,
    classify_toys,
    labels,
    load_attribute_classifier,
    pair_halves,
    save_attribute_classifier,
)


def test_the_classifier_learns_is_saved_and_loaded(tmp_path, pairs):
    torch.manual_seed(0)
    model = AttributeClassifier(ClassifierShape(32, (16, 32)))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    picks = range(24)
    losses = []
    for step in range(25):
        loss = classifier_loss(model, pairs, picks, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    images, truth = pair_halves(pairs, picks)
    model.eval()
    right = classifier_accuracy(classify_toys(model, images), truth)
    assert right["colour"] > 0.5  # of images it was trained on
    save_attribute_classifier(model, tmp_path, {"measured": right})
    with torch.no_grad():
        for name, scores in load_attribute_classifier(tmp_path)(images).items():
            assert torch.allclose(scores, model(images)[name], atol=0.05)
    with pytest.raises(InputError, match="holds no attribute classifier"):
        load_attribute_classifier(tmp_path / "nowhere")


def test_accuracy_counts_attributes_and_whole_toys():
    truth = [draw_identity(random.Random(i), held_out=True) for i in range(2)]
    read = [dict(vars(identity)) for identity in truth]
    assert set(classifier_accuracy(read, truth).values()) == {1.0}
    read[0]["kind"] = next(k for k in KINDS if k != truth[0].kind)
    found = classifier_accuracy(read, truth)
    assert found["kind"] == found["all six"] == 0.5 and found["colour"] == 1
    assert labels(truth)["kind"].tolist() == [KINDS.index(i.kind) for i in truth]
