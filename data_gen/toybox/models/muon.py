"""Muon in single precision: matrices by orthogonalised momentum, everything else by AdamW.

``torch.optim.Muon`` computes in bfloat16, which a CPU without bfloat16 arithmetic does many times
slower than single precision, and takes matrices only. The formulas are its own:
https://kellerjordan.github.io/posts/muon, with the scale that matches AdamW's updates
(0.2 sqrt(larger side), arXiv 2502.16982), so that one learning rate serves both.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

COEFFICIENTS = (3.4445, -4.775, 2.0315)
STEPS = 5


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]], weight_decay: float, skip: Iterable[str] = ()
) -> list[dict]:
    """Groups for :class:`Muon`: matrices, embeddings and the like, vectors (without decay).

    Args:
        named: names and parameters.
        weight_decay: of all but vectors.
        skip: parts of names whose matrices AdamW updates: embeddings and output layers.
    """
    matrices, others, vectors = [], [], []
    for name, p in named:
        if not p.requires_grad:
            continue
        if p.ndim < 2:
            vectors.append(p)
        elif p.ndim == 2 and not any(part in name for part in skip):
            matrices.append(p)
        else:
            others.append(p)
    groups = [
        {"params": matrices, "muon": True, "weight_decay": weight_decay},
        {"params": others, "muon": False, "weight_decay": weight_decay},
        {"params": vectors, "muon": False, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for groups with ``muon``; AdamW for the others.

    Args:
        groups: from :func:`parameter_groups`.
        lr: learning rate, as one would choose it for AdamW.
        momentum: decay of the running mean of gradients, for matrices.
        beta1, beta2, eps: AdamW's.

    Raises:
        ValueError: a parameter of a ``muon`` group is not a matrix.
    """

    def __init__(
        self,
        groups: list[dict],
        lr: float,
        momentum: float = 0.95,
        beta1: float = 0.9,
        beta2: float = 0.98,
        eps: float = 1e-8,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "beta1": beta1,
            "beta2": beta2,
            "eps": eps,
            "weight_decay": 0.0,
            "muon": False,
        }
        super().__init__(groups, defaults)
        for group in self.param_groups:
            if group["muon"] and any(p.ndim != 2 for p in group["params"]):
                raise ValueError("Muon orthogonalises matrices; put others in a group without it")

    @torch.no_grad()
    def step(self, closure=None) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            for p in params:
                p.mul_(1 - group["lr"] * group["weight_decay"])
                if not self.state[p]:
                    self.state[p]["step"] = torch.tensor(0.0)
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
                    if not group["muon"]:
                        self.state[p]["exp_avg_sq"] = torch.zeros_like(p)
                self.state[p]["step"] += 1
            if group["muon"]:
                self._orthogonal(params, group)
            else:
                self._adam(params, group)

    def _orthogonal(self, params: list[nn.Parameter], group: dict) -> None:
        """Matrices of one shape are orthogonalised at once."""
        by_shape: dict[torch.Size, list[tuple[nn.Parameter, torch.Tensor]]] = defaultdict(list)
        for p in params:
            assert p.grad is not None
            mean = self.state[p]["exp_avg"].lerp_(p.grad, 1 - group["momentum"])
            by_shape[p.shape].append((p, p.grad.lerp(mean, group["momentum"])))
        for shape, pairs in by_shape.items():
            scale = group["lr"] * 0.2 * max(shape) ** 0.5
            turned = orthogonalise(torch.stack([update for _, update in pairs]))
            for (p, _), update in zip(pairs, turned, strict=True):
                p.add_(update, alpha=-scale)

    def _adam(self, params: list[nn.Parameter], group: dict) -> None:
        for p in params:
            assert p.grad is not None
            state = self.state[p]
            n = state["step"].item()
            mean = state["exp_avg"].lerp_(p.grad, 1 - group["beta1"])
            square = state["exp_avg_sq"].lerp_(p.grad.square(), 1 - group["beta2"])
            root = (square / (1 - group["beta2"] ** n)).sqrt_().add_(group["eps"])
            p.addcdiv_(mean, root, value=-group["lr"] / (1 - group["beta1"] ** n))


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """(N, A, B) matrices -> (semi-)orthogonal ones with the same singular vectors, roughly:
    singular values become 0.7-1.2 (five Newton-Schulz steps)."""
    tall = matrices.size(-2) > matrices.size(-1)
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x
