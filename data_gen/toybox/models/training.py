"""The training loop of the tiny models, resumable after a kill at any moment.

The data of step ``k`` depends only on the seed and ``k``, and nothing else is random: a resumed run
ends with the same weights as an uninterrupted one. Checkpoints are safetensors (weights, their
running average, the optimizer's two moments); no pickles.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from open_clip_train.scheduler import cosine_lr
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file
from data_gen.toybox.models.muon import Muon, parameter_groups

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass
class Schedule:
    """How long and how fast to train."""

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    beta2: float = 0.98
    max_grad_norm: float = 1.0
    average: float = 0.0  # decay of the running average of weights; 0 keeps the last weights
    bf16: bool = False  # autocast to bfloat16
    muon: bool = False  # matrices are updated by Muon, everything else by AdamW
    save_steps: int = 200
    log_steps: int = 25
    seed: int = 0


def train(
    model: nn.Module,
    loss_of: Callable[[int, torch.Generator], torch.Tensor],
    schedule: Schedule,
    folder: Path,
    title: str,
) -> None:
    """Train ``model`` in place, resuming from ``folder/<title>.safetensors`` where it exists.

    Args:
        model: all of its parameters are trained; buffers are not saved.
        loss_of: step ``k`` and a generator seeded for it -> the loss.
        schedule: see :class:`Schedule`.
        folder: of the checkpoint, and of ``<title>.jsonl``: mean losses over ``log_steps`` steps.
        title: names the run, its files and its progress bar.

    Raises:
        InputError: the checkpoint is of another model, or a loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names, weights = zip(*model.named_parameters(), strict=True)
    optimizer = _optimizer(model, schedule)
    rate = cosine_lr(optimizer, schedule.learning_rate, schedule.warmup_steps, schedule.steps)
    mean = [p.detach().clone() for p in weights] if schedule.average else []
    checkpoint = folder / f"{title}.safetensors"
    done = _load(checkpoint, names, weights, mean, optimizer) if checkpoint.exists() else 0
    model.train()
    losses: list[float] = []
    with tqdm(total=schedule.steps, initial=done, unit="step", desc=title, mininterval=1) as bar:
        for step in range(done, schedule.steps):
            generator = torch.Generator().manual_seed(schedule.seed * 1_000_003 + step)
            rate(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=schedule.bf16):
                loss = loss_of(step, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(weights, schedule.max_grad_norm)
            if not (math.isfinite(loss.item()) and math.isfinite(norm)):
                raise InputError(
                    f"step {step + 1}: the loss of {title} is {loss.item():g}, its gradient's norm "
                    f"{norm:g}; go on from {checkpoint} with a lower learning_rate"
                )
            optimizer.step()
            if mean:  # a short average at first, or it would keep the random initial weights
                decay = min(schedule.average, (1 + step) / (10 + step))
                torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                    mean, [p.detach() for p in weights], 1 - decay
                )
            losses.append(loss.item())
            bar.update()
            if (step + 1) % schedule.log_steps == 0:
                bar.set_postfix(loss=f"{np.mean(losses):.4f}")
                with open(folder / f"{title}.jsonl", "a", encoding="utf-8") as log:
                    log.write(json.dumps({"step": step + 1, "loss": float(np.mean(losses))}) + "\n")
                losses.clear()
            if (step + 1) % schedule.save_steps == 0 or step + 1 == schedule.steps:
                _save(checkpoint, step + 1, names, weights, mean, optimizer)
    with torch.no_grad():
        for weight, average in zip(weights, mean, strict=bool(mean)):
            weight.copy_(average)
    model.eval()


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    if schedule.muon:
        groups = parameter_groups(model.named_parameters(), schedule.weight_decay)
        return Muon(groups, schedule.learning_rate, beta2=schedule.beta2)
    weights = list(model.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": schedule.weight_decay},
            {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=schedule.learning_rate,
        betas=(0.9, schedule.beta2),
    )


def rows_of(step: int, batch_size: int, n: int, seed: int) -> np.ndarray:
    """(batch_size,) indices of the rows of a step: epochs over ``n`` rows, each shuffled anew."""
    first = step * batch_size
    return np.array([_shuffle(k // n, n, seed)[k % n] for k in range(first, first + batch_size)])


@lru_cache(2)
def _shuffle(epoch: int, n: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _save(
    path: Path,
    step: int,
    names: Sequence[str],
    weights: Sequence[nn.Parameter],
    mean: list[torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    tensors = {f"weight.{name}": p.detach() for name, p in zip(names, weights, strict=True)}
    tensors |= {f"mean.{name}": p for name, p in zip(names, mean, strict=bool(mean))}
    for name, p in zip(names, weights, strict=True):
        state = optimizer.state[p]
        tensors |= {f"{moment}.{name}": state[moment] for moment in MOMENTS if moment in state}
    with atomic_file(path) as file:
        file.write(save(tensors, metadata={"step": str(step)}))


def _load(
    path: Path,
    names: Sequence[str],
    weights: Sequence[nn.Parameter],
    mean: list[torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> int:
    """Read a checkpoint into its arguments; gives its step."""
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        keys = set(file.keys())
        held = {key.removeprefix("weight.") for key in keys if key.startswith("weight.")}
        if held != set(names) or any(
            list(p.shape) != file.get_slice(f"weight.{name}").get_shape()
            for name, p in zip(names, weights, strict=True)
        ):
            raise InputError(
                f"{path} is of a model of another shape; give its settings, or remove it"
            )
        with torch.no_grad():
            for i, (name, p) in enumerate(zip(names, weights, strict=True)):
                p.copy_(file.get_tensor(f"weight.{name}"))
                if mean:
                    mean[i].copy_(file.get_tensor(f"mean.{name}"))
                optimizer.state[p] = {"step": torch.tensor(float(step))} | {
                    moment: file.get_tensor(f"{moment}.{name}")
                    for moment in MOMENTS
                    if f"{moment}.{name}" in keys
                }
    return step
