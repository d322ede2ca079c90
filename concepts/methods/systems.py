"""Systems: a policy, a method, and what it is given; read from a file, opened, fingerprinted.

A file of a system (``configs/methods/*.yaml``)::

    policy: toybox_base            # directory or hub id
    method: yollava                # a key of concepts/methods/registry.py; in_context by default
    database: my/database.json     # the user's concepts; null: those that are handed over
    negatives: my/negatives        # folder of photos that show none of them; null: none
    retrieval: {encoder: imagenet} # how references are found, see concepts/methods/finding.py
    settings: {}                   # the method's own: its dataclass ``Settings``
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from concepts.database import Database
from concepts.methods.finding import RetrievalSettings, settings_digest
from concepts.methods.learned import LearnedStore
from concepts.methods.protocol import Finder, Method, Write
from concepts.methods.registry import method_class
from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.files.settings import did_you_mean, find_config, read_yaml, settings_from
from data_gen.toybox.weights import local_weights
from rl.policy.loading import base_path, is_adapter, load_policy, torch_dtype, why_missing

KEYS = ("policy", "method", "database", "negatives", "retrieval", "settings")
"""Of a system's file."""

_READ_WHOLE = 64 * 1024**2  # bytes; of larger files size and date stand for the content


@dataclass(frozen=True)
class System:
    """A policy, and how it comes to know concepts.

    Args:
        label: its name in tables.
        path: directory of the policy (model or LoRA adapter) or hub id.
        retrieval: ``None``: references are handed over with every query.
        method: a key of :data:`concepts.methods.registry.METHODS`.
        database: ``database.json`` of the user's concepts, or ``None``.
        negatives: folder of photos that show none of them, or ``None``.
        settings: an instance of the method's ``Settings``; ``None``: its defaults.
    """

    label: str
    path: str
    retrieval: RetrievalSettings | None = None
    method: str = "in_context"
    database: str | None = None
    negatives: str | None = None
    settings: Any = None


def read_system(label: str, file: str | Path) -> System:
    """The system of a file; without a label, it is called as its file.

    Raises:
        InputError: what is wrong in the file, where.
    """
    file = find_config(file)
    return system_of(read_yaml(file), label or Path(file).stem, f"{file}: ")


def system_of(given: Mapping[str, Any], label: str, where: str = "") -> System:
    """The system of some values.

    Args:
        given: of :data:`KEYS`; ``retrieval`` and ``settings`` may be mappings.
        where: what an error begins with.

    Raises:
        InputError: what is wrong with them.
    """
    for key in given:
        if key not in KEYS:
            raise InputError(
                f"{where}unknown key {key!r}; a system has {', '.join(KEYS[:-1])} and {KEYS[-1]}"
                + did_you_mean(str(key), KEYS)
            )
    policy = given.get("policy")
    if not isinstance(policy, str) or not policy:
        raise InputError(f"{where}'policy' is missing: a directory or hub id")
    for key in ("database", "negatives"):
        if not isinstance(given.get(key), str | None):
            raise InputError(f"{where}'{key}' must be a path, not {given[key]!r}")
    try:
        method = method_class(given.get("method") or "in_context")
    except InputError as error:
        raise InputError(f"{where}{error}") from None
    retrieval, own = given.get("retrieval"), given.get("settings")
    if retrieval is not None and not isinstance(retrieval, RetrievalSettings):
        retrieval = settings_from(retrieval, RetrievalSettings, f"{where}retrieval")
    if own is not None and not isinstance(own, method.Settings):
        own = settings_from(own, method.Settings, f"{where}settings")
    return System(
        label,
        policy,
        retrieval,
        method.kind,
        given.get("database"),
        given.get("negatives"),
        own,
    )


def open_method(
    system: System,
    load: Callable,
    write: Write,
    *,
    database: Database | None = None,
    learned: Path | None = None,
    finder: Finder | None = None,
    **common: Any,
) -> Method:
    """A system's method, ready to learn and to be asked; weights load with the first question.

    Args:
        system: which.
        load, write, finder: as of :class:`concepts.methods.protocol.Method`.
        database: of the concepts that it may learn.
        learned: folder in which what was learned lies; ``None``: in memory alone.
        common: ``size``, ``side``, ``batch_size``, ``box_convention``.
    """
    method = method_class(system.method)
    settings = method.Settings() if system.settings is None else system.settings
    store = None
    if learned is not None and method.uses_database:
        store = LearnedStore(
            learned,
            method.kind,
            policy_fingerprint(system.path),
            fingerprint_of(json.dumps(method.learned_from(settings), sort_keys=True)),
            root=database.root if database is not None else None,
            names_matter=method.names_matter,
        )
    return method(
        load,
        write,
        settings=settings,
        store=store,
        finder=finder,
        database=database,
        **common,
    )


def system_fingerprint(system: System, *parts: object) -> str:
    """What replies depend on besides the queries: the policy, and ``parts`` (precision, frames).

    Twelve digits of the policy come first; retrieval, and a method other than in-context with its
    defaults, add a digest each.
    """
    digests = [policy_fingerprint(system.path), *map(str, parts)]
    if system.retrieval is not None:
        digests.append(_short(settings_digest(system.retrieval)))
    method = method_class(system.method)
    settings = method.Settings() if system.settings is None else system.settings
    if (system.method, settings) != ("in_context", method_class("in_context").Settings()):
        digests.append(_short(f"{system.method}: {json.dumps(asdict(settings), sort_keys=True)}"))
    return "-".join(digests)


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


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
