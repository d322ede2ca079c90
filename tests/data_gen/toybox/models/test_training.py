"""The training loop of the tiny models: resumed runs end where uninterrupted ones do."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from data_gen.files.errors import InputError
from data_gen.toybox.models.training import Schedule, rows_of, train

SCHEDULE = Schedule(
    steps=12,
    batch_size=4,
    learning_rate=0.05,
    warmup_steps=2,
    average=0.9,
    save_steps=3,
    log_steps=4,
    seed=5,
)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def fitting(made: nn.Module, stop_at: int | None = None):
    """The loss of fitting a sum, which raises at step ``stop_at``."""

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(SCHEDULE.batch_size, 3, generator=generator)
        return (made(x)[:, 0] - x.sum(1)).square().mean()

    return loss_of


@pytest.mark.parametrize("muon", [False, True])
def test_a_killed_and_resumed_run_ends_with_the_same_weights(tmp_path, muon):
    schedule = replace(SCHEDULE, muon=muon)
    whole, stopped = model(), model()
    train(whole, fitting(whole), schedule, tmp_path / "whole", "m")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, fitting(stopped, stop_at=8), schedule, tmp_path / "stopped", "m")
    fresh = model()
    train(fresh, fitting(fresh), schedule, tmp_path / "stopped", "m")
    for a, b in zip(whole.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b)
    losses = [json.loads(line) for line in (tmp_path / "whole/m.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses] == [4, 8, 12]


def test_a_loss_that_is_not_finite_stops_it_before_the_checkpoint_breaks(tmp_path):
    made = model()
    fits = fitting(made)
    with pytest.raises(InputError, match="step 8: the loss of m is nan.* lower learning_rate"):
        train(made, lambda k, g: fits(k, g) * (torch.nan if k == 7 else 1), SCHEDULE, tmp_path, "m")
    assert all(p.isfinite().all() for p in made.parameters())
    with safe_open(tmp_path / "m.safetensors", "pt") as kept:
        assert kept.metadata()["step"] == "6"


def test_it_learns(tmp_path):
    made = model()
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))

    def error() -> float:
        return (made(x)[:, 0] - x.sum(1)).square().mean().item()

    before = error()
    train(made, fitting(made), replace(SCHEDULE, steps=150, average=0.0), tmp_path, "m")
    assert error() < before / 3 and not made.training


def test_a_finished_run_is_loaded_without_a_step(tmp_path):
    first, again = model(), model()
    train(first, fitting(first), SCHEDULE, tmp_path, "m")
    train(again, fitting(again, stop_at=0), SCHEDULE, tmp_path, "m")
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )


def test_the_running_average_is_kept(tmp_path):
    kept, last = model(), model()
    train(kept, fitting(kept), SCHEDULE, tmp_path / "mean", "m")
    train(last, fitting(last), replace(SCHEDULE, average=0.0), tmp_path / "last", "m")
    assert not torch.equal(kept[0].weight, last[0].weight)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    made = model()
    train(made, fitting(made), SCHEDULE, tmp_path, "m")
    other = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    with pytest.raises(ValueError, match="another shape"):
        train(other, fitting(other), SCHEDULE, tmp_path, "m")


def test_rows_come_in_whole_shuffles():
    seen = np.concatenate([rows_of(step, 4, 10, seed=1) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])
    assert list(rows_of(3, 4, 10, seed=1)) == list(seen[12:16])
