"""Objects and scenes from a chat model behind an OpenAI-compatible endpoint, asked once and kept.

What the model writes is text for prompts and nothing else: it is read as JSON, checked entry by
entry, and kept as lines of JSON.
"""

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from data_gen.chat import ChatError, Endpoint, chat
from data_gen.maker import stamp_of
from data_gen.object_lines import read_object
from data_gen.shards import atomic_file
from data_gen.sources import SourceError

DEFAULTS = {"objects": 200, "per_call": 20, "temperature": 1.0, "timeout_s": 120,
            "key_variable": None, "request": None}

TRIES = 4

FRUITLESS = 3
"""So many replies in a row without a new object end the asking."""

REQUEST = """Think of {n} different physical objects that a person may own: toys, clothes, tools,
furniture, animals, food. Make them as unlike each other as you can, and give each a look of its
own.
Answer with a JSON list and nothing else. Each entry: {{"item": a phrase that says what the object
is and how it looks, "category": one word for its kind, "scenes": a list of three short phrases,
each a different place and light that the object could be photographed in}}.
Not these again: {known}."""


def fetched_texts(settings: Mapping, cache: str | Path) -> Path:
    """The file of objects that the chat model described; made where it is not there yet.

    Of several processes the first asks, the others wait for it.

    Args:
        settings: ``endpoint`` (such as ``http://localhost:8000/v1``), ``model``, and any of
            :data:`DEFAULTS`: ``objects`` wanted, ``per_call``, ``temperature``, ``timeout_s``,
            ``key_variable`` (environment variable with a key), ``request`` (a prompt with ``{n}``
            and ``{known}``).
        cache: directory of the file.

    Raises:
        SourceError: the endpoint cannot be reached, or describes nothing of use.
    """
    unknown = sorted(set(settings) - {"endpoint", "model", *DEFAULTS})
    if unknown or not {"endpoint", "model"} <= set(settings):
        raise SourceError("texts: chat needs 'endpoint' and 'model' and may have "
                          f"{', '.join(DEFAULTS)}" + (f", not '{unknown[0]}'" if unknown else ""))
    if not re.match(r"https?://", settings["endpoint"]):
        raise SourceError(f"texts: endpoint {settings['endpoint']!r} is no http(s) address")
    settings = {**DEFAULTS, **settings}
    path = Path(cache) / f"texts-{stamp_of(json.dumps(settings, sort_keys=True))}.jsonl"
    if int(os.environ.get("RANK", 0)) == 0:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = path.with_suffix(".begun")
            ask_for_objects(settings, begun)
            begun.rename(path)
        return path
    until = time.monotonic() + 60 * settings["timeout_s"]
    while not path.exists():
        if time.monotonic() > until:
            raise SourceError(f"texts: waited in vain for the first process to write {path}")
        time.sleep(1)
    return path


def ask_for_objects(settings: Mapping, begun: Path) -> None:
    """Ask until ``objects`` different ones are described, or nothing new comes. They are written to
    ``begun`` after each reply; what an earlier run wrote there is gone on with.

    Raises:
        SourceError: see :func:`fetched_texts`.
    """
    lines = begun.read_text(encoding="utf-8").splitlines() if begun.exists() else []
    found = {entry["item"].strip().casefold(): entry for entry in map(json.loads, lines)}
    refused: Counter[str] = Counter()
    fruitless = 0
    with tqdm(total=settings["objects"], initial=len(found), unit="object",
              desc=settings["model"]) as bar:
        while len(found) < settings["objects"] and fruitless < FRUITLESS:
            known = ", ".join(list(found)[-40:]) or "-"
            n = min(settings["per_call"], settings["objects"] - len(found))
            text = (settings["request"] or REQUEST).format(n=n, known=known)
            before = len(found)
            for entry in entries(complete(settings, text)):
                reason = _defect(entry)
                if reason:
                    refused[reason] += 1
                elif len(found) < settings["objects"]:
                    found.setdefault(entry["item"].strip().casefold(), entry)
            if len(found) > before:
                with atomic_file(begun) as file:
                    file.write("".join(json.dumps(o) + "\n" for o in found.values()).encode())
            bar.update(len(found) - before)
            fruitless = 0 if len(found) > before else fruitless + 1
    if not found:
        raise SourceError(f"texts: {settings['model']} at {settings['endpoint']} described nothing "
                          f"of use in {FRUITLESS} replies ({dict(refused) or 'no JSON in them'}); "
                          "try another model, or another 'request'")


def complete(settings: Mapping, text: str) -> str:
    """One reply of the chat model; where it is busy it is asked again, after longer and longer.

    Raises:
        SourceError: the endpoint cannot be reached, refuses, or answers with something else.
    """
    key = os.environ.get(settings["key_variable"] or "")
    endpoint = Endpoint(settings["endpoint"], settings["model"], key, settings["timeout_s"], TRIES)
    try:
        return chat(endpoint, [{"role": "user", "content": text}],
                    temperature=settings["temperature"])
    except ChatError as error:
        raise SourceError(f"texts: {error}; or give 'file' instead of 'chat'") from None


def entries(reply: str) -> Iterator[object]:
    """Whatever JSON objects a reply holds: in a list, on lines, fenced, among other words."""
    decoder, at = json.JSONDecoder(), 0
    while (start := reply.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(reply, start)
            yield value
        except (ValueError, RecursionError):
            at = start + 1


def _defect(entry: object) -> str | None:
    read = read_object(json.dumps(entry))
    if isinstance(read, str):
        return read
    return "an object without two scenes" if len(read[2]) < 2 else None
