"""One reader of settings for all programs: a YAML file, and ``--key value`` laid over it.

A program says what its settings are in dataclasses and functions, and reads them all at once::

    @dataclass(kw_only=True)
    class EvaluateSettings:
        benchmark: str = field(default="toybox", metadata={"help": "A key of BENCHMARKS."})
        policy: list[str] = field(default_factory=list, metadata={"help": "PATH or LABEL=PATH."})

    def chosen(values):           # once `benchmark` is known, its own settings are read, too
        return BENCHMARKS[values["benchmark"]].settings

    settings, benchmark_settings = read_settings(
        argv, EvaluateSettings, choose=chosen, program="evaluate", doc=__doc__)

A dataclass comes back as an instance, a function as a dict of the arguments that were given
(:class:`Arguments`). ``kw_only`` lets a setting without a default stand anywhere.

What a user may write:

- ``--config FILE``: YAML 1.2 (``1e-5`` is a number, ``on`` and ``2024-05-01`` are texts; digits may
  be grouped, as in ``40_960``). ``configs/...`` is found in the installed package from any folder.
- ``base: other.yaml`` in a file: that file's settings first, its path relative to the file that
  names it. A key replaces the base's whole value, ``key.part: value`` one part of it. A base has
  no base of its own.
- ``--key value``, ``--key=value``; ``--key`` alone where the setting is true or false. The value
  is read as YAML, unless the setting is a text: ``--root 2024_05`` stays as typed, and ``null`` is
  ``None`` where ``None`` is allowed.
- ``--key.part value``: one part of a mapping or a dataclass; the rest stays as the file has it.
- Lists as ``--key a b``, as ``--key a --key b`` or as ``--key "[a, b]"``.
- ``--help``, ``--help all``, ``--help WORD``.

Unknown keys, missing keys and values of a wrong type are refused with an
:class:`~data_gen.files.errors.InputError` of one sentence.

Types are those of the annotations, and jsonargparse decides what fits them: it is kept up by
others, knows unions, literals, enums and nested containers, and reports which of them failed. Its
own command line is not used: it would read ``2024_05`` as a number, print TRL's two hundred
settings first, and cannot lay ``--sizes.full.oct 100`` over a free-form mapping. This module adds
that, ``base``, the sentences and the help.
"""

import copy
import dataclasses
import difflib
import enum
import inspect
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import docstring_parser
import yaml

from data_gen.files.errors import InputError

PACKAGE = Path(__file__).parents[2]  # the checkout, or where the wheel was installed
COMMAND_LINE = "command line"


# The programs' side: what is read


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


def read_settings(
    argv: Sequence[str],
    *sections: type | Callable | Arguments,
    default_config: str | Path | None = None,
    choose: Callable[[dict], Any] | None = None,
    library: Sequence[type] = (),
    positional: str | None = None,
    refuse: Mapping[str, str] | None = None,
    program: str = "",
    doc: str = "",
    listing: str = "",
) -> tuple:
    """Read settings from ``--config FILE`` and the command line, which wins.

    Args:
        argv: without the program's name.
        sections: dataclasses, functions or :class:`Arguments`. A key that two of them have goes to
            both.
        default_config: the file where none is named; without one, no file is needed.
        choose: gets the values of ``sections``, defaults included; returns one further section, a
            sequence of them, or ``None``. It may raise ``InputError``.
        library: those of ``sections`` that are a library's: ``--help`` only counts their settings.
        positional: the setting that values before the first ``--key`` belong to.
        refuse: keys of ``sections`` that cannot be given -> why, such as "is set from 'name'".
        program: its name in ``--help``.
        doc: the program's docstring, which ``--help`` prints first.
        listing: printed by ``--help`` after the settings, where ``choose`` had nothing to go by.

    Returns:
        One instance (of a function: one dict) for each section, those of ``choose`` last.

    Raises:
        InputError: a file that cannot be read, an unknown, missing or unfitting setting.
        SystemExit: after ``--help``.
    """
    options = _options(argv, positional)
    if (words := options.pop("help", None)) is not None:
        known = _shown_sections(options, sections, choose)
        print(help_text(known, words[0] if words else "", library=library, program=program,
                        doc=doc, chosen=len(sections), listing=listing))
        raise SystemExit(0)
    config = _config_of(options, default_config)
    given = _file_values(config) if config else {}
    return _read(given, options, sections, choose, refuse or {}, config)


