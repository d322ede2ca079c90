"""Keep keys and passwords out of everything that is written: settings, reports, messages."""

import os
import re
from collections.abc import Sequence
from typing import Any

_SECRET = re.compile(
    r"(?:^|[^a-z])(?:tokens?|secrets?|passwd|passphrase|credentials?|auth|authorization|bearer)$"
    r"|^keys?$|(?:api|access|private|secret|service|account|signing|auth|ssh|chat|judge)_?keys?$"
    r"|(?:password|secret)s?$",
    re.IGNORECASE,
)
_TOKENS_OF_TEXT = re.compile(
    r"(?:bos|eos|pad|unk|sep|cls|mask|image|img|video|vision|box|stop|special|max|min|new|num|n)"
    r"_tokens?$",
    re.IGNORECASE,
)
_SHORTEST = 8  # characters; a shorter value of an environment variable is no key, but a word

_FORMS = (
    # Keys by how they begin: Hugging Face, OpenAI and others, GitHub, GitLab, Slack, AWS, Google.
    (
        re.compile(
            r"\b(?:hf_|sk-|ghp_|gho_|github_pat_|glpat-|xox[abp]-|AKIA|AIza)[A-Za-z0-9_-]{12,}"
        ),
        "[key]",
    ),
    (re.compile(r"(\bBearer\s+)[^\s\"',;]+", re.IGNORECASE), r"\1[key]"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE), r"\1[key]@"),
)


def is_secret(name: str) -> bool:
    """Whether a setting or an environment variable of this name holds a key or a password:
    ``hub_token``, ``api_key``, ``OPENAI_API_KEY``; but not ``eos_token``, nor ``key_variable``,
    which only says where a key is."""
    return bool(_SECRET.search(name)) and not _TOKENS_OF_TEXT.search(name)


def without_secrets(value: Any, name: str = "") -> Any:
    """Settings with null in the place of every text whose name says that it is secret; and other
    texts without keys that are known by their form (:func:`redacted`)."""
    if isinstance(value, dict):
        return {key: without_secrets(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(part, name) for part in value]
    if isinstance(value, str):
        return None if is_secret(name) else redacted(value)
    return value


def command_without_secrets(words: Sequence[str]) -> list[str]:
    """A command line with ``[key]`` in the place of what belongs to an option whose name says that
    it is secret: ``--hub_token x``, ``--chat.api_key=x``."""
    found, secret = [], False
    for word in words:
        if word.startswith("--"):
            name, equals, _ = word.partition("=")
            secret = is_secret(name.lstrip("-").rpartition(".")[2])
            found.append(f"{name}=[key]" if secret and equals else redacted(word))
        else:
            found.append("[key]" if secret else redacted(word))
    return found


def redacted(text: str, *keys: str | None) -> str:
    """A text without ``keys``, without what the environment calls a key, and without what has the
    form of one."""
    held = [value for name, value in os.environ.items() if is_secret(name)]
    for key in (*filter(None, keys), *(value for value in held if len(value) >= _SHORTEST)):
        text = text.replace(key, "[key]")
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return text
