"""Every reward against everything a policy might try; each refuses what its docstring says."""

import json
import math
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rewards
from rewards.loading import load_reward
from tests.rewards.conftest import CAPTION

binding = load_reward(
    "rewards:mention_binding", {"reader": "data_gen.toybox.facts:read_names", "floor": 0}
)
OWN_TASK = {
    rewards.object_consistency: "object_consistency",
    rewards.visual_localization: "visual_localization",
    rewards.mention_ratio: "identity_consistency",
    rewards.mention_f1: "identity_consistency",
    rewards.mention_balanced: "identity_consistency",
    binding: "identity_consistency",  # without a floor: names that stand on nobody earn nothing
    rewards.caption_length: "identity_consistency",
    rewards.repetition: "identity_consistency",
    rewards.copying: "identity_consistency",
}
PENALTIES = (rewards.repetition, rewards.copying)
each_reward = pytest.mark.parametrize("reward", OWN_TASK, ids=lambda reward: reward.__name__)

# Text that looks like an answer more often than random text does.
pieces = st.sampled_from(
    ["<bo>", "</bo>", "Bo's", "<black widow>", "black", "widow", "<", ">", "yes", "no", "[", "]"]
    + ["(", "1, ", "-0.5", "1e999", "nan", ",", "250", " ", "\n", "\u0301", "\ud800", "小明", "İ"]
)
anything = st.one_of(
    st.text(st.characters(exclude_categories=[])),  # all of Unicode, lone surrogates included
    st.lists(pieces, max_size=40).map("".join),
)


@each_reward
def test_no_cheat_is_paid(reward, cheat, batch):
    """None of the catalogue earns a full reward, and most earn none; penalties stay in range."""
    name, text = cheat
    started = time.process_time()
    ids = [7] * min(119, len(text.encode("utf-8", "surrogatepass"))) + [2]  # a byte each, at least
    (value,) = reward(**batch([text], OWN_TASK[reward], completion_ids=ids))
    assert time.process_time() - started < 1.5, "linear in the length of the text"

    if reward in PENALTIES:
        assert -1 <= value <= 0
    elif reward is rewards.caption_length:
        assert value < 0.7, "the part of a caption that it shows, and not one of 120 tokens"
    else:
        assert value == 0


def test_the_cheats_that_f1_and_the_penalties_are_there_for(batch):
    """What `mention_ratio` pays in full costs precision, or a penalty, elsewhere."""
    listed = f"<bo>, <black widow>, <zuri>, <mila>. {CAPTION}"
    case = batch([listed], "identity_consistency")
    assert rewards.mention_ratio(**case) == [1.0]
    assert rewards.mention_f1(**case) == [pytest.approx(2 / 3)]  # 2 hits, 2 extra
    assert rewards.mention_balanced(**case) == [0.5]  # all expected ones, no absent one left out

    case = batch(["<bo> " * 50], "identity_consistency")
    assert rewards.mention_ratio(**case, floor=0) == [0.5]  # one of two names, however often
    assert rewards.repetition(**case)[0] < -0.95

    echo = "This is <bo>, a small brown dog with a red collar."
    assert rewards.copying(**batch([echo], "identity_consistency")) == [-1.0]


@each_reward
@given(text=anything)
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_text_gives_a_number_in_range(reward, text, batch):
    """Never an exception, never NaN, always bounded; strings and conversations score alike."""
    task = OWN_TASK[reward]
    case = batch([text], task)
    (value,) = reward(**case)
    low, high = (-1, 0) if reward in PENALTIES else (0, 1)
    assert isinstance(value, float) and math.isfinite(value) and low <= value <= high
    assert reward(**case | {"completions": [text]}) == [value]


@each_reward
@given(text=anything)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_rows_of_other_tasks_are_none(reward, text, batch):
    """…even where the columns that such a reward needs are empty, as they are in such rows."""
    empty = {"answer": None, "box": None, "box_frame": None, "names": [], "absent_names": []}
    for task in {*OWN_TASK.values(), "a plug-in's task"} - {OWN_TASK[reward]}:
        assert reward(**batch([text, text], task, **empty)) == [None, None]


def test_a_mixed_batch_keeps_its_order(batch):
    """TRL passes rows of all tasks at once and reads the answers by position."""
    case = batch(["yes", "yes", "no"], "object_consistency")
    case["task"] = ["object_consistency", "identity_consistency", "object_consistency"]
    assert rewards.object_consistency(**case) == [1.0, None, 0.0]


def test_rewards_know_nothing_of_torch():
    """Importing the package loads no tensor library: rewards run wherever Python does."""
    program = "import rewards, rewards.loading, sys, json; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", program]))
    assert not {"torch", "numpy", "transformers", "trl"} & set(loaded)