def read_yaml(path: str | Path) -> dict:
    """The settings of a file as a plain dict, its ``base`` laid under it; nothing else is checked.

    Raises:
        InputError: no such file, not YAML, no mapping, or a base that cannot be used.
    """
    file = find_config(path)
    return {key: _laid_over(None, parts, Any) for key, parts in _file_values(file).items()}


def settings_from(values: Any, section: type | Callable | Arguments, where: str) -> Any:
    """What :func:`read_settings` makes of one section, from values that are read already.

    Args:
        values: key -> value.
        section: a dataclass, a function or an :class:`Arguments`.
        where: what holds the values, for the sentence.

    Raises:
        InputError: no mapping; an unknown, missing or unfitting key.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be a mapping of settings, not {_short(values)}")
    known = _settings_of(section)
    for key in values:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(str(key), known)}")
    fitting = {key: _fitting(value, known[key].type, key, where) for key, value in values.items()}
    return _made(section, known, fitting, where)


def find_config(path: str | Path) -> Path:
    """``path``, or where the installed package has it if it begins with ``configs/``."""
    path = Path(path)
    if not path.exists() and path.parts[:1] == ("configs",) and (PACKAGE / path).exists():
        return PACKAGE / path
    return path


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """A clause that names the nearest of ``known``, or nothing."""
    near = difflib.get_close_matches(key, [str(k) for k in known], 1)
    return f"; did you mean '{near[0]}'?" if near else ""


class BenchmarkError(InputError):
    """A benchmark cannot be used. The message names the file and says what to do."""


def check_settings(given: Any, cls: type, where: str) -> None:
    """Refuse what cannot be the settings of a dataclass.

    Raises:
        BenchmarkError: no mapping, or a setting that ``cls`` does not have.
    """
    if not isinstance(given, dict):
        raise BenchmarkError(f"{where} must hold settings, not {given!r:.60}")
    known = [f.name for f in fields(cls)]
    if unknown := [key for key in given if key not in known]:
        raise BenchmarkError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(known)}")


# Sections: which settings there are


@dataclass(frozen=True)
class _Setting:
    type: Any
    default: Any  # MISSING where it must be given
    help: str


@cache
def _docs(thing: Any) -> dict[str, str]:
    """Name -> help, from the ``Args`` or ``Attributes`` of a docstring."""
    found = {}
    for param in docstring_parser.parse(inspect.getdoc(thing) or "").params:
        for name in param.arg_name.split(","):
            found[name.strip()] = " ".join((param.description or "").split())
    return found


def _settings_of(section: type | Callable | Arguments) -> dict[str, _Setting]:
    if isinstance(section, Arguments):
        hints = _hints(section.function)
        own = _class_docs(section.function) if is_dataclass(section.function) else _docs(
            section.function)
        found = {}
        for name, parameter in inspect.signature(section.function).parameters.items():
            if name in section.skip or parameter.kind in (parameter.VAR_POSITIONAL,
                                                          parameter.VAR_KEYWORD):
                continue
            default = MISSING if parameter.default is parameter.empty else parameter.default
            found[name] = _Setting(hints.get(name, Any), default,
                                   section.helps.get(name, own.get(name, "")))
        return found | {name: _Setting(hint, None, section.helps.get(name, ""))
                        for name, hint in section.more.items()}
    if not is_dataclass(section):
        return _settings_of(Arguments(section))
    hints, docs = _hints(section), _class_docs(section)
    return {f.name: _Setting(hints.get(f.name, Any), _default(f), docs.get(f.name, ""))
            for f in fields(section) if f.init}


@cache
def _hints(thing: Any) -> dict[str, Any]:
    return typing.get_type_hints(thing.__init__ if inspect.isclass(thing) and not is_dataclass(thing)
                                 else thing)


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


def _made(section, known: dict[str, _Setting], given: dict[str, Any], where: str) -> Any:
    """The section itself, from values that fit it."""
    for name, setting in known.items():
        if setting.default is MISSING and name not in given:
            raise InputError(f"{where}: '{name}' is missing" + (f" ({setting.help.rstrip('.')})"
                                                               if setting.help else ""))
    if isinstance(section, Arguments) or not is_dataclass(section):
        return given
    try:
        return section(**given)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {_one_line(error)}") from error


# Reading: a file's nodes, the command line's words, and what both make of a setting


def _read(given, options, sections, choose, refuse, config) -> tuple:
    where = str(config) if config else COMMAND_LINE
    sections = [*sections]
    known = _merged(sections)
    values = _values(given, options, known, refuse, complete=choose is None)
    if choose is not None:
        defaults = {name: s.default for name, s in known.items() if s.default is not MISSING}
        more = _as_list(choose(defaults | values))
        if more:
            sections += more
            known = _merged(sections)
        values = _values(given, options, known, refuse, complete=True)
    return tuple(
        _made(section, own := _settings_of(section),
              {key: value for key, value in values.items() if key in own}, where)
        for section in sections)


def _as_list(chosen: Any) -> list:
    return [] if chosen is None else [*chosen] if isinstance(chosen, (list, tuple)) else [chosen]


def _merged(sections: Sequence) -> dict[str, _Setting]:
    known: dict[str, _Setting] = {}
    for section in sections:
        known = _settings_of(section) | known
    return known


def _values(given, options, known, refuse, *, complete: bool) -> dict[str, Any]:
    """Key -> value of all that was given and is known, checked.

    Args:
        complete: whether ``known`` is all there is, so that other keys are refused.
    """
    # Key -> (parts, where): the file's first, so that the command line is laid over them.
    pieces: dict[str, list[_Piece]] = {key: [*found] for key, found in given.items()}
    for option, words in options.items():
        key, *path = option.split(".")
        if key not in known and key.replace("-", "_") in known:
            key = key.replace("-", "_")
        if key not in known:
            if complete:
                raise InputError(f"{COMMAND_LINE}: unknown option '--{option}'"
                                 + did_you_mean(key, known))
            continue
        piece = _Piece(path, words, COMMAND_LINE)
        pieces[key] = [piece] if not path else [*pieces.get(key, []), piece]
    values = {}
    for key, found in pieces.items():
        if key in refuse:
            raise InputError(f"{found[-1].where}: '{key}' {refuse[key]}")
        if key not in known:
            if complete:
                raise InputError(f"{found[-1].where}: unknown key '{key}'"
                                 + did_you_mean(str(key), known))
            continue
        setting = known[key]
        value = _laid_over(setting.default, found, setting.type, key)
        values[key] = _fitting(value, setting.type, key, found[-1].where)
    return values


@dataclass
class _Piece:
    """What one place says of a setting: a node of a file, or the words behind an option."""

    path: list[str]  # [] is the whole setting
    value: Any
    where: str


def _laid_over(default: Any, pieces: Sequence[_Piece], hint: Any, key: str = "") -> Any:
    """The whole value first, then each part laid over it."""
    whole = [piece for piece in pieces if not piece.path]
    value: Any = MISSING
    for piece in whole[-1:]:
        value = _python(piece, hint, key)
    for piece in pieces:
        if not piece.path:
            continue
        if value is MISSING or value is None:
            value = {} if default is MISSING or default is None else default
            if is_dataclass(value) and not isinstance(value, type):
                value = dataclasses.asdict(value)
        part = _python(piece, _type_at(hint, piece.path), ".".join([key, *piece.path]))
        value = _replaced(value, piece.path, part, key, piece.where)
    return value


def _replaced(value: Any, path: Sequence[str], part: Any, key: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: '{key}.{path[0]}' cannot be set, as '{key}' is "
                         f"{_short(value)}")
    step, *rest = path
    # A file's keys may be numbers, as in `concepts: {1: 0.6}`.
    step = next((known for known in value if str(known) == step), _scalar(step)
                if any(isinstance(known, int) for known in value) else step)
    below = value.get(step)
    new = _replaced({} if below is None else below, rest, part, f"{key}.{step}", where) if rest \
        else part
    return {**value, step: new}


def _options(argv: Sequence[str], positional: str | None) -> dict[str, list]:
    """Option -> the words that follow it; a repeated one has all of them."""
    found: dict[str, list] = {}
    name = None
    for word in argv:
        if word in ("-h", "--help"):
            name = "help"
            found.setdefault(name, [])
        elif re.match(r"--[A-Za-z_]", word):
            name, equals, value = word[2:].partition("=")
            found.setdefault(name, [])
            if equals:
                found[name].append(value)
        elif name is None and positional is None:
            raise InputError(f"{COMMAND_LINE}: write settings as --key value, not '{word}'")
        else:
            name = name or positional
            found.setdefault(name, []).append(word)
    return found


def _config_of(options: dict[str, list], default: str | Path | None) -> Path | None:
    words = options.pop("config", None)
    if words is not None and len(words) != 1:
        raise InputError("--config needs a file" if not words else
                         f"--config takes one file, not {', '.join(words)}")
    path = words[0] if words else default
    return None if path is None else find_config(path)


def _python(piece: _Piece, hint: Any, key: str) -> Any:
    if isinstance(piece.value, yaml.Node):
        return _construct(piece.value, hint, piece.where)
    words: list[str] = piece.value
    element = _list_element(hint)
    if element is not MISSING:
        lists = [word for word in words if word.lstrip().startswith("[")]
        if len(words) == 1 and lists:
            return _from_text(words[0], hint, key)
        if len(words) == 1 and words[0] == "null" and _allows_none(hint):
            return None
        if len(words) > 1 or _only_list(hint):
            return [_from_text(word, element, key) for word in words]
    if not words:
        if bool in _members(hint):
            return True
        raise InputError(f"{COMMAND_LINE}: --{key} needs a value")
    if element is MISSING and len(words) > 1 and not _is_scalar(hint):
        return [_from_text(word, Any, key) for word in words]
    if len(words) > 1:
        raise InputError(f"{COMMAND_LINE}: --{key} takes one value, not {' '.join(words)}; write "
                         "settings as --key value")
    return _from_text(words[0], hint, key)


def _from_text(text: str, hint: Any, key: str) -> Any:
    if _is_text(hint):
        return None if text == "null" and _allows_none(hint) else text
    try:
        node = _node(text)
    except yaml.YAMLError as error:
        if str in _members(hint):
            return text
        raise InputError(f"{COMMAND_LINE}: --{key} is not YAML: {_one_line(error)}") from None
    return None if node is None else _construct(node, hint, COMMAND_LINE)


def _scalar(text: str) -> Any:
    return _from_text(text, Any, "")


# YAML 1.2


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers, booleans and null; digits may be grouped by ``_``."""

    yaml_implicit_resolvers: dict = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool",
                              re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"),
                              ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(
    r"^[-+]?(?:[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+)$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(
    r"^[-+]?(?:(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"), list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


