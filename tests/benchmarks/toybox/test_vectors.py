"""What the attention penalty and augmentation are worth: the arms, and a run with a tiny policy."""

import json

import pytest

from benchmarks.toybox import vectors
from benchmarks.toybox.vectors import VectorsSettings, arm_settings
from concepts.methods.myvlm.learning import VectorSettings
from data_gen.files.errors import InputError
from tests.tiny import save_tiny_policy


def test_what_an_arm_does_not_name_is_off():
    settings = VectorSettings()
    assert arm_settings("both", settings) == settings
    penalty, augmented = arm_settings("penalty", settings), arm_settings("augmentation", settings)
    assert (penalty.penalty, penalty.views, penalty.captions) == (settings.penalty, 1, 1)
    assert (augmented.penalty, augmented.views) == (0.0, settings.views)
    neither = arm_settings("neither", settings)
    assert (neither.penalty, neither.views, neither.captions) == (0.0, 1, 1)


def test_arms_that_are_none_are_refused():
    with pytest.raises(InputError, match="'half'"):
        VectorsSettings(arms=["half"])


def test_a_policy_that_is_not_there_is_said_without_a_traceback(tmp_path):
    with pytest.raises(SystemExit, match="vectors: cannot open the policy"):
        vectors.main(["--policy", str(tmp_path / "none")])


def test_a_run_writes_captions_of_every_arm(tmp_path, capsys):
    policy = save_tiny_policy(tmp_path / "policy")
    words = ["--policy", str(policy), "--toys", "1", "--photos", "2", "--queries", "2"]
    words += ["--size", "48", "--vector.steps", "2", "--vector.captions", "2"]
    vectors.main([*words, "--max_new_tokens", "3", "--out", str(tmp_path / "out.json")])
    printed = capsys.readouterr().out
    assert "| both |" in printed and "both above neither" in printed
    kept = json.loads((tmp_path / "out.json").read_text())
    assert set(kept["recall"]) == {"both", "neither", "untouched"}
    assert [len(of) for of in kept["captions"]["both"]] == [2]
