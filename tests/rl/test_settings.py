"""Settings of a run, as a config gives them."""

import pytest

from rl.settings import StartupError, parse
from tests.places import ROOT

DEMO = ["--config", str(ROOT / "configs/grpo/toybox_demo.yaml")]


def test_each_reward_can_be_normalised_by_itself():
    """GDPO, a choice of TRL's, and length as a reward of its own beside naming without a floor."""
    argv = [*DEMO, "--multi_objective_aggregation", "normalize_then_sum"]
    argv += ["--rewards", "rewards:mention_f1", "rewards:caption_length"]
    argv += ["--reward_weights", "1", "0.5"]
    argv += ["--reward_settings", "{mention_f1: {floor: 0}, caption_length: {asked_length: 200}}"]
    settings, args = parse(argv)
    assert args.multi_objective_aggregation == "normalize_then_sum"
    assert settings.reward_settings["caption_length"] == {"asked_length": 200}
    with pytest.raises(StartupError, match="'normalise_then_sum'; it must be 'sum_then_normalize'"):
        parse([*DEMO, "--multi_objective_aggregation", "normalise_then_sum"])


def test_covips_recipe_is_read_as_its_script_says():
    config = ["--config", str(ROOT / "configs/grpo/covip_qwen3_vl_8b.yaml")]
    # One process instead of four gathers the group of four by itself.
    settings, args = parse([*config, "--gradient_accumulation_steps", "4"])
    assert (args.importance_sampling_level, args.beta) == ("sequence", 0)
    assert (args.epsilon, args.epsilon_high, args.learning_rate) == (3e-4, 4e-4, 5e-6)
    assert settings.lora_r == 64 and args.num_generations == 4
