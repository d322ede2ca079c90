"""The systems of an evaluation: which there are, their labels, and the folders of their replies."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concepts.methods.finding import RetrievalSettings
from concepts.methods.systems import System, check_policy, read_system, system_of
from data_gen.files.errors import InputError
from data_gen.files.settings import find_config, read_yaml


def parse_systems(
    policies: Sequence[str],
    files: Sequence[str] = (),
    retrieval: RetrievalSettings | None = None,
    inline: Mapping[str, Mapping[str, Any]] | None = None,
    check: bool = True,
) -> list[System]:
    """The systems to evaluate, checked before any weights load.

    Args:
        policies: ``PATH`` or ``LABEL=PATH`` each. Unlabelled ones are called by the shortest ends
            of their paths that differ.
        files: ``LABEL=FILE`` each: a YAML file, see :func:`concepts.methods.systems.read_system`.
        retrieval: of the systems in ``policies``.
        inline: label -> values of a system, laid over those of its ``file``, if it has one;
            ``settings`` and ``retrieval`` key by key.
        check: whether policies must be there; their kept replies may be all that is needed.

    Raises:
        InputError: no system, a path without a model, or labels that are equal, or so alike that
            their replies would share a folder.
    """
    if not policies and not files and not inline:
        raise InputError("no policy to evaluate; give --policy PATH, once for each")
    pairs = [_labelled(spec) for spec in policies]
    ends = _short_names([path for _, path in pairs])
    systems = [
        System(label or end, path, retrieval)
        for (label, path), end in zip(pairs, ends, strict=True)
    ]
    systems += [read_system(*_labelled(spec)) for spec in files]
    systems += [_laid_over(label, given) for label, given in (inline or {}).items()]
    for system in systems if check else []:
        check_policy(system.path)
    labels = [system.label for system in systems]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"two policies are called {twice[0]!r}; label them: --policy LABEL=PATH")
    folders: dict[str, str] = {}
    for label in labels:
        folder = folder_name(label)
        if folder in (".", "..") or len(folder.encode()) > 200:
            raise InputError(f"the label {label!r:.60} names no folder; choose another")
        other = folders.setdefault(folder.casefold(), label)  # some disks ignore case
        if other != label:
            raise InputError(
                f"the labels {other!r} and {label!r} name the same folder, {folder!r}; choose "
                f"another for one of them"
            )
    return systems


def folder_name(label: str) -> str:
    """The folder of a system's replies: its label, other characters than a file name's replaced."""
    return re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", label))


def _laid_over(label: str, given: Mapping[str, Any]) -> System:
    """The system of ``inline`` values."""
    if not isinstance(given, Mapping):
        raise InputError(f"systems.{label} must be the values of a system, not {given!r}")
    values = {key: value for key, value in given.items() if key != "file"}
    found: dict[str, Any] = {}
    if "file" in given:
        found = dict(read_yaml(find_config(given["file"])))
    for key, value in values.items():
        below = found.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = {**below, **value}
        found[key] = value
    return system_of(found, str(label), f"systems.{label}: ")


def _labelled(spec: str) -> tuple[str, str]:
    label, equals, path = spec.partition("=")
    # A path that holds an equals sign is taken as a path.
    try:
        named = bool(equals) and not Path(spec).exists()
    except OSError:  # too long for a path
        named = bool(equals)
    return (label if named else "", path if named else spec)


def _short_names(paths: list[str]) -> list[str]:
    parts = [
        Path(path).resolve().parts if Path(path).exists() else Path(path).parts for path in paths
    ]
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = ["/".join(p[-length:]) for p in parts]
        if len(set(ends)) == len(set(parts)):
            return ends
    return paths
