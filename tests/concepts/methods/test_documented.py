"""The ten lines from a folder of photos to an answer, as docs/methods.md and the README show."""

import re

import pytest

from concepts.importers import toy_photos
from tests.places import ROOT

PAGES = [
    page
    for page in (ROOT / "docs" / "methods.md", ROOT / "README.md")
    if "photo_database(" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_ten_lines_lead_from_photos_to_an_answer(page, tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "photo_database(" in block]
    assert len([line for line in block.splitlines() if line]) <= 10
    (image, names), *_ = toy_photos(tmp_path / "toys", 3, views=2, scenes=1)
    (tmp_path / "toys" / "photos").rename(tmp_path / "my_photos")
    image.rename(tmp_path / "new.jpg")
    monkeypatch.chdir(tmp_path)
    said: dict = {}
    exec(block.replace('"imagenet"', '"toybox_clip"'), said)  # the toybox's own encoder is quicker
    answer = said["answer"]
    assert set(said["database"].concepts()) == {p.name for p in (tmp_path / "my_photos").glob("*/")}
    assert answer.text and answer.text in capsys.readouterr().out
    assert names[0] in [one.name for one in answer.concepts], "retrieval proposes who is there"
