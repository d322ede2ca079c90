"""The concept database: edits count at once, nobody's edit is lost, broken entries are named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from concepts.concept import Concept, with_tag
from concepts.database import Database, DatabaseError
from tests.places import ROOT, SHARED

SAMPLE = SHARED / "repic" / "database_dreambooth.json"
DREAMBOOTH = SHARED / "dreambooth"


def image(path: Path, colour="red") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), colour).save(path)
    return path.name


@pytest.fixture
def database(tmp_path) -> Database:
    """Bo, a dog, and Zoë, a cat, in a directory of their own."""
    root = tmp_path / "mine"
    made = Database(root / "database.json")
    made.add(Concept("bo", (image(root / "bo.png"),), "<bo> is a brown dog.", "dog", ("a scar",)))
    made.add(Concept("Zoë", (image(root / "zoë.png", "blue"),), category="cat"))
    return made


def raw(database: Database) -> dict:
    return json.loads(database.path.read_text(encoding="utf-8"))


def names(database: Database) -> list[str]:
    return list(database.concepts())


# ---- edits ----


def test_edits_count_at_the_next_query_also_in_another_object(database):
    other = Database(database.path)
    assert names(other) == ["bo", "Zoë"]
    image(database.root / "mug.png", "green")
    database.add(Concept("小明的杯子", ("mug.png",), category="mug"))
    assert names(other) == names(database) == ["bo", "Zoë", "小明的杯子"]
    database.edit("bo", info="A brown dog with a scar.", attributes=("a scar", "one ear"))
    assert other.concepts()["bo"].attributes == ("a scar", "one ear")
    assert with_tag(other.concepts()["bo"]) == "<bo>: A brown dog with a scar."
    database.remove("Zoë")
    assert names(other) == ["bo", "小明的杯子"]
    assert "zoë.png" not in raw(database)["path_to_concept"]


def test_a_new_name_goes_everywhere_and_keeps_its_place(database):
    database.rename("bo", "Black Widow")
    assert names(database) == ["Black Widow", "Zoë"]
    concept = database.concepts()["Black Widow"]
    assert concept.info == "<Black Widow> is a brown dog." and concept.category == "dog"
    assert raw(database)["path_to_concept"]["bo.png"] == "<Black Widow>"
    database.rename("black_widow", "black widow")  # found as captions may write it
    assert names(database) == ["black widow", "Zoë"]


def test_what_is_written_is_what_repic_and_rap_read(database):
    content = raw(database)
    assert content["concept_dict"]["<bo>"] == {
        "name": "bo",
        "image": "bo.png",
        "info": "<bo> is a brown dog.",
        "category": "dog",
        "attributes": ["a scar"],
    }
    assert content["path_to_concept"] == {"bo.png": "<bo>", "zoë.png": "<Zoë>"}
    assert content["concept_dict"]["<Zoë>"]["info"].startswith("<Zoë>")


def test_images_from_elsewhere_are_copied_below_the_root(database, tmp_path):
    image(tmp_path / "elsewhere" / "a b.PNG", "green")
    outside = tmp_path / "elsewhere" / "a b.PNG"
    database.edit("bo", images=("bo.png", str(outside)))
    first, second = database.concepts()["bo"].images
    assert first == "bo.png" and second.startswith("images/") and second.endswith(".png")
    with Image.open(database.image_path(second)) as copy, Image.open(outside) as original:
        assert copy.tobytes() == original.tobytes()


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda d: d.add(Concept("BO", ("bo.png",))), "'BO' is taken by <bo>"),
        (lambda d: d.rename("bo", "zoë"), "'zoë' is taken by <Zoë>"),
        (lambda d: d.add(Concept("<x>", ("bo.png",))), "write bo, not <bo>"),
        (lambda d: d.add(Concept("  ", ("bo.png",))), "blank"),
        (lambda d: d.rename("bo", "a\nb"), "unprintable"),
        (lambda d: d.rename("bo", "x" * 81), "longer than 80"),
        (lambda d: d.add(Concept("x", ("no.png",))), "image no.png: broken link"),
        (lambda d: d.edit("bo", images=("database.json",)), "sidecar of a photo"),
        (lambda d: d.edit("nobody", info="?"), "holds no concept 'nobody'"),
        (lambda d: d.remove("nobody"), "holds no concept 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(database, edit, says):
    before = database.path.read_bytes()
    with pytest.raises(DatabaseError, match=says):
        edit(database)
    assert database.path.read_bytes() == before


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "database.json")
    with pytest.raises(DatabaseError, match="is no file"):
        Database(tmp_path / "database.json").concepts()


def test_an_empty_or_missing_database_is_an_error(database, tmp_path):
    database.remove("bo")
    database.remove("Zoë")
    with pytest.raises(DatabaseError, match="no usable concept"):
        database.concepts()
    with pytest.raises(DatabaseError, match="cannot be read"):
        Database(tmp_path / "nothing.json").concepts()


# ---- two at once ----

EDITOR = """
import sys
from concepts.database import Database
from concepts.concept import Concept
database, who = Database(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(12):
    database.add(Concept(f"{who}{i}", ("bo.png",)))
    if i % 2:
        database.remove(f"{who}{i - 1}")
        database.edit(f"{who}{i}", info=f"said by {who}")
"""


def test_two_processes_that_edit_at_once_lose_nothing(database):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    editors = [
        subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(database.path), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        for who in ("ada", "eve")
    ]
    for editor in editors:
        assert editor.stdout.readline() == b"ready\n"
    for editor in editors:
        editor.stdin.write(b"go\n")
        editor.stdin.flush()
    while any(editor.poll() is None for editor in editors):
        assert {"bo", "Zoë"} <= set(names(database))  # a reader never sees half a file
    assert [editor.returncode for editor in editors] == [0, 0]
    expected = {f"{who}{i}" for who in ("ada", "eve") for i in range(1, 12, 2)}
    assert set(names(database)) == {"bo", "Zoë"} | expected
    assert all(
        database.concepts()[name].info == f"<{name}>: said by {name[:3]}" for name in expected
    )
    assert not list(database.root.glob("*.partial"))


# ---- what comes from elsewhere ----


def test_broken_entries_are_named_kept_and_the_rest_is_used(database):
    content = raw(database)
    good = content["concept_dict"]["<bo>"]
    broken = {
        "<up>": {**good, "name": "up", "image": "../../secret.png"},
        "<abs>": {**good, "name": "abs", "image": "/etc/passwd"},
        "<gone>": {**good, "name": "gone", "image": "gone.png"},
        "<list>": [],
        "<no image>": {"name": "no image"},
        "<info>": {**good, "name": "info", "info": 3},
        "<one>": {**good, "name": "two"},
        "<nul>": {**good, "name": "nul", "image": "a\0b"},
        "bare": good,
        "<BO>": {**good, "name": "BO"},
    }
    content["concept_dict"] |= broken
    content["other"] = "kept"
    database.path.write_text(json.dumps(content))
    assert names(database) == ["bo", "Zoë"]
    skipped = database.skipped
    assert {reason: skipped.places(reason) for reason in skipped.counts} == {
        "an image's path leads out of the image root": ["<up>", "<abs>"],
        "no image left": ["<up>", "<abs>", "<gone>", "<nul>"],
        "an image is not there": ["<gone>"],
        "the entry is no JSON object": ["<list>"],
        "no image is given": ["<no image>"],
        "its info is no text": ["<info>"],
        "key and name differ": ["<one>"],
        "an image's path is no text": ["<nul>"],
        "the key is no tag such as <bo>": ["bare"],
        "another has the same name": ["<BO>"],
    }
    assert "4 no image left (<up>, <abs>, <gone>, …)" in database.summary()
    database.edit("Zoë", info="A cat.")
    after = raw(database)
    assert {tag: after["concept_dict"][tag] for tag in broken} == broken
    assert after["other"] == "kept"


def test_a_key_given_twice_is_named_and_no_edit_drops_one_of_them(database):
    text = database.path.read_text().replace('"<Zoë>": {', '"<bo>": {')
    database.path.write_text(text)
    assert names(database) == ["bo"]
    assert database.skipped.places("given twice, of which the first counts") == ["<bo>"]
    with pytest.raises(DatabaseError, match="gives '<bo>' twice, and an edit would lose"):
        database.remove("bo")
    assert database.path.read_text() == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no JSON"),
        (b'{"a": ', "no JSON"),
        (b"[]", "no concept database"),
        (b'{"concept_dict": []}', "no concept database"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000, "no concept database|no JSON"),
    ],
)
def test_a_file_that_is_no_database_is_refused_by_queries_and_edits(tmp_path, content, says):
    path = tmp_path / "database.json"
    path.write_bytes(content)
    image(tmp_path / "a.png")
    for act in (lambda d: d.concepts(), lambda d: d.add(Concept("a", ("a.png",)))):
        with pytest.raises(DatabaseError, match=says):
            act(Database(path))
    assert path.read_bytes() == content


@pytest.mark.skipif(not SAMPLE.is_file(), reason="no ../shared/data/repic here")
def test_the_published_database_with_its_own_image_paths(tmp_path):
    """Its paths start in RePIC's repository; the images lie elsewhere here."""
    path = tmp_path / "database.json"
    shutil.copy(SAMPLE, path)
    kept = Database(path, need_images=False)
    assert len(kept.concepts()) == 30 and kept.concepts()["cat2"].info.startswith("<cat2>")
    with pytest.raises(DatabaseError, match="no usable concept; skipped 60: 30 an image is not th"):
        Database(path).concepts()
    for subject in sorted(p for p in DREAMBOOTH.iterdir() if p.is_dir()):
        shutil.copy(
            subject / "00.jpg" if (subject / "00.jpg").exists() else next(subject.glob("*.jpg")),
            tmp_path / f"{subject.name}.jpg",
        )
    there = Database(path, tmp_path, prefix="./data/database_tot/database_dreambooth")
    assert len(there.concepts()) == 30 and not there.skipped
    before = raw(there)
    there.edit("can", category="beer")
    after = raw(there)
    assert after["concept_dict"].pop("<can>") == before["concept_dict"].pop("<can>") | {
        "category": "beer"
    }
    assert after == before
