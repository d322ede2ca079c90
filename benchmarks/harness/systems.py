"""The policies of an evaluation: what they are called, whether they exist, whether they changed."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import file_exists, try_to_load_from_cache
from huggingface_hub.utils import HFValidationError, validate_repo_id

from rl.policy.loading import base_path, is_adapter

_READ_WHOLE = 64 * 1024**2  # bytes; of larger files size and date stand for the content


@dataclass(frozen=True)
class Policy:
    """``label``: how tables call it; ``path``: directory (model or LoRA adapter) or hub id."""

    label: str
    path: str


def parse_policies(specs: list[str], check: bool = True) -> list[Policy]:
    """Read ``PATH`` or ``LABEL=PATH``, checking that each is there before any weights load.

    Unlabelled policies are called by the shortest ends of their paths that differ.

    Args:
        specs: as given on the command line.
        check: whether they must be there; their kept predictions may be all that is needed.

    Raises:
        ValueError: no policy, a path without a model, or a label used twice.
    """
    if not specs:
        raise ValueError("no policy to evaluate; give --policy PATH, once for each")
    pairs = []
    for spec in specs:
        label, equals, path = spec.partition("=")
        # A path that holds an equals sign is taken as a path.
        named = bool(equals) and not Path(spec).exists()
        pairs.append((label if named else "", path if named else spec))
    for _, path in pairs if check else []:
        check_policy(path)
    ends = _short_names([path for _, path in pairs])
    policies = [Policy(label or end, path) for (label, path), end in zip(pairs, ends, strict=True)]
    labels = [policy.label for policy in policies]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ValueError(f"two policies are called {twice[0]!r}; label them: --policy LABEL=PATH")
    return policies


def check_policy(path: str) -> None:
    """Refuse what cannot be loaded.

    Raises:
        ValueError: a directory without a model, or neither directory nor hub id.
    """
    if Path(path).exists():
        if not any((Path(path) / f).is_file() for f in ("config.json", "adapter_config.json")):
            raise ValueError(f"policy {path!r} holds neither config.json nor adapter_config.json")
        return
    try:
        validate_repo_id(path)
        on_hub = path.count("/") <= 1 and (
            isinstance(try_to_load_from_cache(path, "config.json"), str)
            or file_exists(path, "config.json"))
    except (HFValidationError, OSError):  # no such form of id; no network
        on_hub = False
    except Exception as error:  # httpx and the hub's own errors share no base class
        raise ValueError(f"policy {path!r}: there is no such directory, and the hub says: "
                         f"{error}") from None
    if not on_hub:
        raise ValueError(f"policy {path!r}: there is no such directory, nor such a hub id")


def fingerprint(path: str) -> str:
    """Twelve hex digits that change with a policy's files (save its model card); of a hub id, with
    the id alone.

    An adapter's fingerprint covers its base model.
    """
    digest = hashlib.sha256()
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
            digest.update(fingerprint(base_path(path)).encode())
    return digest.hexdigest()[:12]


def _short_names(paths: list[str]) -> list[str]:
    parts = [Path(path).resolve().parts if Path(path).exists() else Path(path).parts
             for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(p[-length:]) for p in parts]
        if len(set(ends)) == len(set(parts)):
            return ends
    return paths
