"""What counts as length, and the reward for being about as long as asked."""

import random
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data_gen.toybox.identity import draw_identity, hard_negative
from data_gen.toybox.language import caption
from data_gen.toybox.scene import Placed, Scene, draw_stage
from rewards import caption_length
from rewards.length import counted_length, full_length, new_share
from tests.rewards.conftest import CAPTION, NAMED

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
invisible = st.text(
    st.one_of(
        st.characters(categories=["Cc", "Cf", "Co", "Cs", "Zs", "Zl", "Zp", "Me"]),
        st.sampled_from("\u115f\u1160\u2800\u3164\uffa0\ufe0f\u0300\ufffd\U000e0041\U000e0100"),
    ),
    min_size=1,
    max_size=40,
)


def words(text: str) -> int:
    return counted_length(text, [], "words")


def test_the_toyboxs_true_captions_keep_their_full_length():
    """Up to four toys, at random or each like another but for one attribute, named or not."""
    rng = random.Random(0)
    for case in range(200):
        toys = [draw_identity(rng, held_out=False)]
        for _ in range(case % 4):
            like = case % 2 and hard_negative(rng, rng.choice(toys))
            toys.append(like or draw_identity(rng, held_out=False))
        placed = [Placed(toy, rng.random(), 0.5, 0.5, 0.0, 0) for toy in toys]
        names = rng.sample([None, "bo", "Mila", "진우", "ฌาฆีภัตฐ์"], len(toys))
        scene = Scene(None, placed, [], draw_stage(rng))  # no image: the text needs none
        text = caption(rng, scene, names, "long")
        ids = list(range(len(text) // 4))
        assert counted_length(text, ids) == len(ids), text


@pytest.mark.parametrize(
    "text",
    [
        CAPTION,
        "One.\n\n  - A paragraph, indented.\n  - Another one.",
        "گربه‌ای روی صندلی می‌نشیند و به پنجره نگاه می‌کند.",  # Persian, with joiners
        "एक छोटा कुत्ता लाल पट्टे के साथ घास पर बैठा है।",  # vowel signs are marks
        "สุนัขสีน้ำตาลตัวเล็กนั่งอยู่บนโซฟาสีเทา",
        "一只棕色的小狗坐在灰色沙发上，旁边放着一辆粉色的玩具车。",
        "Un cafe\u0301 glace\u0301 sur la fore\u0302t",  # é in two parts
        "Một chú cho\u0301 nhỏ ngo\u0302\u0300i tre\u0302n ghe\u0302\u0301.",
        "A family 👩\u200d👩\u200d👧 in love ❤\ufe0f\u200d🔥 with their dog.",
        "הַכֶּלֶב יוֹשֵׁב עַל הַסַּפָּה",  # pointed Hebrew
    ],
)
def test_ordinary_text_loses_nothing(text):
    ids = list(range(len(text)))
    assert counted_length(text, ids) == len(ids)
    assert counted_length(text, ids, "characters") == len(text)


@given(filler=invisible, at=st.integers(0, len(NAMED)))
@quick
def test_what_shows_nothing_adds_no_length(filler, at):
    """Each of its bytes may be a token, and none counts, but for four spaces between words."""
    text, plain = NAMED[:at] + filler + NAMED[at:], list(range(90))
    ids = plain + [0] * len(filler.encode("utf-8", "surrogatepass"))
    assert counted_length(text, ids) <= len(plain) + 4 * 3  # a wide space has three bytes


@given(
    caption=st.lists(st.sampled_from(CAPTION.split()), min_size=3, max_size=30).map(" ".join),
    times=st.integers(2, 12),
)
@example(caption="small small A A A", times=3)
@quick
def test_repeating_multiplies_a_length_by_no_more_than_what_the_docstring_says(caption, times):
    once = full_length(caption, [], "words")
    # The two words behind the first seam are new, and count for more where others are shorter.
    heaviest = max(1 + len(word) // 4 for word in caption.split())
    assert words(f"{caption} " * times) <= (once + 2 * heaviest) / 0.65
    numbered = " ".join(f"{i}. {caption}" for i in range(times))
    assert words(numbered) <= (once + 4 * heaviest) / 0.65


@given(text=st.text(max_size=80), given_text=st.text(max_size=80))
@quick
def test_length_is_never_more_than_what_is_written(text, given_text):
    ids = list(range(len(text)))
    for unit in ("tokens", "words", "characters"):
        assert (
            0 <= counted_length(text, ids, unit, prompt=given_text) <= full_length(text, ids, unit)
        )
    assert 0 <= new_share(text, given_text) <= 1


def test_blanks_are_no_way_over_the_floor():
    assert counted_length("<bo>" + "\n" * 100, [7] + [8] * 100) == 5
    assert counted_length("<bo>" + "\u200b \x00" * 34, [7] + [8] * 102) <= 5
    assert counted_length("One.\n\n  - Two.", range(9)) == 9, "a paragraph is none the shorter"
    assert counted_length(" " * 50, [7]) == 0


def test_an_echo_of_the_prompt_has_no_length():
    info = "This is <bo>, a small brown dog with a red collar and a scratch on its left ear."
    assert counted_length(info, list(range(40)), prompt=info) < 15
    assert counted_length(info, list(range(40))) == 40
    own = "A brown dog with a red collar, <bo>, lies in the grass."
    assert counted_length(own, list(range(40)), prompt=info) == 40


def test_length_takes_linear_time():
    started = time.process_time()
    counted_length("a\u0300\u200b b" * 20_000, [7])
    assert time.process_time() - started < 3


def test_the_band(batch):
    """100 asked: all from 50 to 200, half at 25 and 300, nothing at 0 and 400."""
    ids = {0: 0, 25: 0.5, 50: 1, 100: 1, 200: 1, 300: 0.5, 400: 0, 900: 0}
    for tokens, reward in ids.items():
        case = batch([CAPTION], "identity_consistency", completion_ids=[7] * tokens + [2])
        assert caption_length(**case, asked_length=100, uncounted_ids=[2]) == [reward], tokens


def test_what_is_asked_may_be_a_column(batch):
    case = batch([CAPTION] * 3, "identity_consistency") | {"asked_length": [120, 480, None]}
    assert caption_length(**case) == [1, 0.5, None]
    assert caption_length(**batch([CAPTION], "object_consistency"), asked_length=100) == [None]
    (inside,) = caption_length(
        **batch([CAPTION], "identity_consistency"), asked_length=80, unit="words"
    )
    assert inside == 1


def test_padding_helps_on_neither_side(batch):
    short = "A dog on a sofa."
    lengths = {"plain": short, "padded": short + "\u2800" * 300, "repeated": short * 40}
    for text in lengths.values():
        tokens = len(text.encode()) if "\u2800" in text else len(text) // 3
        case = batch([text], "identity_consistency", completion_ids=[7] * tokens)
        assert caption_length(**case, asked_length=100)[0] <= 0.2
    case = batch([short * 100], "identity_consistency", completion_ids=[7] * 500)
    assert caption_length(**case, asked_length=100) == [0], "too long by all that is written"


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"unit": "lines"}, "unit is 'lines'"),
        ({"band": [2, 1]}, "band is"),
        ({"band": [0, 1]}, "band is"),
        ({"band": [1]}, "band is"),
        ({"asked_length": 0}, "asked_length is 0"),
        ({"asked_length": [100, -1]}, "asked_length is -1"),
    ],
)
def test_wrong_settings_are_errors(wrong, message, batch):
    with pytest.raises(ValueError, match=message):
        caption_length(**batch([CAPTION] * 2, "identity_consistency"), **wrong)
