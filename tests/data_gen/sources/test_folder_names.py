"""``names: folder``: the user's own names in rows and prompts."""

import random

import pytest
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.rows import ICT, OCT, check_row
from data_gen.sources.folders import folder_rows
from data_gen.tasks.names import all_names

COUNTS = {OCT: 6, ICT: 6}


def photos(root, *names):
    """Two photos of each, no two alike."""
    for name in names:
        for i in range(2):
            rng = random.Random(f"{name}{i}")
            image = Image.new("RGB", (6, 6))
            image.putdata([tuple(rng.randrange(256) for _ in range(3)) for _ in range(36)])
            (root / name).mkdir(parents=True, exist_ok=True)
            image.resize((48, 48), Image.Resampling.NEAREST).save(root / name / f"{i}.png")
    return root


def rows(root, **settings):
    found = folder_rows(root, seed=1, counts=COUNTS, size=32, report=lambda line: None, **settings)
    return [row for row in (found.make(task, i) for task in COUNTS for i in range(COUNTS[task]))]


def words(row):
    parts = [part for message in row["prompt"] for part in message["content"]]
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def test_folders_call_their_subjects(tmp_path):
    own = {"Zuckerwatte", "gran's mug", "KITTY"}
    root = photos(tmp_path / "p", *own)
    made = rows(root, names="folder")
    for row, plain in zip(made, rows(root), strict=True):
        check_row(row, "here")
        assert {*row["names"], *row["absent_names"]} <= own
        assert any(f"<{name}>" in words(row) for name in own)
        assert not any(f"<{name}>" in words(plain) for name in own)
        assert (row["answer"], row["source"]) == (plain["answer"], plain["source"])
        images = [[i.tobytes() for i in one["images"]] for one in (row, plain)]
        assert images[0] == images[1], "nothing but the names differs"
        assert {*plain["names"]} <= set(all_names())


@pytest.mark.parametrize(
    ("folders", "names", "sentence"),
    [
        (("bo", "mia"), "folders", "names must be random or folder, not 'folders'"),
        (("bo", "a<b"), "folder", "the folder 'a<b' names nobody: it .*; rename it"),
        (("gran mug", "gran_mug"), "folder", "are one name in captions; rename one"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, folders, names, sentence):
    with pytest.raises(SourceError, match=sentence):
        rows(photos(tmp_path / "p", *folders), names=names)