class _Dumper(yaml.SafeDumper):
    """Quotes the texts that :class:`_Loader` would not read as texts."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(values: dict) -> str:
    """Settings as YAML, in their order; :func:`read_yaml` reads the same back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node).replace("_", "")
    based = re.match(r"[-+]?0[ox]", digits)
    return int(digits, 0 if based else 10)


_Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def _node(text: str) -> yaml.Node | None:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _construct(node: yaml.Node, hint: Any, where: str) -> Any:
    """The value of a node; a number where ``hint`` is a text stays as it was written."""
    if isinstance(node, yaml.MappingNode):
        _refuse_twice(node, where)
        loader = _Loader("")
        loader.flatten_mapping(node)
        found = {}
        for key, value in node.value:
            name = _construct(key, Any, where)
            if isinstance(name, (list, dict)):
                raise InputError(f"{where}: a key cannot be {_short(name)}")
            found[name] = _construct(value, _type_at(hint, [str(name)]), where)
        return found
    if isinstance(node, yaml.SequenceNode):
        element = _list_element(hint)
        return [_construct(item, Any if element is MISSING else element, where)
                for item in node.value]
    if _is_text(hint) and not node.tag.endswith((":null", ":str")):
        return node.value
    try:
        return _Loader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where} cannot be read: {_one_line(error)}") from None


