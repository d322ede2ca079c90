"""Imports run downwards only, inside functions too; inside a room there are no circles."""

import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.places import ROOT

TOP = ["launch", "benchmarks", "concepts", "rl", "data_gen", "rewards"]
"""From the top down: a room may import those below it. ``data_gen`` and ``rewards`` stand side by
side, but ``data_gen`` may use what ``rewards`` says of names and boxes."""

INSIDE = {
    "launch": [
        "__main__",
        "cli",
        "tools",
        "compare",
        "evaluate",
        "app",
        "ask",
        "learn",
        "generate",
    ],
    "benchmarks": [
        "registry",
        "experiments",
        "ladder",
        "mined_negatives",
        "preferences",
        "heads",
        "photo_pairs",
        "retrieval",
        "toybox",
        "published",
        "harness",
        "report",
        "captions",
        "formats",
        "metrics",
    ],
    "concepts": [
        "app",
        "methods",
        "retrieval",
        "index",
        "importers",
        "regions",
        "database",
        "concept",
    ],
    "rl": [
        "planning",
        "speed",
        "trainer",
        "sft",
        "run",
        "exporting",
        "callbacks",
        "preflight",
        "checks",
        "run_directory",
        "credit",
        "dynamic_sampling",
        "checkpoints",
        "finite",
        "vllm",
        "sharing",
        "chunks",
        "sampler",
        "policy",
        "run_log",
        "settings",
    ],
    "data_gen": [
        "generators",
        "preferences",
        "synthesis",
        "sources",
        "negatives",
        "toybox",
        "tasks",
        "leaks",
        "rows",
        "images",
        "files",
        "toybox.weights",
    ],
    "rewards": [
        "loading",
        "identity_consistency",
        "object_consistency",
        "visual_localization",
        "caption_facts",
        "caption_questions",
        "preference",
        "penalties",
        "length",
        "names",
        "ordinary_words",
        "parsing",
        "unicode_text",
    ],
}
"""Sub-rooms and files of each room, from the top down: each may import those behind it."""

MOST_FILES = 13
"""In one room; ``__init__.py`` is not counted."""


@cache
def modules() -> dict:
    """Module name -> file, of all rooms."""
    found = {}
    for room in TOP:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Module name -> modules of ours that it imports, wherever in the file."""
    found = defaultdict(set)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                targets = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in targets:
                while target and target not in modules():
                    target = target.rpartition(".")[0]
                if target and target != name:
                    found[name].add(target)
    return found


def sub_room(module: str, room: str) -> str:
    """The longest entry of ``INSIDE[room]`` that a module belongs to."""
    inside = module.removeprefix(room).removeprefix(".")
    fitting = [entry for entry in INSIDE[room] if inside == entry or inside.startswith(f"{entry}.")]
    return max(fitting, key=len, default=inside)


def test_no_import_runs_up_between_rooms():
    up = [
        f"{module} -> {target}"
        for module, targets in imports().items()
        for target in targets
        if TOP.index(target.split(".")[0]) < TOP.index(module.split(".")[0])
    ]
    assert not up


def test_rewards_import_nothing_of_ours():
    assert not [
        f"{module} -> {target}"
        for module, targets in imports().items()
        if module.split(".")[0] == "rewards"
        for target in targets
        if target.split(".")[0] != "rewards"
    ]


def test_nothing_imports_launch():
    assert not [
        module
        for module, targets in imports().items()
        if not module.startswith("launch")
        for target in targets
        if target.startswith("launch")
    ]


@pytest.mark.parametrize("room", TOP)
def test_inside_a_room_imports_follow_the_order(room):
    order, wrong = INSIDE[room], []
    for module, targets in imports().items():
        for target in targets:
            if module.split(".")[0] != room or target.split(".")[0] != room:
                continue
            above, below = sub_room(module, room), sub_room(target, room)
            if not below or above == below or not above:
                continue  # a package's face, or within one sub-room
            if above not in order or below not in order:
                wrong.append(f"{module} -> {target}: not in INSIDE['{room}']")
            elif order.index(below) < order.index(above):
                wrong.append(f"{module} -> {target}")
    assert not wrong


def test_no_circles_between_files():
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_are_small():
    files = defaultdict(list)
    for path in modules().values():
        if path.name != "__init__.py":
            files[path.parent].append(path.name)
    large = {
        str(folder.relative_to(ROOT)): len(of)
        for folder, of in files.items()
        if len(of) > MOST_FILES
    }
    assert not large
