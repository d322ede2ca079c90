"""The whole-word tokenizer of the tiny CLIP and diffusion model."""

from data_gen.toybox.identity import ACCESSORIES, COLOURS, KINDS
from data_gen.toybox.models.tokenizer import END, PAD, UNKNOWN, toybox_words, word_tokenizer


def test_every_word_of_the_toybox_is_one_token():
    words = toybox_words()
    assert words == sorted(set(words))
    assert {*KINDS, *COLOURS} | {w for a in ACCESSORIES for w in a.split()} <= set(words)
    ids = word_tokenizer(words, 200)(" ".join(words)).input_ids
    assert len(set(ids)) == len(ids) == len(words) + 1 and ids[-1] == END


def test_other_characters_are_spaces_and_other_words_unknown():
    tokenizer = word_tokenizer(toybox_words(), 8)
    assert tokenizer("Red, BEAR!").input_ids == tokenizer("red bear").input_ids
    assert tokenizer("red spaceship").input_ids[1] == UNKNOWN
    padded = tokenizer("red bear", padding="max_length", truncation=True).input_ids
    assert len(padded) == 8 and padded[3:] == [PAD] * 5
    assert len(tokenizer("red bear " * 20, truncation=True).input_ids) == 8
