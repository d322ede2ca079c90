"""The registry of methods: kind to import string, so that only the chosen one is imported.

A method is a subclass of :class:`concepts.methods.protocol.Method`; its settings are the dataclass
``Settings`` of that class.
"""

from importlib import import_module

from concepts.methods.protocol import Method
from data_gen.files.errors import InputError
from data_gen.files.settings import did_you_mean

METHODS = {
    "in_context": "concepts.methods.in_context:InContext",
    "rap": "concepts.methods.rap:RAP",
    "r2p": "concepts.methods.r2p:R2P",
    "myvlm": "concepts.methods.myvlm.method:MyVLM",
    "yollava": "concepts.methods.soft_prompts.yollava:YoLLaVA",
}
"""Kind -> the class, ``module:name``."""


def method_class(kind: str) -> type[Method]:
    """The method of that kind.

    Raises:
        InputError: there is none, or what it needs is not installed: which package.
    """
    if kind not in METHODS:
        raise InputError(
            f"method must be one of {', '.join(METHODS)}, not {kind!r}"
            + did_you_mean(str(kind), list(METHODS))
        )
    module, _, name = METHODS[kind].partition(":")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the method {kind!r} needs the package {error.name!r}; install it first"
        ) from None
