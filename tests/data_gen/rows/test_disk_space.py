"""Room on the disk: asked for before rows are made, and what is left when it ends."""

import errno
import json
import subprocess
from io import FileIO

import pytest

from data_gen.files import files
from data_gen.rows import building, disk_space, read_rows
from data_gen.rows.disk_space import NoRoomError
from tests.data_gen.stub_rows import contents, make, stub_source


def test_a_disk_that_is_too_small_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(
        disk_space.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**6})
    )
    row = disk_space.row_bytes(stub_source(), "stub")
    assert 200 < row < 2000
    with pytest.raises(NoRoomError, match=r"100000 rows need about \d+ MB .* has 1 MB left; make"):
        make(tmp_path / "set", stub_source(100_000))
    make(tmp_path / "set", stub_source(100))


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6])
def test_a_disk_that_fills_up_keeps_every_whole_shard(tmp_path, monkeypatch, form, share):
    manifest = make(tmp_path / "undisturbed", form=form)
    left = share * sum(shard["bytes"] for shard in manifest["shards"])

    class Full(FileIO):
        """A file on a disk with so many bytes left."""

        def write(self, data):
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    with monkeypatch.context() as patch, pytest.raises(NoRoomError) as error:
        patch.setattr(files, "open", Full, raising=False)
        make(tmp_path / "set", form=form)
    partial = tmp_path / "set.partial"
    held = (
        sum(json.loads(mark.read_text())["rows"] for mark in (partial / "done").iterdir())
        if partial.exists()
        else 0
    )
    assert f"is full; {held} rows in whole shards are kept in {partial}" in str(error.value)
    assert (held > 0) == (share == 0.6) and not list(partial.rglob("*.partial"))
    if held:
        assert len(read_rows(partial)) >= held
    make(tmp_path / "set", form=form)
    assert contents(tmp_path / "set") == contents(tmp_path / "undisturbed")


def test_a_disk_that_fills_up_while_the_set_is_closed_keeps_all_of_it(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch, pytest.raises(NoRoomError, match="20 rows in whole sh"):
        patch.setattr(building, "contact_sheet", full)
        make(tmp_path / "set")
    assert make(tmp_path / "set")["rows"] == 20


def test_a_disk_that_is_really_full(tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        monkeypatch.setattr(building, "check_room", lambda *_: None)
        with pytest.raises(NoRoomError, match="is full; [1-9][0-9]* rows in whole shards are kept"):
            make(small / "set", stub_source(600), rows_per_shard=20)
        assert len(read_rows(small / "set.partial")) % 20 == 0
    finally:
        subprocess.run(["umount", str(small)], check=True)
