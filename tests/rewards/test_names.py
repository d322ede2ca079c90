"""The written rule of `rewards.names`, clause by clause."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.names import Mention, Tally, find_mentions, find_names, names_written, tally
from rewards.ordinary_words import ORDINARY_WORDS
from tests.places import SHARED

REPIC = SHARED / "repic"


def written(text, *names):
    return sorted(names_written(text, names))


# --- 1 and 2: tags ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["<bo>", "<Bo>", "< bo >", "<<bo>>", "<bo\n>", "a<bo>b", "<bo>'s ball", "<bo>’s", "<bo's>"]
    + ["**<bo>**", "＜ｂｏ＞", "<b\u00ado>", "\u202e<bo>\u202c", "<bo>-like", "<zed><bo>"],
)
def test_a_tag_always_counts(text):
    assert written(text, "bo") == ["bo"]


@pytest.mark.parametrize("text", ["", "<b o>", "<bo the dog>", "<bob>", "<>", "< >"])
def test_what_is_no_tag_of_that_name(text):
    assert written(text, "bo") == []


def test_tags_of_several_words():
    assert written("<black widow>'s wheels", "black widow") == ["black widow"]
    assert written("<Black_Widow>", "black widow") == ["black widow"]
    assert written("<bull dog>", "Bull_dog") == ["Bull_dog"]
    assert written("<black> <widow>", "black widow") == []


def test_one_letter_names_need_their_tag():
    assert written("<T> wears it", "T") == ["T"]
    assert written("T wears a t-shirt. T's. 陈", "T", "陈") == []
    assert written("<陈>在公园", "陈") == ["陈"]


def test_names_that_are_no_letters_need_their_tag():
    assert written("<🐶> sleeps", "🐶") == ["🐶"]
    assert written("🐶 sleeps", "🐶") == []


# --- 3: closing tags -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["</bo>", "< /Bo>", "</Bo", "dog</bo>", "</ bo >", "</bo's>"])
def test_a_closing_tag_is_no_mention(text):
    assert written(text, "bo") == []


def test_a_closed_name_is_reported():
    """So that rewards can refuse markup, while a benchmark may still count the opening tag."""
    found = find_names("<bo>A dog</bo> beside <zuri>", ["bo", "zuri"])
    assert found.written == {"bo", "zuri"} and found.closed == {"bo"} and not found.unlisted


# --- 4a: whole -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["Bo sleeps.", "This is Bo's ball", "Bo’s", "(Bo)", '"Bo"', "'Bo'", "**Bo**", "with Bo.", "Bo"]
    + [
        "Bo: a dog",
        "Bo - a dog",
        "Bo—a dog",
        "Bo/Zed",
        "bo sleeps",
        "BO",
        "Bo'",
        "the dog bo\nsits",
    ],
)
def test_a_bare_name_counts_when_it_is_whole(text):
    assert written(text, "bo") == ["bo"]


@pytest.mark.parametrize(
    "text",
    ["Bobby", "Limbo", "Bo-like", "T-Bo", "Bo'sun", "O'Bo", "Bo'ness", "Bo_1", "Bo2"]
    + ["Boé", "Bo\u0301", "BoЯ", "ÉBo"],
)
def test_a_name_inside_another_word_does_not(text):
    assert written(text, "bo") == []


def test_the_longest_listed_name_is_the_one_meant():
    names = ("bo", "bo peep", "peep")
    assert written("Bo Peep sleeps", *names) == ["bo peep"]
    assert written("Bo Peep and Bo sleep", *names) == ["bo", "bo peep"]
    assert written("Bo peeping", *names) == ["bo"]
    assert written("New York City", "new york", "york city") == ["york city"]


def test_no_name_reaches_across_a_tag():
    assert written("Mister <x> Zuri", "mister zuri") == []
    assert written("Mister\n  Zuri", "mister zuri") == ["mister zuri"]


# --- 4c: ordinary words ----------------------------------------------------------------------


def test_an_ordinary_word_in_lower_case_is_no_name():
    """FACTS' examples: "t-shirt" is not <T>, "a bond" is not <Bond>."""
    assert written("a bond between friends", "Bond") == []
    assert written("Anya hugs Bond. Bond's tail wags.", "Anya", "Bond") == ["Anya", "Bond"]
    assert written("Bond sits.", "Bond") == ["Bond"]
    assert written("a red can beside a black widow", "can", "black widow") == []


