"""What to draw: an object, its category and two scenes, by index.

From templates and lists of attributes, from a text file, or from a file that a chat model filled
(:mod:`data_gen.synthesis.object_texts`). Object ``i`` depends on the seed, the texts and ``i`` alone.
"""

import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_gen.files.chat import ChatError, Endpoint, chat
from data_gen.files.errors import SourceError
from data_gen.files.files import atomic_file, stamp_of

KEYS = ("item", "category", "scene", "lists", "distinct", "scenes_differ", "file", "chat")

TRIES = 1000


@dataclass(frozen=True)
class ObjectText:
    """What one pair is to show: a thing in two scenes."""

    item: str
    category: str | None
    scenes: tuple[str, str]


@dataclass(frozen=True)
class Texts:
    """Objects by index, what was left out of a file (reason -> lines), and a digest of it all."""

    of: Callable[[int], ObjectText]
    left_out: Counter
    stamp: str


def object_texts(settings: Mapping, seed: int, cache: str | Path = "runs/cache") -> Texts:
    """Read the settings of a config's ``texts``.

    Args:
        settings: ``item``: a template such as ``{colour} {kind}``, or ``file``: a text file of one
            object per line (an item, or JSON with ``item``, ``category`` and ``scenes``), or
            ``chat``: see :func:`data_gen.synthesis.object_texts.fetched_texts`. Then ``category`` (a template),
            ``scene`` (a template, for objects that bring no two scenes), ``lists``: field -> its
            values, ``distinct``: pairs of fields that must not have the same value,
            ``scenes_differ``: fields in which the two scenes must differ.
        seed: of every draw.
        cache: directory of what a chat model wrote.

    Raises:
        SourceError: an unknown key or field, an empty list, no usable line; says which.
    """
    unknown = sorted(set(settings) - set(KEYS))
    if unknown:
        raise SourceError(f"texts: unknown key '{unknown[0]}'; it may have {', '.join(KEYS)}")
    given = [key for key in ("item", "file", "chat") if settings.get(key)]
    if len(given) != 1:
        raise SourceError("texts: give one of 'item' (a template), 'file' or 'chat', not "
                          f"{' and '.join(given) or 'none'}")
    lists = settings.get("lists") or {}
    for key in ("item", "category", "scene"):
        _check_template(key, settings.get(key), lists)
    scene, left_out = settings.get("scene"), Counter()
    if settings.get("item"):
        if not scene:
            raise SourceError("texts: 'scene' is missing: a template of what is around the object")
        objects, stamp = None, ""
    else:
        path = (Path(settings["file"]) if settings.get("file")
                else fetched_texts(settings["chat"], cache))
        objects = read_objects(path, left_out, need_scenes=not scene)
        stamp = stamp_of(path)

    def of(i: int) -> ObjectText:
        rng = random.Random(f"{seed}/object {i}")
        if objects is None:
            values = _values(rng, lists, settings.get("distinct") or ())
            category = settings.get("category")
            item, scenes = _filled(settings["item"], values), ()
            category = category and _filled(category, values)
        else:
            turn, place = divmod(i, len(objects))
            order = random.Random(f"{seed}/turn {turn}").sample(range(len(objects)), len(objects))
            item, category, scenes = objects[order[place]]
        if len(scenes) >= 2:
            return ObjectText(item, category, tuple(rng.sample(scenes, 2)))
        return ObjectText(item, category,
                          _two_scenes(rng, scene, lists, settings.get("scenes_differ") or ()))

    of(0)  # templates that cannot be filled are refused at once
    return Texts(of, left_out, stamp)


# ---- templates ----


def _check_template(key: str, template, lists: Mapping) -> None:
    if template is None:
        return
    if not isinstance(template, str):
        raise SourceError(f"texts: '{key}' must be a template, not {template!r}")
    for field in re.findall(r"\{(\w*)\}", template):
        values = lists.get(field)
        if not isinstance(values, list) or not values:
            raise SourceError(f"texts: '{key}' asks for {{{field}}}, and 'lists' has no values for "
                              "it")


def _values(rng: random.Random, lists: Mapping, distinct) -> dict[str, str]:
    for _ in range(TRIES):
        values = {field: str(rng.choice(options)) for field, options in lists.items()}
        if all(values[a] != values[b] for a, b in distinct):
            return values
    raise SourceError(f"texts: no choice from 'lists' is distinct in {list(distinct)}")


def _two_scenes(rng: random.Random, template: str, lists: Mapping, differ) -> tuple[str, str]:
    for _ in range(TRIES):
        first, second = (_values(rng, lists, ()) for _ in range(2))
        texts = _filled(template, first), _filled(template, second)
        if texts[0] != texts[1] and all(first[field] != second[field] for field in differ):
            return texts
    raise SourceError("texts: 'scene' gives no two different scenes; add values to its lists")


def _filled(template: str, values: Mapping[str, str]) -> str:
    """``{field}`` replaced; never ``str.format``, whose fields reach into objects."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match.group(1)], template)


MAX_TEXT = 300
"""Longest item or scene, in characters; longer ones are left out."""


Entry = tuple[str, str | None, list[str]]
"""Item, category, scenes."""


def read_objects(path: Path, left_out: Counter, *, need_scenes: bool) -> list[Entry]:
    """(item, category, scenes) of each usable line of a text file.

    Raises:
        SourceError: the file cannot be read, or has no usable line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SourceError(f"texts: {path} cannot be read ({error.strerror}); give a text file with "
                          "one object per line") from None
    found: list[Entry] = []
    for line in lines:
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            left_out["a line that is not UTF-8"] += 1
            continue
        if not text or text.startswith("#"):
            continue
        entry = read_object(text)
        if isinstance(entry, str):
            left_out[entry] += 1
        elif need_scenes and len(entry[2]) < 2:
            left_out["an object without two scenes"] += 1
        else:
            found.append(entry)
    if not found:
        raise SourceError(f"texts: {path} has no usable line ({dict(left_out) or 'it is empty'}); "
                          "write an item per line, or give 'scene' for items without scenes")
    return found


def read_object(text: str) -> Entry | str:
    """A line as (item, category, scenes), or the reason why it is of no use."""
    if not text.startswith("{"):
        return (text, None, []) if usable(text) else "a text too long or not printable"
    try:
        entry = json.loads(text)
    except ValueError:
        return "a line that is no JSON"
    if not isinstance(entry, dict) or not usable(entry.get("item")):
        return "an object without a usable item"
    scenes = entry.get("scenes") or []
    if not isinstance(scenes, list) or not all(map(usable, scenes)):
        return "scenes that are no list of texts"
    category = entry.get("category")
    return (entry["item"].strip(), category.strip() if usable(category) else None,
            list(dict.fromkeys(scene.strip() for scene in scenes)))


def usable(text) -> bool:
    """Whether this is a text to write into a prompt."""
    return (isinstance(text, str) and bool(text.strip()) and len(text) <= MAX_TEXT
            and text.strip().isprintable())


DEFAULTS = {"objects": 200, "per_call": 20, "temperature": 1.0, "timeout_s": 120,
            "key_variable": None, "request": None}


CHAT_TRIES = 4


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
    endpoint = Endpoint(settings["endpoint"], settings["model"], key, settings["timeout_s"], CHAT_TRIES)
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
