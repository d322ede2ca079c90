"""The systems of an evaluation: their labels, policies, retrieval settings and fingerprints."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from concepts.methods.in_context import RetrievalSettings, settings_digest
from data_gen.files.errors import InputError
from data_gen.files.settings import read_yaml, settings_from
from data_gen.toybox.weights import local_weights
from rl.policy.loading import base_path, is_adapter, load_policy, torch_dtype, why_missing

_READ_WHOLE = 64 * 1024**2  # bytes; of larger files size and date stand for the content


@dataclass(frozen=True)
class System:
    """A policy, and how it gets its references.

    Args:
        label: its name in tables.
        path: directory of the policy (model or LoRA adapter) or hub id.
        retrieval: ``None``: references are handed over with every query.
    """

    label: str
    path: str
    retrieval: RetrievalSettings | None = None


def parse_systems(
    policies: Sequence[str],
    files: Sequence[str] = (),
    retrieval: RetrievalSettings | None = None,
    check: bool = True,
) -> list[System]:
    """The systems to evaluate, checked before any weights load.

    Args:
        policies: ``PATH`` or ``LABEL=PATH`` each. Unlabelled ones are called by the shortest ends
            of their paths that differ.
        files: ``LABEL=FILE`` each: a YAML file with ``policy`` and ``retrieval``.
        retrieval: of the systems in ``policies``.
        check: whether policies must be there; their kept replies may be all that is needed.

    Raises:
        InputError: no system, a path without a model, or labels that are equal, or so alike that
            their replies would share a folder.
    """
    if not policies and not files:
        raise InputError("no policy to evaluate; give --policy PATH, once for each")
    pairs = [_labelled(spec) for spec in policies]
    ends = _short_names([path for _, path in pairs])
    systems = [
        System(label or end, path, retrieval)
        for (label, path), end in zip(pairs, ends, strict=True)
    ]
    systems += [_read_system(*_labelled(spec)) for spec in files]
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


def check_policy(path: str) -> None:
    """Refuse what cannot be loaded.

    Raises:
        InputError: a directory without a model, or neither directory nor hub id.
    """
    if reason := why_missing(path):
        raise InputError(f"policy {path!r}: {reason}")


def policy_fingerprint(path: str) -> str:
    """Twelve hex digits that change with a policy's files (save its model card); of a hub id, with
    the id alone.

    An adapter's fingerprint covers its base model.
    """
    path, digest = local_weights(path), hashlib.sha256()
    if not Path(path).is_dir():
        digest.update(str(path).encode())
    else:
        for file in sorted(p for p in Path(path).iterdir() if p.is_file() and p.suffix != ".md"):
            digest.update(f"{file.name}:{file.stat().st_size}:".encode())
            if file.stat().st_size <= _READ_WHOLE:
                digest.update(file.read_bytes())
            else:
                digest.update(str(file.stat().st_mtime_ns).encode())
        if is_adapter(path):
            digest.update(policy_fingerprint(base_path(path)).encode())
    return digest.hexdigest()[:12]


def system_fingerprint(system: System, *parts: object) -> str:
    """What replies depend on besides the queries: the policy, and ``parts`` (precision, frames).

    Twelve digits of the policy come first; retrieval adds a digest of its settings.
    """
    digests = [policy_fingerprint(system.path), *map(str, parts)]
    if system.retrieval is not None:
        digests.append(hashlib.sha256(settings_digest(system.retrieval).encode()).hexdigest()[:8])
    return "-".join(digests)


def policy_loader(
    path: str,
    *,
    dtype: str,
    device: str,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    timed: Callable = lambda call: call,
) -> Callable:
    """Loads a policy when it is first asked for, and only once.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` ... or ``auto``.
        timed: wraps the model's ``generate``.
    """
    loaded: list = []
    torch_dtype(dtype)  # refuses one that is none now, not once questions are drawn

    def load():
        if not loaded:
            model: Any
            model, processor = load_policy(
                path,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                attn_implementation=attn_implementation,
            )
            auto = "cuda" if torch.cuda.is_available() else "cpu"
            if PartialState().num_processes > 1:
                auto = PartialState().device
            model = model.to(auto if device == "auto" else device)
            model.generate = timed(model.generate)
            loaded.extend((model, processor))
        return loaded

    return load


def _labelled(spec: str) -> tuple[str, str]:
    label, equals, path = spec.partition("=")
    # A path that holds an equals sign is taken as a path.
    try:
        named = bool(equals) and not Path(spec).exists()
    except OSError:  # too long for a path
        named = bool(equals)
    return (label if named else "", path if named else spec)


def _read_system(label: str, file: str) -> System:
    given = read_yaml(file)
    if unknown := sorted(set(given) - {"policy", "retrieval"}):
        raise InputError(f"{file}: unknown key {unknown[0]!r}; a system has policy and retrieval")
    if not isinstance(given.get("policy"), str):
        raise InputError(f"{file}: 'policy' is missing: a directory or hub id")
    retrieval = given.get("retrieval")
    return System(
        label or Path(file).stem,
        given["policy"],
        None
        if retrieval is None
        else settings_from(retrieval, RetrievalSettings, f"{file}: retrieval"),
    )


def _short_names(paths: list[str]) -> list[str]:
    parts = [
        Path(path).resolve().parts if Path(path).exists() else Path(path).parts for path in paths
    ]
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = ["/".join(p[-length:]) for p in parts]
        if len(set(ends)) == len(set(parts)):
            return ends
    return paths