def _refuse_twice(node: yaml.MappingNode, where: str) -> None:
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
            if key.value in seen:
                raise InputError(f"{where}: '{key.value}' is given twice "
                                 f"(line {key.start_mark.line + 1})")
            seen.add(key.value)


def _file_values(path: Path) -> dict[str, list[_Piece]]:
    """Key -> what the file and its base say of it, the base's first."""
    nodes = _file_nodes(path)
    base = nodes.pop("base", None)
    found: dict[str, list[_Piece]] = {}
    if base is not None:
        named = _construct(base, str, str(path))
        if not isinstance(named, str):
            raise InputError(f"{path}: 'base' must name a file, not {_short(named)}")
        below = path.parent / named
        beneath = _file_nodes(below)
        if "base" in beneath:
            raise InputError(f"{path}: its base {below} has a base, too; only one level is read")
        _lay(beneath, below, found)
    _lay(nodes, path, found)
    return found


def _lay(nodes: dict[str, yaml.Node], path: Path, found: dict[str, list[_Piece]]) -> None:
    for key, node in nodes.items():
        name, *parts = str(key).split(".")
        piece = _Piece(parts, node, str(path))
        found[name] = [*found.get(name, []), piece] if parts else [piece]


def _file_nodes(path: Path) -> dict[str, yaml.Node]:
    try:
        node = _node(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text (at byte {error.start}); save it as that"
                         ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {_one_line(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path} holds no settings")
    _refuse_twice(node, str(path))
    _Loader("").flatten_mapping(node)
    return {key.value: value for key, value in node.value}


# Types


def _members(hint: Any) -> tuple:
    """What a union is of; of anything else, itself."""
    if isinstance(hint, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        hint = hint.__value__
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(m for member in typing.get_args(hint) for m in _members(member))
    return (hint,)


def _allows_none(hint: Any) -> bool:
    return any(m in (None, type(None), Any, object) for m in _members(hint))


def _is_text(hint: Any) -> bool:
    """Whether a value is a text and nothing else (or ``None``)."""
    members = [m for m in _members(hint) if m is not type(None)]
    return bool(members) and all(
        m is str or (isinstance(m, type) and issubclass(m, (Path, enum.Enum)))
        or (typing.get_origin(m) is typing.Literal
            and all(isinstance(v, str) for v in typing.get_args(m)))
        for m in members)


def _is_scalar(hint: Any) -> bool:
    members = [m for m in _members(hint) if m is not type(None)]
    return _is_text(hint) or all(m in (int, float, bool, str) for m in members)


def _list_element(hint: Any) -> Any:
    """The type of a list's elements; ``MISSING`` where ``hint`` has no list."""
    for member in _members(hint):
        origin = typing.get_origin(member) or member
        if origin in (list, tuple, set, frozenset, Sequence, Iterable):
            inner = [a for a in typing.get_args(member) if a is not Ellipsis]
            return inner[0] if len(set(inner)) == 1 else Any
    return MISSING


def _only_list(hint: Any) -> bool:
    return not any(m in (str, Any, object, dict, Mapping) for m in _members(hint))


def _dataclass_in(hint: Any) -> type | None:
    return next((m for m in _members(hint) if is_dataclass(m)), None)


def _mapping_value(hint: Any) -> Any:
    """The type of a mapping's values; ``MISSING`` where ``hint`` has no mapping."""
    for member in _members(hint):
        if (typing.get_origin(member) or member) in (dict, Mapping):
            return (typing.get_args(member) or (Any, Any))[1]
    return MISSING


def _type_at(hint: Any, path: Sequence[str]) -> Any:
    """The type of one part of a setting."""
    for step in path:
        if (cls := _dataclass_in(hint)) is not None:
            setting = _settings_of(cls).get(step)
            hint = setting.type if setting else Any
        else:
            value = _mapping_value(hint)
            hint = Any if value is MISSING else value
    return hint


def _fitting(value: Any, hint: Any, key: str, where: str) -> Any:
    """``value`` as ``hint`` has it.

    Raises:
        InputError: it does not fit.
    """
    if isinstance(value, Mapping):
        if (cls := _dataclass_in(hint)) is not None:
            return settings_from(value, cls, f"{where}: '{key}'")
        of = _mapping_value(hint)
        if of is not MISSING and _dataclass_in(of):
            return {k: _fitting(v, of, f"{key}.{k}", where) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return value
    if value is None and _allows_none(hint):
        return None
    if isinstance(value, str) and str in _members(hint) and _is_text(hint):
        return value
    try:
        if value is None:  # jsonargparse takes it for everything
            raise ValueError
        checked = _checked(value, hint)
    except Exception as error:  # jsonargparse's own kinds, and those of what it calls
        raise InputError(f"{where}: '{key}' must be {type_words(hint)}, not {_short(value)}"
                         ) from error
    # 1 stays 1 where 1.0 is the same: what is written beside a set is what somebody typed.
    return value if type(checked) is not bool and _same(checked, value) else checked


def _same(a: Any, b: Any) -> bool:
    return isinstance(a, (int, float, str, list, dict, type(None))) and a == b


def _checked(value: Any, hint: Any) -> Any:
    parser = _parser(hint)
    found = parser.parse_object({"value": copy.deepcopy(value)})  # it changes lists in place
    return parser.instantiate(found)["value"]


@cache
def _parser(hint: Any):
    from jsonargparse import ArgumentParser  # half a second that `byname` alone need not wait for

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    return parser


def type_words(hint: Any) -> str:
    """A type in words: ``list[str] | None`` is "a list (of: text) or null"."""
    return " or ".join(dict.fromkeys(_type_word(m) for m in _members(hint)))


def _type_word(hint: Any) -> str:
    plain = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
             type(None): "null", Path: "a path", Any: "anything", object: "anything"}
    if hint in plain:
        return plain[hint]
    origin, args = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(map(repr, args))
    if origin in (dict, Mapping):
        return "a mapping" + (f" from {type_words(args[0])} to {type_words(args[1])}"
                              if args else "")
    if _list_element(hint) is not MISSING:
        return "a list" + (f" in which each is {type_words(_list_element(hint))}" if args else "")
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return " or ".join(repr(m.value) for m in hint)
    return "a mapping of settings" if is_dataclass(hint) else getattr(hint, "__name__", str(hint))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


# --help


def _shown_sections(options, sections, choose) -> list:
    """The program's sections, and what was chosen by what stands beside ``--help``."""
    options = dict(options)
    if choose is None or not options:
        return [*sections]
    try:
        config = _config_of(options, None)
        known = _merged(sections)
        values = _values(_file_values(config) if config else {}, options, known, {},
                         complete=False)
        defaults = {name: s.default for name, s in known.items() if s.default is not MISSING}
        return [*sections, *_as_list(choose(defaults | values))]
    except (InputError, KeyError):
        return [*sections]


def help_text(sections: Sequence, word: str = "", *, library: Sequence[type] = (),
              program: str = "", doc: str = "", chosen: int | None = None, listing: str = "") -> str:
    """What ``--help`` prints.

    Args:
        word: "" for the program's own settings, "all", or what to search names and help for.
        library: sections whose settings are only counted, unless searched for.
        chosen: how many of ``sections`` are the program's own; the others were chosen.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, 100)
    lines = []
    if not word:
        lines += [f"usage: {program} [--config FILE] [--key value ...]", "",
                  *inspect.cleandoc(doc).splitlines(), "", "settings:"]
        lines += _entry("config", "str", "A YAML file of settings; --key value is laid over it.",
                        width)
    hidden = 0
    for i, section in enumerate(sections):
        settings = _settings_of(section)
        if section in library and not word:
            hidden += len(settings)
            continue
        if not word and chosen is not None and i == chosen:
            lines += ["", f"settings of {_title(section)}:"]
        for name, setting in settings.items():
            text = setting.help
            if word not in ("", "all") and word.lower() not in f"{name} {text}".lower():
                continue
            lines += _entry(name, _type_name(setting.type), _with_default(text, setting.default),
                            width)
    if word and not lines:
        return f"no setting of {program} has {word!r} in its name or help"
    if not word and listing and (chosen is None or len(sections) <= chosen):
        lines += ["", *listing.splitlines()]
    if hidden:
        names = " and ".join(cls.__name__ for cls in library)
        lines += ["", f"and {hidden} more of {names}: --help all prints them, --help WORD searches "
                  "names and help of all"]
    return "\n".join(lines)


def _title(section: Any) -> str:
    thing = section.function if isinstance(section, Arguments) else section
    return f"{thing.__name__} ({thing.__module__})"


def _with_default(text: str, default: Any) -> str:
    if default is MISSING:
        return f"{text} (required)".strip()
    default = getattr(default, "value", default)
    shown = "null" if default is None else str(default).lower() if isinstance(default, bool) \
        else str(default) if not isinstance(default, str) else default or '""'
    return f"{text} (default: {shown})".strip()


def _entry(name: str, kind: str, text: str, width: int) -> list[str]:
    left = f"  --{name} {kind}"
    body = textwrap.wrap(text, width - 34)
    if len(left) < 33 and body:
        return [f"{left:<34}{body[0]}", *(" " * 34 + line for line in body[1:])]
    return [left, *(" " * 34 + line for line in body)]


def _type_name(hint: Any) -> str:
    def name(member: Any) -> str:
        if member is type(None):
            return "null"
        if typing.get_origin(member) is typing.Literal:
            return "{" + ",".join(map(str, typing.get_args(member))) + "}"
        if typing.get_origin(member):
            return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(member))
        return getattr(member, "__name__", str(member))

    return "|".join(dict.fromkeys(name(m) for m in _members(hint)))
