"""Forced silence: what the weights say, on a policy all of whose completions can be listed."""

import itertools

import pytest
import torch

from rl.credit.advantages import Rollouts, advantage_parts
from rl.credit.silence import NameWatch, mixture_weights

NAME, END = 0, 3
"""Of a vocabulary of 4: the token that begins a name, and the end."""


class ListedPolicy:
    """Completions of one or two tokens; the second one's logits depend on the first."""

    def __init__(self, naming: float):
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(4, 4, generator=generator, dtype=torch.float64)
        self.logits[:, NAME] += naming
        self.logits.requires_grad_(True)  # row 3: the first token; rows 0-2: after that token
        self.completions = [(END,)] + [(a, b) for a in range(3) for b in range(4)]

    def logps(self, *, silent: bool = False) -> torch.Tensor:
        """(Y,) log-probability of each completion; under the constraint where ``silent``."""
        logits = self.logits
        if silent:
            logits = logits.masked_fill(torch.arange(4) == NAME, -torch.inf)
        table = logits.log_softmax(-1)
        return torch.stack(
            [
                table[END, y[0]] + (table[y[0], y[1]] if len(y) > 1 else 0.0)
                for y in self.completions
            ]
        )

    def log_silent(self) -> torch.Tensor:
        """(Y,) sum over the tokens of log(1 - s_t)."""
        rest = (1 - self.logits.softmax(-1)[:, NAME]).log()
        return torch.stack(
            [rest[END] + (rest[y[0]] if len(y) > 1 else 0.0) for y in self.completions]
        )

    def opened(self) -> torch.Tensor:
        return torch.tensor([NAME in y for y in self.completions])


@pytest.mark.parametrize("naming", [0.0, 3.0])
@pytest.mark.parametrize(("group", "forced"), [(3, 1), (4, 2)])
def test_the_expectation_over_all_groups_is_the_exact_gradient(naming, group, forced):
    policy = ListedPolicy(naming)
    generator = torch.Generator().manual_seed(1)
    reward = torch.where(policy.opened(), 0.0, 1.0) + 0.1 * torch.rand(13, generator=generator)
    logps = policy.logps()
    (wanted,) = torch.autograd.grad((logps.exp() * reward).sum(), policy.logits, retain_graph=True)

    # Every group there can be, and how likely it is: the last rollouts are the forced ones.
    free, under = logps.exp().detach(), policy.logps(silent=True).exp().detach()
    groups = torch.tensor(list(itertools.product(range(13), repeat=group)))
    likely = torch.stack(
        [(under if g >= group - forced else free)[groups[:, g]] for g in range(group)]
    ).prod(0)
    assert likely.sum().item() == pytest.approx(1)
    every = groups.flatten()
    weight = mixture_weights(policy.log_silent()[every], policy.opened()[every], forced, group)
    is_forced = (torch.arange(len(every)) % group) >= group - forced
    rollouts = Rollouts(
        reward[every][:, None], group, weight.detach(), is_forced, torch.zeros_like(is_forced)
    )
    parts = advantage_parts(rollouts, torch.ones(1), "none", "sum_then_normalize")
    estimate = (weight.detach() * parts.sum(1) * logps[every]).view(-1, group).mean(1)
    (found,) = torch.autograd.grad((likely * estimate).sum(), policy.logits)
    torch.testing.assert_close(found, (1 - 1 / group) * wanted, atol=1e-6, rtol=1e-5)


def test_a_group_without_forced_rollouts_has_trls_own_advantage():
    rewards = torch.rand(8, 2)
    off = torch.zeros(8, dtype=torch.bool)
    rollouts = Rollouts(rewards, 4, torch.ones(8), off, off)
    parts = advantage_parts(rollouts, torch.tensor([1.0, 2.0]), "none", "sum_then_normalize")
    total = (rewards @ torch.tensor([1.0, 2.0])).view(2, 4)
    torch.testing.assert_close(parts.sum(1), (total - total.mean(1, keepdim=True)).flatten())


def test_weights_are_bounded_and_a_cap_lets_silence_count():
    silent = torch.tensor([0.0, -1.0, -20.0, -torch.inf, 0.0])
    opened = torch.tensor([False, False, False, False, True])
    exact = mixture_weights(silent, opened, 2, 8)
    assert exact[0] == 1  # the policy never names: the constraint changes nothing
    assert exact[4] == pytest.approx(8 / 6)  # a naming rollout was drawn by 6 of 8 only
    assert exact[2] < 1e-7 and exact[3] == 0
    assert mixture_weights(silent, opened, 2, 8, cap=1.0)[:4].tolist() == [1, 1, 1, 1]
    capped = mixture_weights(silent, opened, 2, 8, cap=4.0)
    assert capped[2] == pytest.approx(1 / (0.75 + 0.25 * 4)) and capped[1] == exact[1]


def test_the_watch_suppresses_names_where_forced_and_records_them_everywhere():
    watch = NameWatch([frozenset({0, 1}), frozenset({0, 1}), frozenset()], [True, False, True], 0.5)
    first = torch.randn(3, 5)
    after = watch(torch.zeros(3, 7, dtype=torch.long), first)
    assert after[0, :2].tolist() == [-torch.inf] * 2
    assert torch.equal(after[1:], first[1:]) and torch.equal(after[0, 2:], first[0, 2:])
    watch.keep(torch.tensor([0, 2]))  # the second row has ended
    second = torch.randn(2, 5)
    after = watch(torch.zeros(2, 8, dtype=torch.long), second)
    assert after[0, :2].tolist() == [-torch.inf] * 2 and torch.equal(after[1], second[1])
    recorded = watch.log_silent(4)
    rest = (first / 0.5).softmax(-1)[:, 2:].sum(-1).log()
    torch.testing.assert_close(recorded[:2, 0], rest[:2])
    torch.testing.assert_close(recorded[0, 1], (second / 0.5).softmax(-1)[0, 2:].sum().log())
    assert recorded[2].tolist() == [0] * 4 and recorded[1, 1:].tolist() == [0] * 3
