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
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_pipe
from data_gen.files.setting_types import (
    Arguments,
    Setting,
    allows_none,
    dataclass_in,
    is_scalar,
    is_text,
    list_element,
    mapping_value,
    members,
    only_list,
    settings_of,
    type_at,
    type_words,
)
from data_gen.files.settings_help import help_text
from data_gen.files.yaml_1_2 import (
    Loader,
    one_line,
    refuse_twice,
    short,
    yaml_node,
    yaml_text,
    yaml_value,
)

__all__ = [
    "Arguments",
    "config_path",
    "did_you_mean",
    "find_config",
    "help_text",
    "read_settings",
    "read_yaml",
    "settings_from",
    "take_options",
    "yaml_text",
]

PACKAGE = Path(__file__).parents[2]  # the checkout, or where the wheel was installed
COMMAND_LINE = "command line"


# The programs' side: what is read


def read_settings(
    argv: Sequence[str],
    *sections: type | Callable | Arguments,
    default_config: str | Path | None = None,
    choose: Callable[[dict], Any] | None = None,
    library: Sequence[type] = (),
    positional: str | None = None,
    refuse: Mapping[str, str] | None = None,
    program: str = "",
    doc: str | None = "",
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
        print(
            help_text(
                known,
                " ".join(words[-1]),
                library=library,
                program=program,
                doc=doc,
                chosen=len(sections),
                listing=listing,
            )
        )
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
        section: a dataclass, a function or an :class:`Arguments`. ``FORMER`` of a dataclass says
            what keys of former versions are called now.
        where: what holds the values, for the sentence.

    Raises:
        InputError: no mapping; an unknown, missing or unfitting key.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be a mapping of settings, not {short(values)}")
    known = settings_of(section)
    for key in values:
        if key in (former := getattr(section, "FORMER", {})):
            raise InputError(f"{where}: '{key}' is {former[key]} now")
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(str(key), known)}")
    fitting = {key: _fitting(value, known[key].type, key, where) for key, value in values.items()}
    return _made(section, known, fitting, where)


def take_options(argv: Sequence[str], *names: str) -> tuple[list[str], list[str]]:
    """The options of these names, with their values, and the rest of a command line."""
    taken: list[str] = []
    rest: list[str] = []
    to = rest
    for word in argv:
        if re.match(r"--[A-Za-z_]", word) or word == "-h":
            to = taken if word[2:].partition("=")[0] in names else rest
        to.append(word)
    return taken, rest


def config_path(argv: Sequence[str]) -> Path | None:
    """What ``--config`` names on a command line; ``None`` where it is not given."""
    return _config_of(_options(argv, None), None)


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


def _made(section, known: dict[str, Setting], given: dict[str, Any], where: str) -> Any:
    """The section itself, from values that fit it."""
    for name, setting in known.items():
        if setting.default is MISSING and name not in given:
            raise InputError(
                f"{where}: '{name}' is missing"
                + (f" ({setting.help.rstrip('.')})" if setting.help else "")
            )
    if isinstance(section, Arguments) or not is_dataclass(section):
        return given
    try:
        return typing.cast(type, section)(**given)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: {one_line(error)}") from error


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
        _made(
            section,
            own := settings_of(section),
            {key: value for key, value in values.items() if key in own},
            where,
        )
        for section in sections
    )


def _as_list(chosen: Any) -> list:
    return [] if chosen is None else [*chosen] if isinstance(chosen, (list, tuple)) else [chosen]


def _merged(sections: Sequence) -> dict[str, Setting]:
    known: dict[str, Setting] = {}
    for section in sections:
        known = settings_of(section) | known
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
                raise InputError(
                    f"{COMMAND_LINE}: unknown option '--{option}'" + did_you_mean(key, known)
                )
            continue
        piece = _Piece(path, words, COMMAND_LINE)
        pieces[key] = [piece] if not path else [*pieces.get(key, []), piece]
    values = {}
    for key, found in pieces.items():
        if key in refuse:
            raise InputError(f"{found[-1].where}: '{key}' {refuse[key]}")
        if key not in known:
            if complete:
                raise InputError(
                    f"{found[-1].where}: unknown key '{key}'" + did_you_mean(str(key), known)
                )
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
        part = _python(piece, type_at(hint, piece.path), ".".join([key, *piece.path]))
        value = _replaced(value, piece.path, part, key, piece.where)
    return value


