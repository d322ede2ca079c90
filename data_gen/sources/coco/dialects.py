"""Which program wrote a file of annotations: what peculiarities it has, or why it is not read.

COCO JSON is what CVAT, Roboflow, Label Studio and converters of LabelMe's files write, each in its
own way; their other formats are refused with the way to COCO.
"""

import re
from pathlib import Path
from typing import Any

from data_gen.files.errors import SourceError
from data_gen.files.files import refuse_pipe

TO_COCO = "export it as COCO JSON, or convert it to that"

PICKLE = (
    "it is a pickle, as RefCOCO's refs(unc).p is, and is not read: unpickling runs whatever code "
    'the file holds; if you trust it, convert it once: python -c "import json, pickle; '
    "json.dump(pickle.load(open('refs(unc).p', 'rb')), open('refs.json', 'w'))\" and give refs.json"
)

_STARTS = (
    (rb"\x80[\x02-\x05]|\(lp[0-9]|\(dp[0-9]|[\]}]q\x00", PICKLE),
    (rb"PK\x03\x04", "it is a zip file; unpack it and name the JSON file in it"),
    (rb"\x1f\x8b", "it is a gzip file; unpack it first"),
    (
        rb"\s*<(?:[^>]*>\s*<)*annotations\b",
        f"it is CVAT's own XML, which is not read; {TO_COCO} (in CVAT: COCO 1.0)",
    ),
    (rb"\s*<(?:[^>]*>\s*<)*annotation\b", f"it is Pascal VOC's XML, which is not read; {TO_COCO}"),
    (rb"\s*<", f"it is XML, which is not read; {TO_COCO}"),
    (
        rb"\s*[0-9]+(?:[ \t]+[0-9.eE+-]+){4,}[ \t]*(?:\r?\n|$)",
        f"it is YOLO's text, which is not read; {TO_COCO}",
    ),
)
"""How files of other formats begin, after a byte order mark -> what is said of them."""

_AUGMENTED = re.compile(r"(?i)(?:^|[\\/])([^\\/]+)\.rf\.[0-9a-z_-]{6,}\.[a-z]{3,4}$")


def refuse_other_formats(path: str | Path) -> None:
    """Refuse a file that is no JSON, as what it is.

    Raises:
        SourceError: with the way to convert it.
    """
    path = Path(path)
    if path.is_dir():
        held = sorted({file.suffix for file in path.iterdir() if file.suffix})[:5]
        raise SourceError(
            f"{path} is a folder (of {', '.join(held) or 'nothing'}); give one COCO JSON file: "
            "LabelMe's files of one image each and YOLO's texts are not read, so export or convert "
            "them to COCO"
        )
    try:
        refuse_pipe(path)
        with open(path, "rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise SourceError(f"{path} cannot be read ({error.strerror})") from None
    for start, why in _STARTS:
        if re.match(start, head):
            raise SourceError(f"{path}: {why}")


def what_it_is(keys: set[str], first: Any) -> str:
    """What a JSON file without boxes is, and what to do.

    Args:
        keys: of its top level; ``a list`` where it is one.
        first: its first item, where it is a list.
    """
    inner = set(first) if isinstance(first, dict) else set()
    keys = keys | inner
    if {"shapes", "imagePath"} <= keys:
        return f"it is LabelMe's file of one image, which is not read; {TO_COCO} (labelme2coco)"
    if {"data"} < inner and inner & {"annotations", "completions", "predictions"}:
        return f"it is Label Studio's own JSON, which is not read; {TO_COCO} (Export: COCO)"
    if {"_via_img_metadata", "_via_settings"} & keys or "regions" in inner:
        return f"it is VIA's project, which is not read; {TO_COCO}"
    return (
        "it must have COCO's images, annotations and categories, or references "
        "with sentences, bbox and file_name"
    )


def dialect_of(info: Any) -> str:
    """The program that wrote a COCO file, by its ``info``; empty where that does not say."""
    text = str(info).casefold()[:4000]
    for sign, name in (
        ("roboflow", "Roboflow"),
        ("label studio", "Label Studio"),
        ("labelme", "LabelMe"),
        ("cvat", "CVAT"),
    ):
        if sign in text:
            return f"{name}'s COCO"
    return ""


def augmented_from(name: str | None) -> str | None:
    """The image that Roboflow made a file from: ``dog_jpg`` of ``dog_jpg.rf.0a1b2c.jpg``, of which
    there may be several, turned, cropped or darkened; ``None`` for other names."""
    match = _AUGMENTED.search(name or "")
    return match[1] if match else None
