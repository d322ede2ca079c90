"""Prompts are shared under LoRA's dropout: drawn once for a group, a draw as good as any other."""

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from launch.grpo import build
from rl.policy.loading import LoraSettings
from rl.preflight import prepare
from rl.settings import parse
from rl.sharing import cost, sharing
from rl.sharing.dropout import active_dropouts, without_dropout
from rl.trainer import TrainerOptions
from tests.places import ROOT
from tests.rl.sharing.test_sharing_exact import C, G, distance, micro_batch, passed
from tests.rl.test_trainer import make

ON = TrainerOptions(share_prompt="on", share_vision="on")
LORA = LoraSettings(4, 8, 0.4)


@pytest.fixture
def trainer(policy_path, rows, tmp_path, monkeypatch):
    """With dropout on adapters that do something, and one pass for all groups."""
    monkeypatch.setattr(cost, "OVERHEAD", 1e9)
    trainer = make(policy_path, rows, tmp_path, options=ON, lora=LORA)
    for name, parameter in trainer.model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    trainer.model.train()
    return trainer


class KnownDropout(nn.Dropout):
    """Dropout that keeps what it draws for packed rows, and gives whole sequences the same."""

    packed: sharing.packed.Packed
    order: list[int]  # rows, as the packed rows have them

    def forward(self, input):
        if input.size(0) != self.packed.place.size(0):
            drawn = torch.rand_like(input) >= self.p
            self.drawn = drawn / (1 - self.p)
            return input * self.drawn
        layout = self.packed.layout
        rows = torch.empty_like(input)
        for row, (n, g) in zip(self.order, self.packed.place.tolist(), strict=True):
            begin = layout.prefix + g * layout.width
            prompt, branch = self.drawn[n, : layout.prefix], self.drawn[n, begin:]
            rows[row] = torch.cat([prompt, branch[: layout.width]])
        return input * rows


def test_it_equals_whole_sequences_that_are_given_the_group_s_draw_g_times(trainer, monkeypatch):
    for layer in trainer.model.modules():
        if isinstance(layer, LoraLayer):
            layer.lora_dropout["default"] = KnownDropout(LORA.dropout)
    usual = sharing.pack

    def remember(*args):
        KnownDropout.packed = usual(*args)
        KnownDropout.order = [row for group in args[3] for row in group]
        return KnownDropout.packed

    monkeypatch.setattr(sharing, "pack", remember)
    trainer.sharing.checked = True  # the check draws nothing, see below
    batch = micro_batch(trainer)
    shared, apart = (passed(trainer, batch, share=share) for share in (True, False))
    assert distance(shared[0], apart[0]) < 1e-5
    assert shared[2].keys() == apart[2].keys() and any("lora_A" in name for name in apart[2])
    for name, want in apart[2].items():
        assert (shared[2][name] - want).norm() < 1e-5 * want.norm(), name
    with without_dropout(trainer.model):
        whole = passed(trainer, batch, share=True)
    assert distance(shared[0], whole[0]) > 1e-2


def test_over_many_draws_loss_and_gradient_are_those_of_whole_sequences(trainer):
    """Means agree within four standard errors."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(100, 300, (2, 15), generator=generator)
    ids[:, :8] = ids[0, :8]  # two completions of one prompt
    one = dict(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=C)
    one["compute_entropy"] = True
    torch.manual_seed(0)

    def gradient_of(share: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """A weighted sum of log-probabilities, and its whole gradient."""
        logps, _, gradients = passed(trainer, one, share=share)
        weight = torch.linspace(-1, 1, logps.numel()).view_as(logps)
        return (logps * weight).sum(), torch.cat([g.flatten() for g in gradients.values()])

    with without_dropout(trainer.model):
        _, whole = gradient_of(share=True)

    def draws(share: bool) -> torch.Tensor:
        """(100, 2): the sum, and its gradient along the one without dropout, whose length is 1."""
        found = [gradient_of(share) for _ in range(100)]
        return torch.stack([torch.stack([x, g @ whole / whole.norm() ** 2]) for x, g in found])

    shared, apart = draws(True), draws(False)
    assert trainer.sharing.checked and not trainer.sharing.reasons
    error = ((shared.var(0) + apart.var(0)) / 100).sqrt()
    assert ((shared.mean(0) - apart.mean(0)).abs() < 4 * error).all()
    # Enough to see a gradient that is not scaled up for what is dropped, two fifths.
    assert 0 < 4 * error[1] < 0.4 * apart.mean(0)[1]


def test_the_check_on_first_use_draws_nothing_and_training_does(trainer):
    assert active_dropouts(trainer.model) != ([], [])
    batch = micro_batch(trainer)
    first, second = (passed(trainer, batch, share=True)[0] for _ in range(2))
    assert trainer.sharing.checked and trainer.sharing.prompt and not trainer.sharing.reasons
    assert distance(first, second) > 1e-3
    with without_dropout(trainer.model) as drew:
        assert drew
        one, other = (passed(trainer, batch, share=True)[0] for _ in range(2))
    assert torch.equal(one, other) and all(m.training for m in active_dropouts(trainer.model)[0])


def test_for_the_purist_it_can_be_switched_off(policy_path, rows, tmp_path):
    options = TrainerOptions(share_prompt="auto", share_dropout=False)
    apart = make(policy_path, rows, tmp_path, options=options, lora=LORA)
    assert not apart.sharing.prompt and "share_dropout is off" in str(apart.sharing)
    without = make(policy_path, rows, tmp_path, options=options, lora=LoraSettings(4, 8, 0.0))
    assert without.sharing.prompt
    other = make(policy_path, rows, tmp_path, options=ON, lora=LORA)
    other.model.base_model.model.model.language_model.layers[0].drop = nn.Dropout(0.1)
    assert "dropout beside LoRA's" in sharing.packed.unsupported_reason(
        other.model.get_base_model()
    )


def test_the_paper_s_recipe_in_the_miniature_shares_its_prompts(
    policy_path, rows_path, tmp_path, capsys
):
    """`configs/grpo/toybox_repic.yaml` has the paper's LoRA, dropout 0.05 and KL term."""
    config = ROOT / "configs" / "grpo" / "toybox_repic.yaml"
    given = dict(
        policy=policy_path,
        rows=rows_path,
        output_root=tmp_path,
        rewards="[tests/rl/letter_reward.py:vowels]",
        reward_weights="[1]",
        reward_settings="{}",
        per_device_train_batch_size=8,
        num_generations=G,
        max_completion_length=C,
        max_steps=2,
        share_prompt="on",
        disable_tqdm=True,
    )
    pairs = [text for key, value in given.items() for text in (f"--{key}", str(value))]
    settings, args = parse(["--config", str(config), *pairs])
    trainer = build(settings, args, prepare(settings, args))
    assert settings.lora_dropout == 0.05 and len(active_dropouts(trainer.model)[0]) > 0
    packed = []
    decoder = trainer.accelerator.unwrap_model(trainer.model).get_decoder()
    decoder.register_forward_pre_hook(
        lambda module, args, kwargs: packed.append("shared_prompt" in kwargs), with_kwargs=True
    )
    trainer.train()
    assert trainer.sharing.prompt and trainer.sharing.checked
    assert sum(packed) >= 2 * 2  # reference and loss, each step
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert len(losses) == 2 and all(torch.tensor(losses).isfinite())
