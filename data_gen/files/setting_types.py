"""The types of settings: which there are, what they accept, and how to say it.

A section of settings is a dataclass, a function or an :class:`Arguments`. Types are those of the
annotations, help comes from ``field(metadata={"help": ...})``, from the docstring's ``Args`` or
``Attributes``, or from the comment behind a field.
"""

import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import docstring_parser


@dataclass(frozen=True)
class Arguments:
    """A function's arguments as settings; they are read as a dict of those that were given.

    Attributes:
        function: whose annotations, defaults and docstring are used; a class is a function, too.
        skip: arguments that are not settings.
        more: further settings: name -> type; their default is ``None``.
        helps: name -> help, for arguments that the docstring does not explain.
    """

    function: Callable
    skip: frozenset[str] = frozenset()
    more: Mapping[str, Any] = field(default_factory=dict)
    helps: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """One setting: its annotation, its default (``MISSING`` where it must be given), its help."""

    type: Any
    default: Any
    help: str


@cache
def _docs(thing: Any) -> dict[str, str]:
    """Name -> help, from the ``Args`` or ``Attributes`` of a docstring."""
    found = {}
    for param in docstring_parser.parse(inspect.getdoc(thing) or "").params:
        for name in param.arg_name.split(","):
            found[name.strip()] = " ".join((param.description or "").split())
    return found


def settings_of(section: type | Callable | Arguments) -> dict[str, Setting]:
    """Name -> setting, of a section."""
    if not isinstance(section, Arguments):
        if not is_dataclass(section):
            return settings_of(Arguments(section))
        hints, docs = _hints(section), _class_docs(section)
        return {
            f.name: Setting(hints.get(f.name, Any), _default(f), docs.get(f.name, ""))
            for f in fields(section)
            if f.init
        }
    if is_dataclass(section.function):
        found = settings_of(typing.cast(type, section.function))
    else:
        hints, docs = _hints(section.function), _docs(section.function)
        found = {
            name: Setting(
                hints.get(name, Any),
                MISSING if p.default is p.empty else p.default,
                docs.get(name, ""),
            )
            for name, p in inspect.signature(section.function).parameters.items()
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
    found |= {name: Setting(hint, None, "") for name, hint in section.more.items()}
    return {
        name: replace(s, help=section.helps.get(name, s.help))
        for name, s in found.items()
        if name not in section.skip
    }


@cache
def _hints(thing: Any) -> dict[str, Any]:
    of_init = inspect.isclass(thing) and not is_dataclass(thing)
    return typing.get_type_hints(thing.__init__ if of_init else thing)


@cache
def _class_docs(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for parent in reversed(cls.__mro__):
        if is_dataclass(parent):
            found |= _comments(parent) | _docs(parent)
    return found | {f.name: f.metadata["help"] for f in fields(cls) if f.metadata.get("help")}


def _comments(cls: type) -> dict[str, str]:
    """Name -> the comment behind a field."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):
        return {}
    return dict(re.findall(r"^    (\w+): [^#\n]*  # (.*)$", source, re.MULTILINE))


def _default(f: dataclasses.Field) -> Any:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def members(hint: Any) -> tuple:
    """What a union is of; of anything else, itself."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(m for member in typing.get_args(hint) for m in members(member))
    return (hint,)


def allows_none(hint: Any) -> bool:
    """Whether ``None`` is a value."""
    return any(m in (None, type(None), Any, object) for m in members(hint))


def is_text(hint: Any) -> bool:
    """Whether a value is a text and nothing else (or ``None``)."""
    options = [m for m in members(hint) if m is not type(None)]
    return bool(options) and all(
        m is str
        or (isinstance(m, type) and issubclass(m, (Path, enum.Enum)))
        or (
            typing.get_origin(m) is typing.Literal
            and all(isinstance(v, str) for v in typing.get_args(m))
        )
        for m in options
    )


def is_scalar(hint: Any) -> bool:
    """Whether a value is one text, number, truth value or ``None``."""
    return is_text(hint) or all(m in (int, float, bool, str, type(None)) for m in members(hint))


def list_element(hint: Any) -> Any:
    """The type of a list's elements; ``MISSING`` where ``hint`` has no list."""
    for member in members(hint):
        origin = typing.get_origin(member) or member
        if origin in (list, tuple, set, frozenset, Sequence, Iterable):
            inner = [a for a in typing.get_args(member) if a is not Ellipsis]
            return inner[0] if len(set(inner)) == 1 else Any
    return MISSING


def only_list(hint: Any) -> bool:
    """Whether one word on the command line can only be a list of one."""
    return not any(m in (str, Any, object, dict, Mapping) for m in members(hint))


def dataclass_in(hint: Any) -> type | None:
    """The dataclass among what ``hint`` is a union of."""
    return next((m for m in members(hint) if isinstance(m, type) and is_dataclass(m)), None)


def mapping_value(hint: Any) -> Any:
    """The type of a mapping's values; ``MISSING`` where ``hint`` has no mapping."""
    for member in members(hint):
        if (typing.get_origin(member) or member) in (dict, Mapping):
            return (typing.get_args(member) or (Any, Any))[1]
    return MISSING


def type_at(hint: Any, path: Sequence[str]) -> Any:
    """The type of one part of a setting."""
    for step in path:
        if (cls := dataclass_in(hint)) is not None:
            setting = settings_of(cls).get(step)
            hint = setting.type if setting else Any
        else:
            value = mapping_value(hint)
            hint = Any if value is MISSING else value
    return hint


def type_words(hint: Any) -> str:
    """A type in words: ``list[str] | None`` is "a list in which each is a text or null"."""
    return " or ".join(dict.fromkeys(_type_word(m) for m in members(hint)))


def _type_word(hint: Any) -> str:
    plain = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        type(None): "null",
        Path: "a path",
        Any: "anything",
        object: "anything",
    }
    if hint in plain:
        return plain[hint]
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin in (dict, Mapping):
        return "a mapping" + (
            f" from {type_words(args[0])} to {type_words(args[1])}" if args else ""
        )
    if list_element(hint) is not MISSING:
        return "a list" + (f" in which each is {type_words(list_element(hint))}" if args else "")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " or ".join(repr(m.value) for m in hint)
    return "a mapping of settings" if is_dataclass(hint) else getattr(hint, "__name__", str(hint))


def type_name(hint: Any) -> str:
    """A type as ``--help`` shows it: ``list[str]|null``."""

    def name(member: Any) -> str:
        if member is type(None):
            return "null"
        if typing.get_origin(member) is typing.Literal:
            return "{" + ",".join(map(str, typing.get_args(member))) + "}"
        if typing.get_origin(member):
            return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(member))
        return getattr(member, "__name__", str(member))

    return "|".join(dict.fromkeys(name(m) for m in members(hint)))
