"""docs/tree.md from the first line of every module's docstring.

    python tests/tree.py > docs/tree.md

``tests/test_docs.py`` compares the two.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

ROOMS = {
    "launch": "one program per verb",
    "benchmarks": "how well a system knows its user's concepts",
    "concepts": "the concepts that a user owns, and methods of personalization",
    "rl": "training",
    "data_gen": "from images to rows",
    "rewards": "what a completion is worth",
}
"""Room -> what it is for, from the top down: imports run downwards only."""


def first_line(path: Path) -> str:
    """What a module's docstring says first, up to a blank line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def tree() -> str:
    """The page."""
    lines = [
        "# The tree",
        "",
        "A line for each file: the first sentence of its docstring "
        "(`python tests/tree.py > docs/tree.md`). Imports run downwards only, from room to "
        "room; `tests/test_layers.py` holds the order inside each.",
        "",
    ]
    for room, purpose in ROOMS.items():
        lines += [f"## {room}/: {purpose}", "", "| file | |", "|---|---|"]
        for path in sorted((ROOT / room).rglob("*.py"), key=lambda p: (p.parent, p.name)):
            said = first_line(path)
            if path.name != "__init__.py" or said:
                said = said.replace("|", "\\|")
                lines.append(f"| `{path.relative_to(ROOT / room).as_posix()}` | {said} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tree(), end="")
