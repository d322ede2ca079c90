"""What operating systems, disks and photo programs leave among people's files: one rule for all.

Photo folders, members of archives, folders of parquet files and pair files pass over the same
names: ``._03.jpg`` (macOS on a foreign disk), ``.DS_Store``, ``@eaDir`` (thumbnails of a Synology
disk), recycle bins, ``lost+found``, ``.ipynb_checkpoints`` (Jupyter's older copies).
"""

from pathlib import Path, PurePosixPath

SYSTEM_NAMES = frozenset(
    {
        # Windows
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "zbthumbnail.info",
        "$recycle.bin",
        "recycler",
        "recycled",
        "system volume information",
        # macOS
        "__macosx",
        "icon\r",
        # Linux
        "lost+found",
        # network disks: Synology, QNAP
        "@eadir",
        "@tmp",
        "@recycle",
        "@recently-snapshot",
        "@sharebin",
        "#recycle",
        "#snapshot",
        # photo programs
        "picasa.ini",
        "thumbnails",
        "thumbs",
        "_thumbs",
        "_thumbnails",
        "recently deleted",
    }
)
"""Names of files and folders that are not the user's, casefolded."""

SYSTEM_STARTS = (".", "__macosx", "synophoto_thumb", "synoindex_", "synofile_thumb")
"""How further ones begin, casefolded."""

SYSTEM_ENDS = (".json.learned",)
"""How further ones end, casefolded: what was learned of a database's concepts, beside it."""


def is_system_name(name: str) -> bool:
    """Whether a file or folder of this name is a system's, not the user's."""
    name = name.casefold()
    return name in SYSTEM_NAMES or name.startswith(SYSTEM_STARTS) or name.endswith(SYSTEM_ENDS)


def is_system_path(path: str | Path, root: Path | None = None) -> bool:
    """Whether a system made a file, or a folder that it is in.

    Args:
        path: with ``/`` between its parts.
        root: the folder that the user named: what it and the folders above it are called does not
            matter.
    """
    below = Path(path).relative_to(root) if root is not None else PurePosixPath(str(path))
    return any(is_system_name(part) for part in below.parts if part not in (".", "..", "/"))
