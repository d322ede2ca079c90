"""What to draw: an object, its category and two scenes, by index.

From templates and lists of attributes, from a text file, or from a file that a chat model filled
(:mod:`data_gen.chat_texts`). Object ``i`` depends on the seed, the texts and ``i`` alone.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_gen.chat_texts import fetched_texts
from data_gen.maker import stamp_of
from data_gen.object_lines import read_objects
from data_gen.sources import SourceError

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
            ``chat``: see :func:`data_gen.chat_texts.fetched_texts`. Then ``category`` (a template),
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
