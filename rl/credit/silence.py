r"""Silent rollouts guaranteed in groups where nobody is expected, and what they count for.

Once a policy names somebody whoever is shown, no rollout of such a group is silent: all have the
same reward, and nothing says that silence would pay. Here the last f of the group's G rollouts are
sampled under a constraint: tokens S that can begin a name are suppressed,

    q(y) = prod_t  pi(y_t | y_<t) [y_t not in S] / (1 - s_t),    s_t = pi(S | y_<t).

A rollout y counts as often as the policy alone would have written it, by the balance heuristic of
multiple importance sampling (Veach and Guibas, SIGGRAPH 1995):

    w(y) = pi(y) / ((1 - f/G) pi(y) + (f/G) q(y)) = 1 / (1 - f/G + (f/G) q(y)/pi(y)),

with q/pi = prod_t 1/(1 - s_t), or 0 where y holds a token of S. So w lies in 0 ... G/(G - f), and

    (1/G) sum_i w_i (r_i - b_i) grad log pi(y_i),   b_i = mean r of the free rollouts but i,

is the gradient of the expected reward, exactly in expectation: sum_i E[w_i h(y_i)] / G = E_pi[h]
for every h, and b_i has the same expectation for every i and does not depend on y_i. (With a
weighted mean over the whole group this would not hold.) All is multiplied by 1 - 1/G, as the mean
of a group, which holds the rollout itself, does to TRL's own estimate. The weight is applied to the
row's loss mask, so that the KL term is weighted alike.

Exact is not strong: where the policy is silent once in a thousand, so is the weight of silence
1/(1000 f/G). ``cap`` bounds q/pi and so keeps w of a forced rollout from vanishing: with 1, every
silent rollout counts fully (RC-GRPO, arXiv 2608.04698, forces "None" without ratios). Any cap makes
the gradient that of a policy which is silent more often than this one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import LogitsProcessor, LogitsProcessorList


class NameWatch(LogitsProcessor):
    """Suppresses the tokens that can begin a name in some rows, and records their probability in
    all.

    Args:
        openers: the tokens S of each of R rows; empty where a row is not watched.
        forced: R flags: whether S is suppressed.
        temperature: of the sampling, which transformers applies after this processor.
    """

    def __init__(self, openers: list[frozenset[int]], forced: list[bool], temperature: float):
        self.openers, self.forced, self.temperature = openers, forced, temperature
        self._mask: torch.Tensor | None = None  # (R, V)
        self._rows: torch.Tensor | None = None
        self._start = 0
        self._recorded: list[torch.Tensor] = []

    def __call__(self, input_ids, scores):
        if self._mask is None or self._rows is None:
            self._mask = torch.zeros(len(self.openers), scores.size(-1), dtype=torch.bool)
            for row, tokens in enumerate(self.openers):
                self._mask[row, list(tokens)] = True
            self._mask = self._mask.to(scores.device)
            self._rows = torch.arange(len(self.openers), device=scores.device)
            self._start = input_ids.size(1)
        mask = self._mask[self._rows]
        logits = scores.float() / self.temperature
        values = logits.masked_fill(mask, -torch.inf).logsumexp(-1) - logits.logsumexp(-1)
        place = input_ids.size(1) - self._start
        assert place == len(self._recorded), "a step of generation was not seen"
        self._recorded.append(values.new_zeros(len(self.openers)).index_copy(0, self._rows, values))
        forced = torch.tensor(self.forced, device=scores.device)[self._rows]
        return scores.masked_fill(mask & forced[:, None], -torch.inf)

    def keep(self, rows: torch.Tensor) -> None:
        """Only these of the present rows are sampled on (:mod:`rl.sharing.early_stop`)."""
        if self._rows is not None:
            self._rows = self._rows[rows]

    def log_silent(self, width: int) -> torch.Tensor:
        """(R, ``width``) log(1 - s_t) of every token of every row; 0 beyond what was sampled."""
        if not self._recorded:
            return torch.zeros(len(self.openers), width)
        found = torch.stack(self._recorded, dim=1)[:, :width]
        return torch.nn.functional.pad(found, (0, width - found.size(1)))


@contextmanager
def watched(model, watch: NameWatch) -> Iterator[None]:
    """Context in which ``model.generate`` samples through ``watch``.

    Args:
        model: the policy; adapters may wrap it.
    """
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    usual, replaced = plain.generate, "generate" in vars(plain)
    plain.generate = lambda **fields: usual(logits_processor=LogitsProcessorList([watch]), **fields)
    try:
        yield
    finally:
        if replaced:
            plain.generate = usual
        else:
            del plain.generate


def mixture_weights(
    log_silent: torch.Tensor,
    opened: torch.Tensor,
    forced: int,
    group: int,
    cap: float | None = None,
) -> torch.Tensor:
    """How often each rollout counts; see the module's docstring.

    Args:
        log_silent: (B,) sum over a rollout's tokens of log(1 - s_t), at most 0.
        opened: (B,) whether the rollout holds a token of S.
        forced: f, rollouts of a group that are sampled under the constraint; less than ``group``.
        group: G.
        cap: largest q/pi; ``None``: no bound, and an exact expectation.

    Returns:
        (B,) weights in 0 ... G / (G - f).
    """
    share = forced / group
    odds = torch.where(opened, 0.0, (-log_silent).exp())  # q / pi
    if cap is not None:
        odds = odds.clamp(max=cap)
    return 1 / (1 - share + share * odds)
