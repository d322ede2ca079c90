"""YAML as settings are written: version 1.2's numbers, booleans and null.

PyYAML reads version 1.1, in which ``1e-5`` is a text, ``on`` is true, ``2024-05-01`` a date and
``1:30`` a number to base sixty. Digits may still be grouped by ``_``, as in ``40_960``.
"""

import re
from dataclasses import MISSING
from typing import Any

import yaml

from data_gen.files.errors import InputError
from data_gen.files.setting_types import is_text, list_element, type_at


class Loader(yaml.SafeLoader):
    """YAML 1.2's numbers, booleans and null; digits may be grouped by ``_``."""

    yaml_implicit_resolvers: dict = {}


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


class Dumper(yaml.SafeDumper):
    """Quotes the texts that :class:`Loader` would not read as texts."""

    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def yaml_text(values: dict) -> str:
    """Settings as YAML, in their order; :func:`read_yaml` reads the same back."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    digits = loader.construct_scalar(node).replace("_", "")
    based = re.match(r"[-+]?0[ox]", digits)
    return int(digits, 0 if based else 10)


Loader.add_constructor("tag:yaml.org,2002:int", _whole_number)


def yaml_node(text: str) -> yaml.Node | None:
    """The document as a node, so that its values are made once their types are known."""
    loader = Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def yaml_value(node: yaml.Node, hint: Any, where: str) -> Any:
    """The value of a node; a number where ``hint`` is a text stays as it was written."""
    if isinstance(node, yaml.MappingNode):
        refuse_twice(node, where)
        loader = Loader("")
        loader.flatten_mapping(node)
        found = {}
        for key, value in node.value:
            name = yaml_value(key, Any, where)
            if isinstance(name, (list, dict)):
                raise InputError(f"{where}: a key cannot be {short(name)}")
            found[name] = yaml_value(value, type_at(hint, [str(name)]), where)
        return found
    if isinstance(node, yaml.SequenceNode):
        element = list_element(hint)
        return [
            yaml_value(item, Any if element is MISSING else element, where) for item in node.value
        ]
    if is_text(hint) and not node.tag.endswith((":null", ":str")):
        return node.value
    try:
        return Loader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where} cannot be read: {one_line(error)}") from None


def refuse_twice(node: yaml.MappingNode, where: str) -> None:
    """Refuse a mapping with the same key twice, of which YAML would keep the last."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and not key.tag.endswith(":merge"):
            if key.value in seen:
                raise InputError(
                    f"{where}: '{key.value}' is given twice (line {key.start_mark.line + 1})"
                )
            seen.add(key.value)


def short(value: Any) -> str:
    """A value for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    return " ".join(str(error).split())
