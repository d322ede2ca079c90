"""The last lines of programs."""

import shlex

from data_gen.files.sentences import figures, look_at, next_commands


def test_figures_have_no_braces():
    assert figures({"rows": 3, "share": 0.123456, "by": {"red": 1}}) == (
        "rows 3, share 0.1235, by/red 1"
    )


def test_commands_can_be_typed_as_they_stand(tmp_path):
    said = next_commands(["byname", "report", tmp_path / "my run; rm"], ["cat", "x"])
    first, second = said.splitlines()
    assert first.startswith("next: byname report ") and second == "      cat x"
    assert shlex.split(first)[1:] == ["byname", "report", f"{tmp_path}/my run; rm"]
    assert look_at(tmp_path / "a b.html")[-1] == f"file://{tmp_path}/a%20b.html"
