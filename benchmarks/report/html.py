"""The frame of every HTML page: self-contained, without script, fonts or outside resources.

Everything that a model wrote is escaped.
"""

import re
from html import escape
from pathlib import Path

MARK = " · byname"
"""The end of every page's title."""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def document(title: str, sections: list[str]) -> str:
    """A whole page of sections that are HTML already."""
    css = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe(title)}{MARK}</title><style>{css}</style></head>\n<body><main>"
        + "\n".join(sections)
        + "</main></body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of a page, ``body`` being HTML already."""
    return f"<section><h2>{safe(title)}</h2>{body}</section>"


def safe(text) -> str:
    """Any text for the page: escaped, with control characters made visible."""
    shown = _CONTROL.sub(lambda m: chr(0x2400 + ord(m[0])) if m[0] < " " else "\u2421", str(text))
    return escape(shown, quote=True)
