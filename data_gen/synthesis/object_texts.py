"""What each pair shows: an object, its category and two scenes, by index.

They come from templates and lists of words, from a text file, or from a chat model whose replies
are cached in such a file. Object ``i`` depends only on the seed, the texts and ``i``.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_gen.files.chat import ChatError, Endpoint, chat
from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file, fingerprint_of, refuse_pipe
from data_gen.files.skipped import SkippedItems

KEYS = ("item", "category", "scene", "lists", "distinct", "scenes_differ", "file", "chat")


@dataclass(frozen=True)
class ObjectText:
    """What one pair shows: an object in two scenes."""

    item: str
    category: str | None
    scenes: tuple[str, str]


@dataclass(frozen=True)
class ObjectTexts:
    """Objects by index.

    Args:
        of: index -> object.
        skipped: lines of a file that cannot be used.
        fingerprint: digest of the file; empty for templates.
    """

    of: Callable[[int], ObjectText]
    skipped: SkippedItems
    fingerprint: str


def object_texts(settings: Mapping, seed: int, cache: str | Path = "runs/cache") -> ObjectTexts:
    """Read the settings of a config's ``texts``.

    Args:
        settings: ``item``: a template such as ``{colour} {kind}``, or ``file``: a text file with
            one object per line (an item, or JSON with ``item``, ``category`` and ``scenes``), or
            ``chat``: see :func:`chat_texts`. Then ``category`` (a template), ``scene`` (a template,
            for objects without two scenes of their own), ``lists``: field -> its values,
            ``distinct``: pairs of fields that must not have the same value, ``scenes_differ``:
            fields in which the two scenes must differ.
        seed: of every draw.
        cache: directory of the chat model's texts.

    Raises:
        SourceError: an unknown key or field, an empty list, no usable line; says which.
    """
    unknown = sorted(set(settings) - set(KEYS))
    if unknown:
        raise SourceError(f"texts: unknown key '{unknown[0]}'; it may have {', '.join(KEYS)}")
    given = [key for key in ("item", "file", "chat") if settings.get(key)]
    if len(given) != 1:
        raise SourceError(
            "texts: give one of 'item' (a template), 'file' or 'chat', not "
            f"{' and '.join(given) or 'none'}"
        )
    lists = settings.get("lists") or {}
    for key in ("item", "category", "scene"):
        _check_template(key, settings.get(key), lists)
    scene, skipped = settings.get("scene"), SkippedItems()
    if settings.get("item"):
        if not scene:
            raise SourceError("texts: 'scene' is missing: a template of what is around the object")
        objects, fingerprint = None, ""
    else:
        path = (
            Path(settings["file"]) if settings.get("file") else chat_texts(settings["chat"], cache)
        )
        objects = read_objects(path, skipped, need_scenes=not scene)
        fingerprint = fingerprint_of(path)

    def of(i: int) -> ObjectText:
        rng = random.Random(f"{seed}/object {i}")
        if objects is None:
            values = _values(rng, lists, settings.get("distinct") or ())
            category = settings.get("category")
            item, scenes = _filled(settings["item"], values), []
            category = category and _filled(category, values)
        else:  # every object once, in random order, then all of them again
            turn, place = divmod(i, len(objects))
            order = random.Random(f"{seed}/turn {turn}").sample(range(len(objects)), len(objects))
            item, category, scenes = objects[order[place]]
        if len(scenes) >= 2:
            first, second = rng.sample(scenes, 2)
            return ObjectText(item, category, (first, second))
        return ObjectText(
            item,
            category,
            _two_scenes(rng, scene or "", lists, settings.get("scenes_differ") or ()),
        )

    of(0)  # templates that cannot be filled are refused at once
    return ObjectTexts(of, skipped, fingerprint)


# ---- templates ----

TEMPLATE_TRIES = 1000
"""Draws from the lists before templates count as impossible to fill."""


def _check_template(key: str, template: object, lists: Mapping) -> None:
    if template is None:
        return
    if not isinstance(template, str):
        raise SourceError(f"texts: '{key}' must be a template, not {template!r}")
    for field in re.findall(r"\{(\w*)\}", template):
        values = lists.get(field)
        if not isinstance(values, list) or not values:
            raise SourceError(
                f"texts: '{key}' asks for {{{field}}}, and 'lists' has no values for it"
            )


def _values(rng: random.Random, lists: Mapping, distinct) -> dict[str, str]:
    for _ in range(TEMPLATE_TRIES):
        values = {field: str(rng.choice(options)) for field, options in lists.items()}
        if all(values[a] != values[b] for a, b in distinct):
            return values
    raise SourceError(f"texts: no choice from 'lists' is distinct in {list(distinct)}")


def _two_scenes(rng: random.Random, template: str, lists: Mapping, differ) -> tuple[str, str]:
    for _ in range(TEMPLATE_TRIES):
        first, second = (_values(rng, lists, ()) for _ in range(2))
        texts = _filled(template, first), _filled(template, second)
        if texts[0] != texts[1] and all(first[field] != second[field] for field in differ):
            return texts
    raise SourceError("texts: 'scene' gives no two different scenes; add values to its lists")


def _filled(template: str, values: Mapping[str, str]) -> str:
    """``{field}`` replaced; never ``str.format``, whose fields reach into objects."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], template)


