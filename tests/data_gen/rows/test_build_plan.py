"""The digest of the code that rows depend on."""

import shutil

import pytest

from data_gen.rows.build_plan import CODE, NOT_IN_ROWS, code_digest


@pytest.fixture
def code(tmp_path):
    """A copy of the code, prompts and names."""
    weights = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.json")
    return shutil.copytree(CODE, tmp_path / "data_gen", ignore=weights)


@pytest.mark.parametrize("path", NOT_IN_ROWS)
def test_what_rows_do_not_depend_on_is_there_and_may_change(code, path):
    assert (CODE / path).exists()
    before = code_digest(code)
    file = code / path if (code / path).is_file() else code / path / "more.py"
    file.write_text("changed = True")
    assert code_digest(code) == before


@pytest.mark.parametrize(
    "path",
    [
        "toybox/rows.py",
        "negatives/table.py",
        "rows/contract.py",
        "tasks/builder.py",
        "tasks/names.txt",
        "tasks/prompts/default.yaml",
        "images/photos.py",
        "sources/folders.py",
    ],
)
def test_what_rows_depend_on_changes_the_digest(code, path):
    before = code_digest(code)
    (code / path).write_text("changed: true")
    assert code_digest(code) != before


def test_the_digest_does_not_depend_on_where_the_code_lies(code):
    assert code_digest(code) == code_digest()
