"""Released histories are read; whatever is wrong with them is counted by reason."""

import json

import pytest
from PIL import Image

from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.generators import GENERATORS
from data_gen.preferences.chains import chain
from data_gen.preferences.released import read_histories
from data_gen.preferences.users import Profile, Taste
from data_gen.rows import check_row
from data_gen.rows.indexed import Skipped
from rewards.preference import TASK

LIKED = Profile("anime", "teal", "etching", "muted", "plain")
DISLIKED = Profile("cubism", "rust", "felt", "neon", "busy")
TASTE = Taste(LIKED, DISLIKED)


def attributes(profile, medium="Artistic Medium"):
    keys = ("Art Styles", "Color", medium, "Saturation", "Detail")
    return dict(zip(keys, profile, strict=True))


def entry(**changes):
    return {
        "user_id": "u1",
        "prefered_images": ["l/0.png", "l/1.png"],
        "non_prefered_images": ["d/0.png", "d/1.png"],
        "imageA": "a.png",
        "imageB": "b.png",
        "prefer_attributes": attributes(LIKED),
        "non_prefer_attributes": attributes(DISLIKED, "ArtisticMedium"),
        "conversations": [
            {"from": "human", "value": "Which?"},
            {"from": "gpt", "value": "Image B"},
        ],
    } | changes


def pick(**changes):
    return {
        "user_id": 7,
        "reference_list": ["l/0.png"],
        "reference_list_bad": ["d/0.png"],
        "image0": "a.png",
        "image1": "b.png",
        "label": 1,
    } | changes


@pytest.fixture
def folder(tmp_path):
    names = ("l/0", "l/1", "l/2", "l/3", "l/4", "l/5", "d/0", "d/1", "a", "b")
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), (20 * i, 90, 5)).save(tmp_path / f"{name}.png")
    return tmp_path


def read(folder, *entries, lines=False):
    file = folder / "test.json"
    text = "\n".join(map(json.dumps, entries)) if lines else json.dumps(list(entries))
    file.write_text(text)
    skipped = SkippedItems()
    return read_histories(file, folder, skipped), skipped


@pytest.mark.parametrize("lines", [False, True])
def test_both_formats_are_read(folder, lines):
    (one, two), skipped = read(folder, entry(), pick(), lines=lines)
    assert not skipped
    assert (one.answer, one.profiles) == ("B", (LIKED, DISLIKED))
    assert [file.name for file in one.candidates] == ["a.png", "b.png"]
    assert (two.answer, two.profiles, len(two.liked)) == ("A", None, 1)


def test_an_answer_may_stand_in_a_chain_and_five_pictures_are_used(folder):
    said = chain(TASTE, (DISLIKED, LIKED), "long")
    many = [f"l/{i}.png" for i in range(6)]
    (one,), _ = read(folder, entry(conversations=[{"value": said}], prefered_images=many))
    assert one.answer == "B" and one.chain == said and len(one.liked) == 5


DEFECTS = {
    "entry that is no object": 3,
    "tie": pick(label=0.5),
    "without an answer": entry(conversations=[{"value": "both"}]),
    "without a history of both kinds": entry(non_prefered_images=[]),
    "no picture of a history is there": entry(prefered_images=["gone.png", 4]),
    "candidate that is missing": entry(imageB="c.png"),
    "both candidates are one file": entry(imageB="a.png"),
    "picture both liked and disliked": entry(non_prefered_images=["l/0.png"]),
    "candidate that stands in the history": entry(prefered_images=["a.png"]),
    "question that stands there twice": entry(imageA="b.png", imageB="a.png"),
}  # fmt: skip


@pytest.mark.parametrize(("reason", "broken"), DEFECTS.items(), ids=DEFECTS)
def test_a_defect_costs_its_question_and_is_counted(folder, reason, broken):
    found, skipped = read(folder, entry(), broken)
    assert len(found) == 1 and skipped[reason] == 1


@pytest.mark.parametrize("label", [True, None, "1", 2, -1])
def test_a_label_that_is_none_is_no_answer(folder, label):
    _, skipped = read(folder, entry(), pick(label=label))
    assert skipped["without an answer"] == 1


def test_what_costs_no_question_is_counted_too(folder):
    lost = ["l/0.png", "gone.png"]
    found, skipped = read(
        folder, entry(prefered_images=lost), pick(reference_list=["l/1.png", None])
    )
    assert len(found) == 2 and skipped.total == 2
    partial = attributes(LIKED) | {"Detail": " "}
    found, skipped = read(folder, entry(prefer_attributes=partial))
    assert found[0].profiles is None
    assert skipped["profile without five terms (the question is kept)"] == 1


def test_a_file_without_any_question_is_refused(folder):
    with pytest.raises(InputError, match="no question can be used; .*tie"):
        read(folder, pick(label=0.5))
    with pytest.raises(InputError, match="is no folder"):
        read_histories(folder / "test.json", folder / "nowhere", SkippedItems())


def rows_of(folder, *entries, **settings):
    (folder / "test.json").write_text(json.dumps(list(entries)))
    given = {"path": str(folder / "test.json"), "images": str(folder), "image_format": "png"}
    n = settings.pop("n", len(entries))
    return GENERATORS["released_preferences"].rows({TASK: n}, 0, given | settings)


def test_rows_exchange_candidates_by_lot_and_keep_the_answer(folder):
    entries = [
        entry(prefered_images=[f"l/{i % 6}.png", f"l/{(i // 6 + i + 1) % 6}.png"])
        for i in range(30)
    ]
    rows = list(rows_of(folder, *entries))
    b = Image.open(folder / "b.png").convert("RGB").tobytes()
    for row in rows:
        check_row(row)
        right = row["images"][-2:]["AB".index(row["answer"])]
        assert right.tobytes() == b
    assert {row["answer"] for row in rows} == {"A", "B"}
    assert rows[0]["liked_profile"] == list(LIKED)


def test_published_chains_are_filtered(folder):
    good = chain(TASTE, (DISLIKED, LIKED), "long")
    other = {"prefered_images": ["l/2.png"]}
    third = {
        "prefered_images": ["l/3.png"],
        "prefer_attributes": attributes(DISLIKED._replace(detail="airy")),
    }
    rows = rows_of(
        folder,
        entry(conversations=[{"value": good}]),
        entry(conversations=[{"value": good.replace("=25", "=24")}], **other),
        entry(conversations=[{"value": good}], **third),
        targets=True,
    )
    made = [rows.make(TASK, i) for i in range(3)]
    reasons = {row.reason for row in made if isinstance(row, Skipped)}
    kept = [row for row in made if not isinstance(row, Skipped)]
    assert reasons == {"chain: totals do not add up", "chain: profile is not the user's"}
    assert len(kept) == 1 and kept[0]["target"] == good and kept[0]["answer"] == "B"


def test_more_rows_than_there_are_are_refused(folder):
    with pytest.raises(InputError, match=r"n up to 1"):
        rows_of(folder, entry(), n=2)