# ---- a text file ----

MAX_TEXT = 300
"""Longest item or scene, in characters; objects with longer ones are skipped."""

Entry = tuple[str, str | None, list[str]]
"""Item, category, scenes."""


def read_objects(path: Path, skipped: SkippedItems, *, need_scenes: bool) -> list[Entry]:
    """(item, category, scenes) of each usable line of a text file; the others go to ``skipped``.

    Raises:
        SourceError: the file cannot be read, or has no usable line.
    """
    try:
        refuse_pipe(path)
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(
            f"texts: {path} cannot be read ({error.strerror}); give a text file with "
            "one object per line"
        ) from None
    found: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        where = f"line {number}"
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            skipped.add("line is not UTF-8", where)
            continue
        if not text or text.startswith("#"):
            continue
        entry = read_object(text)
        if isinstance(entry, str):
            skipped.add(entry, where)
        elif need_scenes and len(entry[2]) < 2:
            skipped.add("object without two scenes", where)
        else:
            found.append(entry)
    if not found:
        raise SourceError(
            f"texts: {path} has no usable line ({skipped.line() or 'it is empty'}); "
            "write an item per line, or give 'scene' for items without scenes"
        )
    return found


def read_object(text: str) -> Entry | str:
    """A line as (item, category, scenes), or the reason why it cannot be used."""
    if not text.startswith("{"):
        return (text, None, []) if usable(text) else "text too long or not printable"
    try:
        entry = json.loads(text)
    except ValueError:
        return "line is not JSON"
    if not isinstance(entry, dict) or not usable(entry.get("item")):
        return "object without a usable item"
    scenes = entry.get("scenes") or []
    if not isinstance(scenes, list) or not all(map(usable, scenes)):
        return "scenes are not a list of texts"
    category = entry.get("category")
    return (
        entry["item"].strip(),
        category.strip() if isinstance(category, str) and usable(category) else None,
        list(dict.fromkeys(scene.strip() for scene in scenes)),
    )


def usable(text: object) -> bool:
    """Whether this is a text that can stand in a prompt."""
    return (
        isinstance(text, str)
        and bool(text.strip())
        and len(text) <= MAX_TEXT
        and text.strip().isprintable()
    )


# ---- a chat model ----

CHAT_DEFAULTS = {
    "objects": 200,
    "per_call": 20,
    "temperature": 1.0,
    "timeout_s": 120,
    "key_variable": None,
    "request": None,
}

CHAT_TRIES = 4
"""How often a request is sent before a busy endpoint counts as unreachable."""

MAX_FRUITLESS = 3
"""After this many replies in a row without a new object, no more are requested."""

REQUEST = """Think of {n} different physical objects that a person may own: toys, clothes, tools,
furniture, animals, food. Make them as unlike each other as you can, and give each a look of its
own.
Answer with a JSON list and nothing else. Each entry: {{"item": a phrase that says what the object
is and how it looks, "category": one word for its kind, "scenes": a list of three short phrases,
each a different place and light that the object could be photographed in}}.
Not these again: {known}."""


