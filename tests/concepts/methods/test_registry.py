"""The registry of methods: every kind that is there keeps the protocol; others are told of."""

from dataclasses import is_dataclass

import pytest

from concepts.methods import registry
from concepts.methods.protocol import Method
from concepts.methods.registry import METHODS, method_class
from data_gen.files.errors import InputError


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_is_one(kind):
    method = method_class(kind)
    assert issubclass(method, Method) and method.kind == kind and is_dataclass(method.Settings)
    method(list, list)  # nothing abstract is left


def test_other_kinds_are_refused_with_the_nearest():
    with pytest.raises(InputError, match="not 'yolava'; did you mean 'yollava'"):
        method_class("yolava")


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(registry.METHODS, "faces", "no_such_package.heads:Faces")
    with pytest.raises(InputError, match="'faces' needs the package 'no_such_package'"):
        method_class("faces")
