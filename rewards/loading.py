"""Load the reward functions that a config lists, and find every mistake before weights load.

A reward is given by its address:

    rewards:mention_f1           a function of this package
    my_package.module:f          any importable module, the current directory included
    path/to/file.py:f            a file, relative to the current directory

Its keyword parameters say what it needs: those without a default are columns of the data (or what
TRL itself passes), those with a default are settings, which a config may change. A setting whose
parameter is annotated as a `Callable`, such as a reader of captions or a judge, is given by its
address, too. Weights are given beside the addresses, as TRL's `reward_weights`.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

# What TRL 1.16 passes to every reward function, beside the columns of the data.
TRL_PASSES = frozenset(
    {"prompts", "completions", "completion_ids", "trainer_state", "log_metric", "log_extra"}
)
_LARGEST = 3.4e38  # of float32
# Columns that TRL does not pass, and the name under which it passes their content.
TRL_KEEPS = {"prompt": "prompts", "completion": "completions"}


def load_rewards(
    specs: Sequence[str],
    settings: Mapping[str, Mapping] | None = None,
    *,
    weights: Sequence[float] | None = None,
    uncounted_ids: Iterable[int] = (),
) -> list[Callable]:
    """Load the reward functions that a config names.

    Args:
        specs: addresses, such as `["rewards:object_consistency", "my_rewards.py:mentions_colour"]`.
        settings: settings by address or function name: `{"mention_f1": {"floor": 100}}`.
        weights: one per address; only checked here, TRL applies them.
        uncounted_ids: see `load_reward`.

    Returns:
        One callable per address, in order, ready for `GRPOTrainer(reward_funcs=…)`.

    Raises:
        RewardError: an address or setting is wrong, a setting belongs to no listed reward, two
            rewards share a name (TRL logs by name), or the weights are not one finite number per
            reward.
    """
    rewards, unused = [], dict(settings or {})
    for spec in specs:
        name = spec.rpartition(":")[2]
        by_spec, by_name = unused.pop(spec, {}), unused.pop(name, {})
        if by_spec and by_name:
            raise RewardError(f"reward {spec!r} has settings under its address and its name")
        rewards.append(load_reward(spec, by_spec or by_name, uncounted_ids=uncounted_ids))
    if unused:
        raise RewardError(f"settings for {_listed(unused)}, but the rewards are {_listed(specs)}")
    names = [reward_name(reward) for reward in rewards]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RewardError(f"rewards are logged by name, and {_listed(twice)} is listed twice")
    if weights is not None and (
        len(weights) != len(specs) or not all(math.isfinite(weight) for weight in weights)
    ):
        raise RewardError(
            f"reward weights are {list(weights)}, but {len(specs)} rewards need one number each"
        )
    return rewards


def load_reward(
    spec: str, settings: Mapping | None = None, *, uncounted_ids: Iterable[int] = ()
) -> Callable:
    """Load one reward function.

    Args:
        spec: its address; see the module's docstring.
        settings: values for its keyword parameters.
        uncounted_ids: end, padding and other special token ids of the policy's tokenizer; passed to
            a function that has a parameter of that name, unless the settings set it.

    Returns:
        The function itself or, with anything bound, a partial of the same `__name__`.

    Raises:
        RewardError: the address does not lead to a function, the function cannot take what TRL
            passes, or a setting is unknown or, for the rewards of this package, out of range.
    """
    function = _resolve(spec)
    parameters = _parameters(function, spec)
    if not isinstance(settings or {}, Mapping):
        raise RewardError(f"settings of reward {spec!r} are a {type(settings).__name__}, not a map")
    bound = dict(settings or {})
    uncounted_ids = frozenset(uncounted_ids)
    if unknown := bound.keys() - (parameters.keys() - TRL_PASSES):
        known = [p.name for p in parameters.values() if p.default is not p.empty]
        known = set(known) - TRL_PASSES
        raise RewardError(f"reward {spec!r} has no setting {_listed(unknown)} but {_listed(known)}")
    if uncounted_ids and "uncounted_ids" in parameters:
        bound.setdefault("uncounted_ids", uncounted_ids)
    for name, value in bound.items():
        if isinstance(value, str) and "Callable" in str(parameters[name].annotation):
            bound[name] = _resolve(value, f"{name} of {spec}")
    reward = functools.partial(function, **bound) if bound else function
    if bound:
        # TRL logs by the name, profilers print it.
        vars(reward).update(__name__=reward_name(function), __doc__=function.__doc__)
    if function.__module__.partition(".")[0] == "rewards":
        _try_on_no_rows(reward, spec)
    return reward


def required_columns(reward: Callable) -> tuple[str, ...]:
    """Columns of the data that a reward requires.

    Args:
        reward: a reward function, or a partial of one.

    Returns:
        Names of its parameters without default and bound value that TRL does not pass by itself, in
        the order of its signature.
    """
    parameters = _parameters(reward, reward_name(reward))
    return tuple(
        p.name for p in parameters.values() if p.default is p.empty and p.name not in TRL_PASSES
    )


def check_columns(rewards: Iterable[Callable], dataset_columns: Iterable[str]) -> None:
    """Refuse data that lacks a column which a reward requires.

    Args:
        rewards: reward functions, as `load_rewards` returns them.
        dataset_columns: the data's column names.

    Raises:
        RewardError: one sentence that names every missing column and the rewards that require it;
            or a setting has the name of a column, which TRL would pass instead of the setting.
    """
    columns = set(dataset_columns)
    missing = []
    for reward in rewards:
        name = reward_name(reward)
        for column in required_columns(reward):
            if column in TRL_KEEPS:
                missing.append(
                    f"{name!r} asks for {column!r}, which TRL passes as {TRL_KEEPS[column]!r} only"
                )
            elif column not in columns:
                missing.append(f"{name!r} asks for {column!r}")
        settings = reward.keywords if isinstance(reward, functools.partial) else {}
        if clash := settings.keys() & columns:
            raise RewardError(
                f"{_listed(clash)} is a setting of reward {name!r} and a column of the data, "
                "which would override it"
            )
    if missing:
        raise RewardError(
            f"the data lacks columns for its rewards: {'; '.join(missing)}; "
            f"it has {_listed(columns)}"
        )


def checked(reward: Callable) -> Callable:
    """The same reward, which refuses to return what is none, and changes nothing that it is given.

    TRL takes NaN for "not judged", adds infinities up, and fails on the rest somewhere in torch. It
    gives all rewards the same lists, and writes them into its log: each is called with its own.

    Args:
        reward: a reward function, or a partial or coroutine function of one.

    Returns:
        A function of the same name. It raises `RewardError` where the reward does not return a list
        with a finite number, or None, for each completion, or ends the program; the sentence
        names reward, value and row.
    """
    name = reward_name(reward)
    if inspect.iscoroutinefunction(reward):

        async def awaited(**columns):
            try:
                return _numbers(name, await reward(**_copied(columns)), columns)
            except SystemExit as error:
                raise _ended(name, error) from None

        call: Callable = awaited
    else:

        def called(**columns):
            try:
                return _numbers(name, reward(**_copied(columns)), columns)
            except SystemExit as error:
                raise _ended(name, error) from None

        call = called
    call.__name__, call.__doc__ = name, reward.__doc__
    return call


def _copied(value):
    """The same lists and maps anew, with the same things in them."""
    if isinstance(value, list):
        return [_copied(part) for part in value]
    return {key: _copied(part) for key, part in value.items()} if type(value) is dict else value


def _ended(name: str, error: SystemExit) -> RewardError:
    return RewardError(
        f"reward {name!r} ends the program (exit status {error.code}); let it return"
    )


def reward_name(reward: Callable) -> str:
    """The name under which TRL logs a reward."""
    while isinstance(reward, functools.partial):
        reward = reward.func
    return getattr(reward, "__name__", type(reward).__name__)


def _resolve(spec: str, what: str = "reward") -> Callable:
    where, colon, name = spec.rpartition(":")
    if not (where and colon and name.isidentifier()):
        raise RewardError(
            f"{what} {spec!r} is not an address; write module:function or path/to/file.py:function"
        )
    if where.endswith(".py") and not Path(where).is_file():
        raise RewardError(f"{what} {spec!r}: there is no file {where!r} in {str(Path.cwd())!r}")
    try:
        module = _import_file(where) if where.endswith(".py") else _import_module(where)
    except (Exception, SystemExit) as error:
        raise RewardError(
            f"{what} {spec!r}: {where} does not import, {type(error).__name__}: {error}"
        ) from error
    if name not in vars(module):
        near = difflib.get_close_matches(name, vars(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RewardError(f"{what} {spec!r}: {where} has no function {name!r}{hint}")
    function = vars(module)[name]
    if isinstance(function, type) or not callable(function):
        raise RewardError(f"{what} {spec!r} is not a function but {function!r}")
    return function


def _import_module(name: str):
    # `accelerate launch launch/grpo.py` puts launch/ on the path, not the working directory.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return importlib.import_module(name)


def _import_file(where: str):
    path = Path(where).resolve()
    # The name holds a hash of the whole path, so that two files `reward.py` are two modules.
    name = f"_reward_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # before it runs, as Python does: dataclasses look there
    try:
        module_spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _parameters(function: Callable, spec: str) -> dict[str, inspect.Parameter]:
    """Named parameters of a reward; RewardError where TRL could not call it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise RewardError(f"reward {spec!r} has no signature to read, {error}") from error
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise RewardError(f"reward {spec!r} must end in **_, because TRL passes every column to it")
    if unnamed := [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]:
        raise RewardError(f"reward {spec!r} takes {_listed(unnamed)} by position, TRL passes names")
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {p.name: p for p in parameters if p.kind in named}


