import pytest
import torch

from rl.credit.advantages import by_token, silent_bonus


def test_the_bonus_falls_on_silence_only_and_follows_how_naming_goes():
    silent = torch.tensor([1, 0, 0, 0] * 2 + [1, 1, 1, 1]).bool()
    asks = torch.ones(12, dtype=torch.bool)
    naming = torch.tensor([1.0, 0, 0, 0] + [0, 1.0, 1.0, 0.25] + [1.0] * 4)
    bonus = silent_bonus(naming, silent, asks, 4, 2.0)
    assert bonus[:4].tolist() == [2, 0, 0, 0]  # naming always fails: silence gains all
    assert bonus[4:8].tolist() == pytest.approx([2 * (1 - 2 * 0.75), 0, 0, 0])
    assert bonus[8:].tolist() == [0] * 4  # nobody names: nothing to compare with
    assert silent_bonus(naming, silent, ~asks, 4, 2.0).abs().sum() == 0


def test_credit_at_every_token_is_the_usual_advantage_and_elsewhere_only_the_rest():
    whole, naming = torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.25])
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    usual = (whole + naming)[:, None].expand(2, 3)
    assert torch.equal(by_token(whole, naming, everywhere), usual)
    some = torch.tensor([[True, False, False], [False, True, True]])
    found = by_token(whole, naming, some)
    assert torch.equal(found[some], usual[some])
    assert torch.equal(found[~some], whole[:, None].expand(2, 3)[~some])
    # Summed over tokens: each part times the number of tokens it applies to.
    assert torch.equal(found.sum(1), 3 * whole + naming * some.sum(1))