def _replaced(value: Any, path: Sequence[str], part: Any, key: str, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise InputError(f"{where}: '{key}.{path[0]}' cannot be set, as '{key}' is {short(value)}")
    step, *rest = path
    # A file's keys may be numbers, as in `concepts: {1: 0.6}`.
    step = next(
        (known for known in value if str(known) == step),
        _scalar(step) if any(isinstance(known, int) for known in value) else step,
    )
    below = value.get(step)
    new = (
        _replaced({} if below is None else below, rest, part, f"{key}.{step}", where)
        if rest
        else part
    )
    return {**value, step: new}


def _options(argv: Sequence[str], positional: str | None) -> dict[str, list[list[str]]]:
    """Option -> the words that follow it, each time that it is given."""
    found: dict[str, list[list[str]]] = {}
    name = positional
    for word in argv:
        if word in ("-h", "--help"):
            name = "help"
            found.setdefault(name, []).append([])
        elif re.match(r"--[A-Za-z_]", word):
            name, equals, value = word[2:].partition("=")
            found.setdefault(name, []).append([value] if equals else [])
        elif name is not None:
            found.setdefault(name, [[]])[-1].append(word)
        else:
            raise InputError(f"{COMMAND_LINE}: write settings as --key value, not '{word}'")
    return found


def _config_of(options: dict[str, list[list[str]]], default: str | Path | None) -> Path | None:
    words = options.pop("config", [None])[-1]
    if words is not None and len(words) != 1:
        raise InputError(
            "--config needs a file"
            if not words
            else f"--config takes one file, not {', '.join(words)}"
        )
    path = words[0] if words else default
    return None if path is None else find_config(path)


def _python(piece: _Piece, hint: Any, key: str) -> Any:
    if isinstance(piece.value, yaml.Node):
        return yaml_value(piece.value, hint, piece.where)
    given: list[list[str]] = piece.value  # each time that the option was given
    words, element = given[-1], list_element(hint)
    if element is not MISSING:
        words = [word for each in given for word in each]
        lists = [word for word in words if word.lstrip().startswith("[")]
        if len(words) == 1 and lists:
            return _from_text(words[0], hint, key)
        if len(words) == 1 and words[0] == "null" and allows_none(hint):
            return None
        if len(words) > 1 or only_list(hint):
            return [_from_text(word, element, key) for word in words]
    if not words:
        if bool in members(hint):
            return True
        raise InputError(f"{COMMAND_LINE}: --{key} needs a value")
    if element is MISSING and len(words) > 1 and not is_scalar(hint):
        return [_from_text(word, Any, key) for word in words]
    if len(words) > 1:
        raise InputError(
            f"{COMMAND_LINE}: --{key} takes one value, not {' '.join(words)}; write "
            "settings as --key value"
        )
    return _from_text(words[0], hint, key)


def _from_text(text: str, hint: Any, key: str) -> Any:
    if is_text(hint):
        return None if text == "null" and allows_none(hint) else text
    try:
        node = yaml_node(text)
    except yaml.YAMLError as error:
        if str in members(hint):
            return text
        raise InputError(f"{COMMAND_LINE}: --{key} is not YAML: {one_line(error)}") from None
    return None if node is None else yaml_value(node, hint, COMMAND_LINE)


def _scalar(text: str) -> Any:
    return _from_text(text, Any, "")


def _file_values(path: Path) -> dict[str, list[_Piece]]:
    """Key -> what the file and its base say of it, the base's first."""
    nodes = _file_nodes(path)
    base = nodes.pop("base", None)
    found: dict[str, list[_Piece]] = {}
    if base is not None:
        named = yaml_value(base, str, str(path))
        if not isinstance(named, str):
            raise InputError(f"{path}: 'base' must name a file, not {short(named)}")
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
        refuse_pipe(path)
        node = yaml_node(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (at byte {error.start}); save it as that"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {one_line(error)}") from None
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path} holds no settings")
    refuse_twice(node, str(path))
    Loader("").flatten_mapping(node)
    return {key.value: value for key, value in node.value}


def _fitting(value: Any, hint: Any, key: str, where: str) -> Any:
    """``value`` as ``hint`` has it.

    Raises:
        InputError: it does not fit.
    """
    if isinstance(value, Mapping):
        if (cls := dataclass_in(hint)) is not None:
            return settings_from(value, cls, f"{where}: '{key}'")
        of = mapping_value(hint)
        if of is not MISSING and dataclass_in(of):
            return {k: _fitting(v, of, f"{key}.{k}", where) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return value
    if value is None and allows_none(hint):
        return None
    if isinstance(value, str) and str in members(hint) and is_text(hint):
        return value
    try:
        if value is None:  # jsonargparse takes it for everything
            raise ValueError
        checked = _checked(value, hint)
    except Exception as error:  # jsonargparse's own kinds, and those of what it calls
        raise InputError(
            f"{where}: '{key}' must be {type_words(hint)}, not {short(value)}"
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


def _shown_sections(options, sections, choose) -> list:
    """The program's sections, and what was chosen by what stands beside ``--help``."""
    options = dict(options)
    if choose is None or not options:
        return [*sections]
    try:
        config = _config_of(options, None)
        known = _merged(sections)
        values = _values(_file_values(config) if config else {}, options, known, {}, complete=False)
        defaults = {name: s.default for name, s in known.items() if s.default is not MISSING}
        return [*sections, *_as_list(choose(defaults | values))]
    except (InputError, KeyError):
        return [*sections]