def test_a_capital_shows_a_name_unless_the_sentence_gives_it():
    assert written("we see Can and Black Widow", "can", "black widow") == ["black widow", "can"]
    for text in ("Can of beer.", "A dog. Can of beer.", '"Can of beer"', "- Can", "Caption:\nCan"):
        assert written(text, "can") == [], text
    assert written("Black widow on a web. Black Widow", "black widow") == ["black widow"]


def test_capitals_throughout_show_nothing():
    assert written("THE CAN IS RED", "can") == []
    assert written("see CAN now", "CAN") == ["CAN"]


def test_an_underscore_or_digit_shows_a_name():
    assert written("a red backpack dog", "backpack_dog") == []
    assert written("a red backpack_dog", "backpack_dog") == ["backpack_dog"]
    assert written("the cat2 sleeps", "cat2", "cat") == ["cat2"]
    assert written("parrot 1 and Parrot_2", "Parrot_1", "Parrot_2") == ["Parrot_1", "Parrot_2"]


def test_the_word_list_is_in_comparable_form():
    assert all(word == word.casefold() and word.isalpha() for word in ORDINARY_WORDS)


# --- 1 and 5: Unicode ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Zoe\u0308 sleeps", "zoë"),
        ("ZOË", "Zoe\u0308"),
        ("STRASSER sleeps", "Straßer"),
        ("ⅫⅠ ﬁfi sleeps", "fifi"),
        ("İpek ve ben", "i̇pek"),
        ("وهذا بو في الحديقة", "بو"),
        ("\u200fהכלב בובו ישן", "בובו"),
        ("Это Ольга, моя собака", "ольга"),
        ("यह राम है", "राम"),
        ("우리 집 보리 사진", "보리"),
    ],
)
def test_names_in_other_scripts(text, name):
    assert written(text, name) == [name]


def test_scripts_without_spaces():
    """No border can be seen there, so a name counts wherever it stands; two borders can."""
    assert written("小明在公园里睡觉", "小明") == ["小明"]
    assert written("这是小明星", "小明") == ["小明"], "wrong, and written down as the rule's limit"
    assert written("มานีนอนหลับ", "มานี") == ["มานี"]
    assert written("ポチが寝ている", "ポチ") == ["ポチ"]
    assert written("ポチタが寝ている", "ポチ") == [], "a run of katakana is one word"
    assert written("我的Bo很可爱", "bo") == ["bo"], "a change of script ends a word"
    assert written("นานาน่ารัก", "นานาน") == [], "a mark belongs to its letter"
    assert written("राम और रामा", "रामा") == ["रामा"]
    assert written("यह रामा है", "राम") == []


def test_accents_and_look_alikes_are_other_names():
    assert written("<Zoe> <bо>", "Zoë", "bo") == []  # the second о is Cyrillic


# --- 6: unlisted tags ------------------------------------------------------------------------


def test_unlisted_tags_are_reported_folded():
    text = "<Bo> and <Black  Widow>, <ZED>'s friend, </end> <br> <3>"
    assert find_names(text, ["bo"]).unlisted == {"black widow", "zed", "br", "3"}


@pytest.mark.parametrize(
    "text", ["<>", "< >", "<|im_end|>", "<!-- x -->", "</x>", "<" + "a" * 81 + ">"]
)
def test_what_is_no_tag_at_all(text):
    assert find_names(text, ["bo"]).unlisted == set()


# --- robustness ------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=[])), st.lists(st.text(min_size=1), max_size=4))
def test_any_text_and_any_names(text, names):
    """What is found is always a subset of what was given; only a blank name is refused."""
    try:
        found = find_names(text, names)
    except ValueError as error:
        assert "blank" in str(error)
    else:
        assert found.written <= set(names) and found.closed <= set(names)


@given(st.sampled_from(["bo", "black widow", "T", "小明", "Bull_dog", "мила", "Zoë", "can", "🐶"]))
def test_every_name_is_found_in_its_own_tag(name):
    assert written(f"Here <{name}> sleeps.", name) == [name]


