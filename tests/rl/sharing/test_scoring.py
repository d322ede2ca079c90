"""The LM head leaves prompts out, on a CPU too, and nothing else changes."""

from contextlib import nullcontext

import pytest
import torch
from trl.trainer import utils

import rl.trainer
from rl.sharing import scoring, sharing
from rl.sharing.scoring import completions_alone, scores_all
from tests.rl.sharing.test_sharing_exact import LENGTHS, ON, distance, micro_batch, passed
from tests.rl.test_trainer import make


@pytest.fixture
def scored(monkeypatch) -> list[int]:
    """Tokens to which the LM head was applied, in each pass."""
    found, usual = [], scoring._whole

    class Counting:
        @staticmethod
        def apply(hidden, *rest):
            found.append(len(hidden))
            return usual.apply(hidden, *rest)

    monkeypatch.setattr(scoring, "_whole", Counting)
    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counting)
    return found


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "whole sequences"])
@pytest.mark.parametrize("at_once", [10_000, 5])
def test_values_and_gradients_stay(
    packed, at_once, policy_path, rows, tmp_path, monkeypatch, scored
):
    trainer = make(policy_path, rows, tmp_path, options=ON)
    trainer.model.train()
    batch = micro_batch(trainer)
    passed(trainer, batch, share=True)  # checks itself once
    if not packed:  # it does not pay
        monkeypatch.setattr(trainer.sharing, "always", False)
        monkeypatch.setattr(sharing, "MAX_COST_RATIO", -1.0)
    vocabulary = trainer.model.get_output_embeddings().weight.size(0)
    monkeypatch.setattr(scoring, "LARGEST", 4 * vocabulary * at_once)
    monkeypatch.setattr(scoring, "LEAST", 1)
    scored.clear()
    alone = passed(trainer, batch, share=True)
    assert sum(scored) == sum(LENGTHS) and max(scored) <= at_once
    scored.clear()
    monkeypatch.setattr(rl.trainer, "completions_alone", nullcontext)
    whole = passed(trainer, batch, share=True)
    assert sum(scored) > 4 * sum(LENGTHS)  # as TRL does: prompts, padding
    assert distance(alone[0], whole[0]) < 1e-5 and distance(alone[1], whole[1]) < 1e-5
    assert alone[2].keys() == whole[2].keys() and alone[2]
    for name, want in whole[2].items():
        if want.norm() > 1e-6:
            assert (alone[2][name] - want).norm() / want.norm() < 1e-5, name


def test_other_devices_are_as_in_trl_and_so_is_what_comes_after():
    cpu, meta = torch.device("cpu"), torch.device("meta")
    assert scores_all(cpu) and scores_all(meta)
    with pytest.raises(KeyError), completions_alone():
        assert not scores_all(cpu) and scores_all(meta)
        raise KeyError
    assert scores_all(cpu)
