"""What counting says the loss gains, how far that is off, and which constants fit best.

A pass costs ``overhead + tokens + attention x (work of attention) + images x (work of the tower) +
head x (work of TRL's LM head on a CPU)`` in tokens (:mod:`rl.sharing.cost`). Stock's cost over ours
is the prediction of how many times faster ours is: each case is compared with itself, whatever a
token takes in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy

from rl.sharing.cost import ATTENTION, OVERHEAD, Prices, packed_cost, unshared_cost
from rl.speed.pairs import faster
from rl.speed.workload import Shape

IMAGES = 1.0
"""How many times dearer a multiplication of a frozen vision tower is than one of the decoder's
linear layers: measured by ``byname bench_step``."""

HEAD = 2.4
"""How many times dearer TRL's LM head on a CPU is, per token, than that of
:mod:`rl.sharing.scoring`: measured in the same way."""

AIM = 0.15
"""Error of a prediction that is aimed at where the prompt is at least :data:`LONG` completions."""

LONG = 4

RESAMPLES = 2000


@dataclass(frozen=True)
class Constants:
    """Of the cost of a pass: its fixed part in tokens, and how many times dearer than counted
    attention, images and TRL's LM head are; none is negative."""

    overhead: float = OVERHEAD
    attention: float = ATTENTION
    images: float = IMAGES
    head: float = HEAD


class Work(NamedTuple):
    """Work of a pass in tokens: of linear layers and LM head, of attention, of the vision tower, of
    TRL's LM head where it takes prompts, too."""

    tokens: float
    attention: float
    images: float
    head: float


class Errors(NamedTuple):
    """How far the predictions of n cases are off.

    Attributes:
        cases: n.
        median: of the absolute relative errors, with a 95 % interval over cases.
        within: how many are off by :data:`AIM` at most.
        largest: the largest, and its case.
    """

    cases: int
    median: float
    interval: tuple[float, float]
    within: int
    largest: float
    worst: str


def works(result: dict) -> tuple[Work, Work]:
    """Stock's and our work in a case that bench_step measured."""
    shape, prices = Shape(**result["shape"]), Prices(**result["prices"])
    rows, P, C = shape.prompts * shape.G, shape.prompt, shape.completion
    free, bare = replace(prices, pair=0.0), replace(prices, pair=0.0, scored=0.0)
    dear = result["stock_scores_all"]
    stock = unshared_cost(rows, P, C, bare if dear else free)
    ours = packed_cost(shape.prompts, shape.G, P, C, free)
    return (
        Work(
            stock,
            unshared_cost(rows, P, C, prices) - unshared_cost(rows, P, C, free),
            rows * shape.images * result["image_price"],
            rows * (P + C) * prices.scored if dear else 0.0,
        ),
        Work(ours, packed_cost(shape.prompts, shape.G, P, C, prices) - ours, 0.0, 0.0),
    )


def predicted(result: dict, constants: Constants | None = None) -> float:
    """How many times faster our loss should be than stock's; 1 where prompts are not shared.

    Args:
        constants: by default those in use.
    """
    if not result["shared"]:
        return 1.0
    found = constants or Constants()
    stock, ours = (_cost(work, found) for work in works(result))
    return stock / ours


def error(result: dict, constants: Constants | None = None) -> float:
    """Relative error of :func:`predicted`: 0.1 where it is a tenth more than was measured."""
    return predicted(result, constants) / faster(result, "loss") - 1


def fit(results: Sequence[dict]) -> Constants | None:
    """The constants that predict these cases best; ``None`` for fewer than five that share. One
    that no case tells anything of is as in use.

    Least squares of the relative error: with r the measured ratio, ``stock - r ours`` is linear in
    the constants, and is divided by the predicted cost of stock, which is computed anew until it
    stays.
    """
    shared = [result for result in results if result["shared"]]
    if len(shared) < 5:
        return None
    ratio = numpy.array([faster(result, "loss") for result in shared])
    stock, ours = (numpy.array(side) for side in zip(*map(works, shared), strict=True))
    side = numpy.insert(stock[:, 1:], 0, 1, axis=1)
    matrix = side - ratio[:, None] * numpy.insert(ours[:, 1:], 0, 1, axis=1)
    target = ratio * ours[:, 0] - stock[:, 0]
    found = numpy.array(astuple(Constants()))
    told = (side != 0).any(axis=0)
    for _ in range(50):
        before, weight = found, 1 / (stock[:, 0] + side @ found)
        best = not_negative(matrix[:, told] * weight[:, None], target * weight)
        found = before.copy()
        found[told] = best
        if numpy.allclose(before, found, rtol=1e-6, atol=1e-9):
            break
    return Constants(*map(float, found))


def not_negative(matrix: numpy.ndarray, target: numpy.ndarray) -> numpy.ndarray:
    """(k,) least-squares solution of (n, k) ``matrix`` x = (n,) ``target`` with no x below 0: the
    best of those in which some are 0 and the others free."""
    k = matrix.shape[1]
    best, least = numpy.zeros(k), float(target @ target)
    for size in range(1, k + 1):
        for chosen in map(list, combinations(range(k), size)):
            part = numpy.linalg.lstsq(matrix[:, chosen], target, rcond=None)[0]
            left = float(((matrix[:, chosen] @ part - target) ** 2).sum())
            if (part >= 0).all() and left < least:
                best, least = numpy.zeros(k), left
                best[chosen] = part
    return best


def errors_in_use(results: Sequence[dict]) -> dict[str, float]:
    """Case -> error of its prediction with the constants in use, for cases that share."""
    return {r["case"]: error(r) for r in results if r["shared"]}


def errors_left_out(results: Sequence[dict]) -> dict[str, float]:
    """Case -> error of its prediction with constants that were fitted to the other cases."""
    found = {}
    for i, result in enumerate(results):
        if result["shared"] and (others := fit([*results[:i], *results[i + 1 :]])) is not None:
            found[result["case"]] = error(result, others)
    return found


def long_prompt(result: dict) -> bool:
    """Whether P >= 4 C."""
    return result["shape"]["prompt"] >= LONG * result["shape"]["completion"]


def errors_of(
    results: Sequence[dict], found: dict[str, float], of: Callable[[dict], bool]
) -> Errors | None:
    """The errors of those cases for which ``of`` holds; ``None`` where there are none."""
    cases = [r["case"] for r in results if r["case"] in found and of(r)]
    if not cases:
        return None
    sizes = numpy.array([abs(found[case]) for case in cases])
    drawn = numpy.random.default_rng(0).integers(len(cases), size=(RESAMPLES, len(cases)))
    low, high = numpy.quantile(numpy.median(sizes[drawn], axis=1), (0.025, 0.975))
    worst = int(sizes.argmax())
    return Errors(
        len(cases),
        float(numpy.median(sizes)),
        (float(low), float(high)),
        int((sizes <= AIM).sum()),
        float(sizes[worst]),
        cases[worst],
    )


def _cost(work: Work, constants: Constants) -> float:
    return (
        constants.overhead
        + work.tokens
        + constants.attention * work.attention
        + constants.images * work.images
        + constants.head * work.head
    )