def chat_texts(settings: Mapping, cache: str | Path) -> Path:
    """The file of the objects that a chat model describes; requested where it does not exist yet.

    Of several processes the first sends the requests, the others wait for the file.

    Args:
        settings: ``endpoint`` (such as ``http://localhost:8000/v1``), ``model``, and any of
            :data:`CHAT_DEFAULTS`: ``objects`` wanted, ``per_call``, ``temperature``, ``timeout_s``,
            ``key_variable`` (environment variable with a key), ``request`` (a prompt with ``{n}``
            and ``{known}``).
        cache: directory of the file.

    Raises:
        SourceError: the endpoint cannot be reached, or describes nothing usable.
    """
    unknown = sorted(set(settings) - {"endpoint", "model", *CHAT_DEFAULTS})
    if unknown or not {"endpoint", "model"} <= set(settings):
        raise SourceError(
            "texts: chat needs 'endpoint' and 'model' and may have "
            f"{', '.join(CHAT_DEFAULTS)}" + (f", not '{unknown[0]}'" if unknown else "")
        )
    if not re.match(r"https?://", settings["endpoint"]):
        raise SourceError(f"texts: endpoint {settings['endpoint']!r} is not an http(s) address")
    settings = {**CHAT_DEFAULTS, **settings}
    path = Path(cache) / f"texts-{fingerprint_of(json.dumps(settings, sort_keys=True))}.jsonl"
    if int(os.environ.get("RANK", 0)) == 0:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".begun")
            request_objects(settings, unfinished)
            unfinished.rename(path)
        return path
    until = time.monotonic() + 60 * settings["timeout_s"]
    while not path.exists():
        if time.monotonic() > until:
            raise SourceError(
                f"texts: the first process did not write {path} in {settings['timeout_s']} minutes"
            )
        time.sleep(1)
    return path


def request_objects(settings: Mapping, path: Path) -> None:
    """Request objects until ``objects`` different ones are described, or nothing new comes.

    They are written to ``path`` after each reply; the objects that an earlier run wrote there are
    kept.

    Raises:
        SourceError: see :func:`chat_texts`.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = {entry["item"].strip().casefold(): entry for entry in map(json.loads, lines)}
    skipped = SkippedItems()
    fruitless = 0
    with tqdm(
        total=settings["objects"], initial=len(found), unit="object", desc=settings["model"]
    ) as bar:
        while len(found) < settings["objects"] and fruitless < MAX_FRUITLESS:
            known = ", ".join(list(found)[-40:]) or "-"
            n = min(settings["per_call"], settings["objects"] - len(found))
            text = (settings["request"] or REQUEST).format(n=n, known=known)
            before = len(found)
            for entry in json_objects(complete(settings, text)):
                reason = _defect(entry)
                if reason:
                    skipped.add(reason)
                elif len(found) < settings["objects"]:
                    found.setdefault(entry["item"].strip().casefold(), entry)
            if len(found) > before:
                with atomic_file(path) as file:
                    file.write("".join(json.dumps(o) + "\n" for o in found.values()).encode())
            bar.update(len(found) - before)
            fruitless = 0 if len(found) > before else fruitless + 1
    if not found:
        raise SourceError(
            f"texts: {settings['model']} at {settings['endpoint']} described nothing "
            f"usable in {MAX_FRUITLESS} replies ({skipped.line() or 'no JSON'}); "
            "try another model, or another 'request'"
        )


def complete(settings: Mapping, text: str) -> str:
    """One reply of the chat model; a busy endpoint is asked again after growing pauses.

    Raises:
        SourceError: the endpoint cannot be reached, refuses, or answers in another form.
    """
    key = os.environ.get(settings["key_variable"] or "")
    endpoint = Endpoint(
        settings["endpoint"], settings["model"], key, settings["timeout_s"], CHAT_TRIES
    )
    try:
        return chat(
            endpoint, [{"role": "user", "content": text}], temperature=settings["temperature"]
        )
    except ChatError as error:
        raise SourceError(f"texts: {error}; or give 'file' instead of 'chat'") from None


def json_objects(reply: str) -> Iterator[dict]:
    """All JSON objects in a reply: in a list, on lines, in a code block, among other words."""
    decoder, at = json.JSONDecoder(), 0
    while (start := reply.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(reply, start)
            yield value
        except (ValueError, RecursionError):
            at = start + 1


def _defect(entry: dict) -> str | None:
    read = read_object(json.dumps(entry))
    if isinstance(read, str):
        return read
    return "object without two scenes" if len(read[2]) < 2 else None
