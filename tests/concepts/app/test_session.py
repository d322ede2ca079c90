"""What one user does on the page, without a browser."""

import random
import threading

import pytest
from PIL import Image

from concepts.app import editing
from concepts.app.session import Policies, Session
from concepts.app.sightings import as_csv, as_json, sheet
from concepts.database import Database, DatabaseError
from concepts.methods.finding import RetrievalSettings
from concepts.methods.systems import System
from data_gen.files.errors import InputError
from data_gen.files.skipped import SkippedItems
from data_gen.rows import OCT
from data_gen.rows.reading import read_rows
from tests.concepts.tiny_encoders import save_dinov2
from tests.tiny import save_tiny_policy


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tiny policy with random weights and a tiny encoder: what they say means nothing."""
    where = tmp_path_factory.mktemp("app")
    return save_tiny_policy(where / "policy"), f"dinov2:{save_dinov2(where / 'dinov2')}"


@pytest.fixture(scope="module")
def policies():
    return Policies(device="cpu")


@pytest.fixture
def session(made, policies, tmp_path):
    policy, encoder = made
    retrieval = RetrievalSettings(
        encoder.removeprefix("dinov2:"), regions=None, cache=str(tmp_path / "features")
    )
    systems = {
        "found": System("found", str(policy), retrieval),
        "all": System("all", str(policy)),
    }
    return Session(Database(tmp_path / "own" / "database.json"), systems, policies, size=40)


def photo(folder, colour, seed=0):
    """A photo of patches of nearly one colour."""
    rng = random.Random(seed)
    small = Image.new("RGB", (6, 6))
    small.putdata([tuple(c + rng.randint(-50, 50) for c in colour) for _ in range(36)])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{colour[0]}-{colour[2]}-{seed}.png"
    small.resize((48, 48), Image.Resampling.NEAREST).save(file)
    return file


@pytest.fixture
def red(tmp_path):
    return photo(tmp_path / "uploads", (200, 60, 60))


@pytest.fixture
def blue(tmp_path):
    return photo(tmp_path / "uploads", (60, 60, 200), 1)


def picture(file):
    return Image.open(file).convert("RGB")


# ---- my things ----


def test_a_thing_is_added_changed_renamed_and_removed_without_a_trace(session, red, tmp_path):
    session.add(editing.checked(" bo ", [red], "He  bites.", "dog"))
    (one,) = session.listed()
    assert (one.name, one.info, one.category, one.n_photos) == ("bo", "He bites.", "dog", 1)
    assert one.photo.parent == tmp_path / "own" / "images"  # a copy: pixels alone
    session.change("bo", "He is kind.", "cat")
    session.rename("bo", "rex")
    session.correct(picture(red), ["rex"])
    (one,) = session.listed()
    assert (one.name, one.info, one.category) == ("rex", "He is kind.", "cat")
    session.ask("found", picture(red), max_new_tokens=2)
    session.remove("rex")
    assert session.listed() == [] and len(session.corrections) == 0
    left = [f for f in (tmp_path / "own").rglob("*") if f.is_file() and b"rex" in f.read_bytes()]
    assert not [file for file in left if "rows" not in file.parts] and not one.photo.exists()


@pytest.mark.parametrize(
    ("name", "photos", "why"),
    [
        ("", 1, "give it a name"),
        ("a<b", 1, "cannot be a name"),
        ("n" * 200, 1, "cannot be a name"),
        ("bo", 0, "give one to 5 photos"),
        ("bo", 6, "too many"),
    ],
)
def test_what_cannot_be_added_is_told(red, name, photos, why):
    with pytest.raises(editing.UploadError, match=why):
        editing.checked(name, [red] * photos)


def test_a_file_that_is_no_photo_or_too_large_is_told(tmp_path, monkeypatch, red):
    text = tmp_path / "x.jpg"
    text.write_text("no photo")
    with pytest.raises(editing.UploadError, match="x.jpg"):
        editing.checked("bo", [text])
    monkeypatch.setattr(editing, "MAX_PHOTO_BYTES", 10)
    with pytest.raises(editing.UploadError, match="make it smaller"):
        editing.checked("bo", [red])


def test_near_copies_ordinary_words_and_things_that_look_alike_are_warned_of(
    session, red, blue, tmp_path
):
    again = tmp_path / "again.jpg"
    picture(red).resize((96, 96)).save(again, quality=70)
    said = session.warnings(editing.checked("apple", [red, again]))
    assert any("ordinary word" in line for line in said)
    assert any("nearly the same photo" in line for line in said)
    assert session.warnings(editing.checked("bo", [red])) == []
    session.add(editing.checked("bo", [red]))
    said = session.warnings(editing.checked("mia", [again]))
    assert any("already a photo of bo" in line for line in said)
    assert any("looks much like bo" in line for line in said)


def test_a_name_that_is_taken_is_refused(session, red):
    session.add(editing.checked("bo", [red]))
    with pytest.raises(DatabaseError, match="taken"):
        session.add(editing.checked("Bo", [red]))


# ---- ask ----


def test_nothing_known_no_picture_and_an_endless_question_are_told(session, red):
    with pytest.raises(InputError, match="nothing of yours is known"):
        session.ask("found", picture(red))
    with pytest.raises(InputError, match="choose a picture"):
        session.ask("found", None)
    with pytest.raises(InputError, match="ask shorter"):
        session.ask("found", picture(red), "?" * 5000)
    with pytest.raises(InputError, match="no system 'x'"):
        session.ask("x", picture(red))


def test_an_answer_says_who_was_considered_and_why(session, red, blue):
    session.add(editing.checked("bo", [red]))
    session.add(editing.checked("mia", [blue]))
    said = session.ask("found", picture(red), "Who is it?", max_new_tokens=3)
    assert {one.name for one in said.concepts} <= {"bo", "mia"} and said.concepts
    assert all(-1 <= one.similarity <= 1 and 0 <= one.p <= 1 for one in said.concepts)
    named = session.ask("found", picture(red), "Where is mia?", max_new_tokens=3)
    assert "mia" in named.there  # whoever is named in the question is asked about
    both = session.ask("all", picture(red), max_new_tokens=3)
    assert {one.name for one in both.concepts} == {"bo", "mia"}


def test_questions_about_one_picture_are_a_conversation_until_another_comes(session, red, blue):
    session.add(editing.checked("bo", [red]))
    session.ask("found", picture(red), "One?", max_new_tokens=2)
    session.ask("found", picture(red), "Two?", max_new_tokens=2)
    assert [asked for asked, _ in session.turns("found")] == ["One?", "Two?"]
    session.ask("found", picture(blue), "Three?", max_new_tokens=2)
    assert [asked for asked, _ in session.turns("found")] == ["Three?"]
    session.begin_anew()
    assert session.turns("found") == []


def test_twenty_questions_at_once_are_all_answered(session, red):
    session.add(editing.checked("bo", [red]))
    alone = session.ask("found", picture(red), "Who?", max_new_tokens=3).text
    session.begin_anew()
    answers = []

    def ask():
        said = session.ask("found", picture(red), "Who?", max_new_tokens=3)
        answers.append(said.text)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20 and alone in answers and len(session.turns("found")) == 20


def test_sessions_do_not_see_each_others_things(session, made, policies, red, tmp_path):
    other = Session(Database(tmp_path / "other" / "database.json"), session.systems, policies, 40)
    session.add(editing.checked("bo", [red]))
    assert other.listed() == []
    with pytest.raises(InputError, match="nothing of yours"):
        other.ask("found", picture(red))


# ---- find ----


def test_found_in_many_photos_as_a_sheet_and_as_files(session, red, blue, tmp_path):
    session.add(editing.checked("=bo", [red]))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xffbroken")
    skipped = SkippedItems()
    looked = list(session.find("found", [red, broken, blue], skipped))
    assert [one.photo for one in looked] == [red.name, blue.name] and skipped.total == 1
    assert session.keep(looked) >= 2  # as rows, if all of it is right
    assert sheet(looked).width > 400
    lines = as_csv(looked).splitlines()
    assert lines[0] == "photo,name,p,x1,y1,x2,y2" and len(lines) >= 3
    assert not any(line.split(",")[1].startswith("=") for line in lines)  # no formula
    assert as_json(looked).count('"photo"') == 2


def test_too_many_photos_are_refused(session, red):
    with pytest.raises(editing.UploadError, match="choose 1 to 500"):
        list(session.find("found", [red] * 501, SkippedItems()))


def test_a_correction_has_as_many_no_as_yes_those_that_were_wrongly_found_first(session, red, blue):
    for name in ("ada", "bo", "kim", "mia"):
        session.add(editing.checked(name, [red]))
    session.correct(picture(blue), ["bo"], wrongly=["bo", "mia"])
    rows = [row for row in read_rows(session.corrections.rows) if row["task"] == OCT]
    asked = {row["answer"]: row["prompt"][-1]["content"][-1]["text"] for row in rows}
    assert len(rows) == 2 and "<bo>" in asked["yes"] and "<mia>" in asked["no"]


def test_the_command_that_trains_on_corrections_names_policy_and_rows(session, red):
    session.add(editing.checked("bo", [red]))
    assert session.correct(picture(red), ["bo"]) == 2
    words = session.command("found").split()
    assert words[:2] == ["byname", "grpo"] and str(session.corrections.rows) in words
