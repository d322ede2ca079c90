"""Put a row set in place of an earlier one, and of nothing else.

What byname did not write is never deleted. A folder that holds anything else is refused before the
first row is made, and so is a finished set of another plan, unless it is to be replaced.
"""

from pathlib import Path

from data_gen.files.files import free_beside, remove_listed
from data_gen.rows.build_plan import PlanError, differences, is_there, manifest_of


def real_folder(out: str | Path) -> Path:
    """``out``, or what it links to: sets are made beside their place and renamed to it.

    Raises:
        FileExistsError: the link leads to itself.
    """
    out = Path(out)
    try:
        return out.resolve() if out.is_symlink() else out
    except (OSError, RuntimeError):
        raise FileExistsError(f"{out} is a link that leads to itself; remove it") from None


def check_replaceable(out: Path, settled: dict, *, replace: bool = False) -> None:
    """Refuse to make a set at ``out`` where that would cost what is there.

    Args:
        out: where the set is to be.
        settled: its plan, see :func:`data_gen.rows.build_plan.plan`.
        replace: whether a finished set of another plan may be replaced.

    Raises:
        FileExistsError: something that byname did not write is there.
        PlanError: a finished set of another plan is there, or one that was changed since.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    manifest = manifest_of(out) if out.is_dir() else None
    if manifest is None:
        raise FileExistsError(f"{out} is not empty and is no row set; give another directory")
    own = {*_own_files(manifest), "data"}
    foreign = [
        path.relative_to(out).as_posix()
        for path in sorted(out.rglob("*"))
        if path.is_symlink() or path.relative_to(out).as_posix() not in own
    ]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise FileExistsError(
            f"{out} holds {foreign[0]}{more}, which byname did not write there; move it, or name "
            f"another --out"
        )
    if replace:
        return
    remedy = "name another --out, or give --replace true to replace it"
    changed = differences({key: manifest.get(key) for key in settled}, settled)
    if changed:
        raise PlanError(
            f"{out} holds a finished set of another plan ({'; '.join(changed[:3])}); {remedy}"
        )
    for shard in manifest["shards"]:
        there = (out / "data" / shard["file"]).exists()
        if there and not is_there(out, shard, contents=True):
            raise PlanError(f"{out}: {shard['file']} is not as it was written; {remedy}")


def put_in_place(folder: Path, out: Path) -> None:
    """Rename a whole set to ``out``.

    An earlier set there is renamed first and deleted then, file by file as its manifest lists them:
    what else has come there meanwhile stays, in ``<out>.1`` or under the next free number.

    Raises:
        FileExistsError: something that byname did not write is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        folder.rename(out)
        return
    manifest = manifest_of(out) if out.is_dir() else None
    if manifest is None:
        raise FileExistsError(f"{out} is not empty and is no row set; {folder} holds the new set")
    old = free_beside(out)
    out.rename(old)
    folder.rename(out)
    remove_listed(old, _own_files(manifest))


def _own_files(manifest: dict) -> list[str]:
    """The files of a set, the manifest last."""
    shards = [f"data/{shard['file']}" for shard in manifest["shards"]]
    return [*shards, "contact_sheet.png", "manifest.json"]
