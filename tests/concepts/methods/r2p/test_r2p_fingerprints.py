"""Fingerprints: what a policy wrote of a concept, without its name."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.concept import Concept
from concepts.methods.r2p.fingerprints import (
    MOST_FEATURES,
    Fingerprint,
    noun_phrase,
    owners_words,
    read_fingerprint,
)
from concepts.methods.r2p.prompts import load_prompts
from concepts.methods.r2p.replies import UnreadableReply
from data_gen.toybox.curriculum.knowledge import fingerprint
from data_gen.toybox.identity import draw_identity

BAG = """```json
{"general": "<alx> is a striped bag with leather trim.", "category": "handbag", "material":
 "canvas", "brand/text": "none", "distinct features": "tan handles, open top"}
```"""


def test_a_fingerprint_with_more_keys_than_were_asked_for():
    assert read_fingerprint(BAG, "alx") == Fingerprint(
        "striped bag with leather trim", "handbag", ("tan handles", "open top", "material: canvas")
    )
    assert read_fingerprint(BAG, "alx", "bag").category == "bag", "the owner knows better"


def test_the_toyboxs_fingerprints_are_read():
    toy = draw_identity(random.Random(3), held_out=False)
    read = read_fingerprint(fingerprint(toy, "太郎"), "太郎")
    assert read == Fingerprint(f"{toy.colour} {toy.kind}", toy.kind, tuple(toy.features))
    assert load_prompts("toybox").describe(read).startswith(f"{toy.colour} {toy.kind}, ")
    assert "body" not in load_prompts("toybox").describe(read)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"general": None}, "JSON without 'general'"),
        ({"general": "<bo> is a ."}, "JSON without 'general'"),
        ({"distinct features": []}, "JSON without 'distinct features'"),
        ({"distinct features": [{"a": 1}]}, "JSON without 'distinct features'"),
        ({"category": ...}, "JSON without 'category'"),
    ],
)
def test_what_is_missing_is_said(changes, reason):
    said = {"general": "<bo> is a dog.", "category": "dog", "distinct features": ["red"]} | changes
    said = {key: value for key, value in said.items() if value is not ...}
    with pytest.raises(UnreadableReply, match=reason):
        read_fingerprint(json.dumps(said), "bo")


@pytest.mark.parametrize(
    ("sentence", "phrase"),
    [
        ("<bo> is a red dog.", "red dog"),
        ("bo is an old dog", "old dog"),
        ("<Bo>: the dog of <mia>", "dog of mia"),
        ("<miswritten> is a red dog.", "red dog"),
        ("It is a red dog.", "red dog"),
        ("<bo>", ""),  # what a database says of a concept that its owner said nothing of
        ("A red dog.", "red dog"),
        ("a dog that is red", "dog that is red"),
        ("<|image_pad|> <image>", "|image_pad| image"),
    ],
)
def test_the_general_sentence_becomes_a_noun_phrase_without_tags(sentence, phrase):
    assert noun_phrase(sentence, "bo") == phrase


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50), st.lists(st.text(max_size=20), max_size=20))
def test_no_text_of_a_policy_brings_tags_or_lines_into_a_prompt(general, features):
    reply = json.dumps({"general": general, "category": "x<y>", "distinct features": features})
    try:
        read = read_fingerprint(reply, "bo")
    except UnreadableReply:
        return
    assert len(read.features) <= MOST_FEATURES
    for text in (read.general, read.category, *read.features):
        assert text.isprintable() and not set(text) & set("<>\n")


def test_the_owners_words_stand_in():
    concept = Concept("bo", info="<bo> is a red dog.", category="dog", attributes=("one eye",))
    assert owners_words(concept) == Fingerprint("red dog", "dog", ("one eye",))
    assert owners_words(Concept("bo", category="dog")).general == "dog"
    assert owners_words(Concept("bo")).general == ""
