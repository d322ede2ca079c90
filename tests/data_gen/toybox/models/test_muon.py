"""Muon in single precision equals torch's own, and AdamW where a group is not Muon's."""

import pytest
import torch
from torch import nn

from data_gen.toybox.models.muon import Muon, orthogonalise, parameter_groups


def test_singular_values_of_an_update_are_near_one():
    matrices = torch.randn(3, 12, 20, generator=torch.Generator().manual_seed(0))
    for turned in orthogonalise(matrices):
        values = torch.linalg.svdvals(turned)
        assert values.min() > 0.4 and values.max() < 1.3
    assert torch.allclose(orthogonalise(matrices.mT), orthogonalise(matrices).mT, atol=1e-5)


def steps(optimizers, parameters, n: int = 4) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(n):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


def test_a_matrix_is_updated_as_by_torchs_muon_within_its_bfloat16():
    start = torch.randn(16, 24, generator=torch.Generator().manual_seed(2))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    groups = parameter_groups([("w", ours)], weight_decay=0.1)
    steps([Muon(groups, 0.02)], [ours])
    other = torch.optim.Muon(
        [theirs], lr=0.02, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    steps([other], [theirs])
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() / moved < 0.03


def test_everything_else_is_updated_as_by_adamw():
    start = torch.randn(8, generator=torch.Generator().manual_seed(3))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    table = nn.Parameter(torch.randn(5, 4, generator=torch.Generator().manual_seed(4)))
    same = nn.Parameter(table.detach().clone())
    groups = parameter_groups([("norm", ours), ("embed.weight", table)], 0.1, skip=["embed"])
    assert not any(group["muon"] for group in groups)
    steps([Muon(groups, 0.02)], [ours, table])
    adam = torch.optim.AdamW(
        [{"params": [theirs], "weight_decay": 0.0}, {"params": [same], "weight_decay": 0.1}],
        lr=0.02,
        betas=(0.9, 0.98),
    )
    steps([adam], [theirs, same])
    assert torch.allclose(ours, theirs, atol=1e-6) and torch.allclose(table, same, atol=1e-6)


def test_only_matrices_can_be_orthogonalised():
    with pytest.raises(ValueError, match="orthogonalises matrices"):
        Muon([{"params": [nn.Parameter(torch.zeros(3))], "muon": True}], 0.1)