def _try_on_no_rows(reward: Callable, spec: str) -> None:
    """Call a reward of this package on an empty batch, in which it checks only its settings."""
    empty = {name: [] for name in (*TRL_PASSES, *required_columns(reward))}
    try:
        reward(**empty)
    except (ValueError, TypeError) as error:
        raise RewardError(f"reward {spec!r} refuses its settings: {error}") from error


def _numbers(name: str, values, columns: Mapping) -> list[float | None]:
    """What a reward returned, as numbers and None; RewardError where it is anything else."""
    n = len(columns["completions"])
    must = "a reward returns a list with a finite number, or None, for each completion"
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise RewardError(f"reward {name!r} returned {_shown(values)} for {n} completions; {must}")
    if getattr(values, "ndim", 1) != 1 or len(values) != n:
        found = f"{len(values)} values" if getattr(values, "ndim", 1) else "one value"
        raise RewardError(f"reward {name!r} returned {found} for {n} completions; {must}")
    numbers = []
    for i, value in enumerate(values):
        number = _number(value)
        if value is not None and number is None:
            row = columns.get("id") or range(n)
            raise RewardError(
                f"reward {name!r} returned {_shown(value)} for row {row[i]!r}; {must} (None for a "
                "row that it does not judge)"
            )
        numbers.append(number)
    return numbers


def _number(value) -> float | None:
    """A number that is finite in 32 bits, as TRL keeps rewards; None for anything else."""
    if value is None or isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return number if abs(number) < _LARGEST else None


def _shown(value) -> str:
    try:
        return f"{value!r:.60} ({type(value).__name__})"
    except Exception:  # a __repr__ of its author's, a number of thousands of digits
        return f"a {type(value).__name__}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


class RewardError(ValueError):
    """A reward that a config lists cannot be used; the message is one sentence for its author."""