def test_a_blank_name_is_an_error():
    with pytest.raises(ValueError, match="blank"):
        find_names("text", ["bo", " _ "])


@pytest.mark.parametrize(
    "text",
    ["<" * 100_000, "bo " * 33_333, "bo" * 50_000, "black" + " " * 100_000, "Bo Peep " * 12_500]
    + ["a" + "\u0300\u0327" * 50_000, "\u0f73" * 100_000, "\uff9e\u0300" * 50_000, "İ" * 100_000],
    ids=lambda text: ascii(text[:8]),
)
def test_time_is_linear_in_the_text(text):
    """Among them marks whose sorting inside `unicodedata.normalize` would be quadratic."""
    started = time.process_time()
    find_names(text, ["bo", "bo bo", "black widow", "bo peep", "小明", "aaaaaaaaaa"])
    assert time.process_time() - started < 1.5


# --- places ----------------------------------------------------------------------------------


def test_mentions_are_where_names_are_written():
    text = "Bo's ball, <black widow> and <Zed>; </bo> Black Widow, BO"
    found = find_mentions(text, ["bo", "black widow"])
    assert [(text[m.start : m.end], m.name) for m in found] == [
        ("Bo", "bo"),
        ("<black widow>", "black widow"),
        ("<Zed>", "zed"),
        ("Black Widow", "black widow"),
        ("BO", "bo"),
    ]
    # Case folding may lengthen a text; places are those of the text itself.
    assert find_mentions("Straße Bo", ["bo"]) == [Mention(7, 9, "bo")]


@given(st.lists(st.sampled_from(["<bo>", "Bo", "</bo>", "<zed>", "x", " ", ".", "ß", "小明"])))
def test_mentions_are_of_the_names_that_are_found(pieces):
    text, names = "".join(pieces), ["bo", "小明"]
    found = find_names(text, names)
    assert {m.name for m in find_mentions(text, names)} == found.written | found.unlisted


# --- counting --------------------------------------------------------------------------------


def test_tally_counts_sets():
    score = tally(written={"bo", "zuri"}, expected={"bo", "mila"}, unlisted={"zed"})
    assert score == Tally(hits=1, extra=2, missed=1)
    assert (score.precision, score.recall, score.f1) == (1 / 3, 1 / 2, 2 / 5)


def test_tally_by_place():
    """An expected name counts on its own subject, and each other place is an extra."""
    names = ["bo", "mila", "zuri"]
    assert tally(names, names, places={"bo": [True], "mila": [True, False], "zuri": []}) == Tally(
        hits=2, extra=1, missed=1
    )
    assert tally(names, names, places={"bo": [False, False]}) == Tally(hits=0, extra=2, missed=3)
    assert tally(["bo", "kim"], ["bo"], ["zed"], {"bo": [True]}) == tally(
        ["bo", "kim"], ["bo"], ["zed"]
    )
    assert tally([], ["bo"], places={"bo": [True]}) == Tally(missed=1), (
        "closed tags are not written"
    )


def test_tally_where_nothing_is_due_or_written():
    assert tally([], []).f1 == 1
    assert tally(["bo"], []).f1 == 0
    assert (tally([], ["bo"]).precision, tally([], ["bo"]).recall) == (1, 0)


def test_tallies_add_up_to_the_micro_average():
    total = sum([tally(["bo"], ["bo"]), tally(["zed"], ["bo"])], Tally())
    assert total == Tally(hits=1, extra=1, missed=1) and total.f1 == 0.5


@pytest.mark.skipif(not REPIC.is_dir(), reason="the sample data are not beside the checkout")
def test_on_the_captions_that_repic_published():
    """Strict figures beside the published ones (75.0 and 98.8 % recall on two concepts)."""
    recall = {}
    for policy in ("zero_shot", "repic"):
        rows = json.loads((REPIC / f"captions_2_concepts_{policy}.json").read_text("utf-8"))
        listed = {name.strip("<>") for row in rows for name in row[1]}
        total = Tally()
        for _, names, caption, _ in rows:
            found = find_names(caption, listed)
            total += tally(found.written, [name.strip("<>") for name in names], found.unlisted)
        recall[policy] = round(100 * total.recall, 1)
    assert recall == {"zero_shot": 70.7, "repic": 99.4}
