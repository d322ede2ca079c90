"""Advantages by reward function, and where in a completion each of them applies.

TRL's advantage of a completion is linear in its rewards once the divisor is given, so it is a sum
of parts, one for each reward function. The parts differ in where they apply (token credit), and the
rollouts in how often they count (:mod:`rl.credit.silence`, :mod:`rl.credit.exact_answers`).
"""

from dataclasses import dataclass

import torch
from trl.trainer.utils import nanstd

EPSILON = 1e-4
"""TRL's, added to every standard deviation that divides."""


@dataclass
class Rollouts:
    """N = groups x G completions over all processes, in global order.

    Attributes:
        rewards: (N, F), NaN where a function returned None.
        group: G.
        weight: (N,) how often a completion counts: 1 where the policy sampled it freely.
        forced: (N,) whether it was sampled under a constraint.
        listed: (N,) whether its group is a list of candidate answers; the policy's other answers
            count as one with reward 0.
    """

    rewards: torch.Tensor
    group: int
    weight: torch.Tensor
    forced: torch.Tensor
    listed: torch.Tensor

    def by_group(self, values: torch.Tensor) -> torch.Tensor:
        """(N, ...) -> (groups, G, ...)."""
        return values.view(-1, self.group, *values.shape[1:])


def advantage_parts(
    rollouts: Rollouts, weights: torch.Tensor, scale: str, aggregation: str
) -> torch.Tensor:
    """(N, F) advantages by reward function; their sum over F is the advantage.

    Where every rollout was sampled freely the sum equals TRL's: r - mean(r), divided by the
    standard deviation of the group, of the batch, or by nothing. In groups with forced rollouts the
    baseline is that of :mod:`rl.credit.silence`. In lists of candidate answers there is none: it
    would only reduce the variance, and there is none. Mean and standard deviation are those of the
    policy in either, estimated from weighted rollouts or known.

    Args:
        weights: (F,) of the reward functions.
        scale: TRL's ``scale_rewards``: ``group``, ``batch`` or ``none``.
        aggregation: TRL's ``multi_objective_aggregation``: ``sum_then_normalize``, or
            ``normalize_then_sum`` (GDPO, arXiv 2601.05242). There the sum is divided once more, by
            the standard deviation of the batch without lists of candidates.
    """
    rewards = rollouts.rewards
    judged = ~rewards.isnan().all(dim=1)
    if aggregation == "sum_then_normalize":
        weighted = rewards.nan_to_num(nan=0.0) * weights  # (N, F)
        total = weighted.sum(1).masked_fill(~judged, torch.nan)
        parts = _centered(rollouts, weighted, judged[:, None].expand_as(weighted))
        if scale == "group":
            parts = parts / (_std(rollouts, total[:, None]) + EPSILON)
        elif scale == "batch":
            parts = parts / (nanstd(total) + EPSILON)
    else:
        known = ~rewards.isnan()
        parts = _centered(rollouts, rewards.nan_to_num(nan=0.0), known)
        parts = parts / (_std(rollouts, rewards) + EPSILON) * weights
        parts = parts.nan_to_num(nan=0.0)
        drawn = judged & ~rollouts.listed
        if drawn.any():
            count = rollouts.weight * drawn
            mean = (parts * count[:, None]).sum(0) / count.sum()
            parts = torch.where(rollouts.listed[:, None], parts, parts - mean)
            square = (parts.sum(1) ** 2 * count).sum() / count.sum()
            n = drawn.sum()
            parts = parts / ((square * n / (n - 1)).sqrt() + EPSILON)
    return torch.where(judged[:, None], parts, 0.0).nan_to_num(nan=0.0)


def _centered(rollouts: Rollouts, values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(N, F) ``values`` less the baseline of each rollout; 0 where they are not ``known``."""
    x, known = rollouts.by_group(values), rollouts.by_group(known)
    free = known & ~rollouts.by_group(rollouts.forced)[..., None]
    n, total = free.sum(1, keepdim=True), (x * free).sum(1, keepdim=True)
    mean = total / n.clamp(min=1)
    others = (total - x * free) / (n - free.long()).clamp(min=1)
    some_forced = rollouts.by_group(rollouts.forced).any(1)[:, None, None]
    centered = torch.where(some_forced, (x - others) * (1 - 1 / rollouts.group), x - mean)
    listed = rollouts.by_group(rollouts.listed)[..., None]
    return (torch.where(listed, x, centered) * known).view_as(values)


def _std(rollouts: Rollouts, values: torch.Tensor) -> torch.Tensor:
    """(N, F) standard deviation of each rollout's group; NaN in ``values`` is left out."""
    x = rollouts.by_group(values)
    plain = nanstd(x, dim=1, keepdim=True).expand_as(x)
    G = rollouts.group
    weight = rollouts.by_group(rollouts.weight)[..., None]
    listed = rollouts.by_group(rollouts.listed)[:, :1, None]
    known = x.nan_to_num(nan=0.0)
    mean = (weight * known).sum(1, keepdim=True) / G
    square = (weight * (known - mean) ** 2).sum(1, keepdim=True)
    rest = (G - weight.sum(1, keepdim=True)).clamp(min=0) * mean**2
    square = torch.where(listed, (square + rest) / G, square / max(G - 1, 1))
    special = listed | rollouts.by_group(rollouts.forced).any(1)[:, None, None]
    return torch.where(special, square.sqrt(), plain).reshape(values.shape)


def silent_bonus(
    naming: torch.Tensor, silent: torch.Tensor, asks: torch.Tensor, group: int, factor: float
) -> torch.Tensor:
    """What is added to the advantage of silent rollouts: factor (1 - 2p).

    p is the success rate of the group's rollouts that name somebody: the mean of their naming
    reward. Where naming goes wrong, as in every rollout of a group where nobody is expected,
    silence gains ``factor``; where naming succeeds, it loses as much. Added to the reward instead,
    the term would also move all the others, through the group's mean.

    Source: TIAR, arXiv 2605.25850, whose p counts an abstention as no success, too. There a group
    in which all abstain has p = 0, so that silence would confirm itself, in groups where somebody
    is expected as well; here nothing is added where no rollout names anybody.

    Args:
        naming: (N,) naming reward, clipped to 0 ... 1; NaN counts as 0.
        silent: (N,) whether the rollout names nobody.
        asks: (N,) whether its task asks for names.
        group: G.
        factor: lambda; the paper's is 1, and 0.3 was too little there.

    Returns:
        (N,) terms, 0 for rollouts that are not silent.
    """
    named = (asks & ~silent).view(-1, group)
    success = (naming.nan_to_num(nan=0.0).clamp(0, 1).view(-1, group) * named).sum(1, keepdim=True)
    count = named.sum(1, keepdim=True)
    term = factor * (1 - 2 * success / count.clamp(min=1))
    return (term * (count > 0)).expand(-1, group).reshape(-1) * (asks & silent)


def by_token(whole: torch.Tensor, naming: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """(B, T) advantages: ``whole`` at every token, and ``naming`` in addition at the ``places``.

    With all places true this is TRL's own advantage, ``whole + naming``, at every token; elsewhere
    the terms of the policy gradient that credit other tokens with a name are left out, and those
    that remain are unchanged.

    Args:
        whole: (B,) advantages of the rewards that judge the whole completion.
        naming: (B,) advantages of the rewards that judge names.
        places: (B, T) tokens that are credited with the names.
    """
    return whole[:, None] + naming[:, None] * places
