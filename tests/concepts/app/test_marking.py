"""What the page shows of an answer: names coloured, everything escaped."""

import re

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from concepts.app.marking import answer_html, colours_of, reasons, who_html, with_boxes
from concepts.methods.protocol import Evidence

EVIL = '<img src=x onerror="alert(1)"> <script>x</script> & "\''


def test_a_name_that_is_there_is_coloured_and_one_that_is_not_is_struck_through():
    said = answer_html("<bo> sits beside <mia>.", ["bo"], ["bo", "mia"])
    assert f'<mark style="background:{colours_of(["bo"])["bo"]}">bo</mark>' in said
    assert '<mark class="absent"' in said and ">mia</mark>" in said


def test_names_without_brackets_are_found_as_rewards_find_them():
    assert "Bo</mark>" in answer_html("Bo sleeps, and boredom grows.", ["bo"], ["bo"])
    assert answer_html("boredom grows", ["bo"], ["bo"]).count("<mark") == 0


@given(st.text(max_size=200), st.lists(st.sampled_from(["bo", "mia", EVIL]), max_size=3))
def test_whatever_is_written_no_tag_of_it_reaches_the_page(text, there):
    for words in (text, EVIL + text, f"<{EVIL}>"):
        page = answer_html(words, there, ["bo", "mia"]) + who_html([Evidence(words or "x")])
        ours = r"</?(div|mark|ul|li|b|p)( (class|style|title)=\"[\w #:.-]*\")*>"
        assert "<" not in re.sub(ours, "", page)


def test_nobody_is_an_answer_in_words():
    page = who_html([Evidence("bo", 0.31, 0.02, used=False)])
    assert "Nobody and nothing of yours" in page and "similarity 0.31, p 0.02" in page
    assert "Nobody" not in who_html([Evidence("bo", 0.9, 0.9)])
    assert reasons(Evidence("bo")) == ": named in the question"


def test_a_long_answer_is_cut_and_says_so():
    assert "6,000 more characters" in answer_html("x" * 10_000, [], [])


def test_boxes_are_drawn_where_they_are():
    image = Image.new("RGB", (100, 100), "white")
    drawn = with_boxes(image, [("bo", (0.25, 0.5, 0.75, 0.9))])
    assert drawn.size == (400, 400)  # small images are enlarged
    edge = tuple(int(colours_of(["bo"])["bo"][i : i + 2], 16) for i in (1, 3, 5))
    assert drawn.getpixel((200, 200)) == edge and drawn.getpixel((200, 280)) == (255, 255, 255)
    with_boxes(image, [("ทดสอบ", (0.9, 0.9, 0.1, 0.1))])  # no glyphs, corners swapped
