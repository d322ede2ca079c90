import json
import math
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from rl.run_log import (
    CompletionLog,
    RunLog,
    Scored,
    completion_rows,
    transcript,
)

NAN = math.nan


def scored() -> Scored:
    """Three groups of two: one that varies, one that does not (0.7 + rounding), one unjudged."""
    return Scored(
        tasks=["a", "a", "b", "b", "b", "b"],
        ids=["1", "1", "2", "2", "3", "3"],
        lengths=[2, 4, 6, 6, 8, 8],
        cut_off=[False, True, False, False, False, False],
        rewards=[[0.0, NAN], [1.0, NAN], [NAN, 0.7], [NAN, 0.7 + 6e-8], [NAN, NAN], [NAN, NAN]],
        totals=[0.0, 1.0, 0.7, 0.7 + 6e-8, NAN, NAN],
        group=2,
    )


def test_numbers_per_task():
    metrics = scored().metrics()
    assert scored().varied() == [True, False, False]
    assert metrics["tasks/a/reward"] == 0.5 and metrics["tasks/a/reward_std"] == 0.5
    assert metrics["tasks/a/cut_off"] == 0.5 and metrics["tasks/a/length"] == 3
    assert metrics["tasks/a/zero_variance"] == 0 and metrics["tasks/b/zero_variance"] == 1
    assert metrics["tasks/b/reward"] == pytest.approx(0.7)
    assert metrics["groups/zero_variance"] == pytest.approx(2 / 3)


def test_rewards_that_are_normalised_apart_vary_by_themselves():
    """Whether there is a gradient is said of the sum after normalising, not of the one before."""
    nan = math.nan
    rewards = [[0.5, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.2], [0.3, nan], [0.3, nan], [nan, nan]]
    rewards.append([1.0, nan])

    def varied(weights, apart):
        totals = [weights[0] * a + weights[1] * (0 if math.isnan(b) else b) for a, b in rewards]
        fields = ([""] * 8, [""] * 8, [1] * 8, [False] * 8)
        return Scored(*fields, rewards, totals, 2, apart=weights if apart else None).varied()

    assert varied([2.0, 1.0], apart=False) == [False, True, False, False]
    assert varied([2.0, 1.0], apart=True) == [True, True, False, False]
    assert varied([1.0, 1.0], apart=False) == [True, True, False, False]
    assert varied([1.0, 1.0], apart=True) == [False, False, False, False]
    assert varied([0.0, 1.0], apart=True) == [True, True, False, False]


def test_completion_files_have_one_schema_and_grow_within_a_step(tmp_path):
    texts = [("user: hi", f"text {i}", [i]) for i in range(6)]
    rows = completion_rows(scored(), ["f", "g"], texts, [0.0] * 6, {"step": 3, "round": 0})
    log = CompletionLog(tmp_path)
    log.add("train", 3, rows[:2])  # here g judges nothing
    first = pq.read_schema(tmp_path / "train_000003.parquet")
    log.add("train", 3, rows[2:])
    assert pq.read_schema(tmp_path / "train_000003.parquet").equals(first)
    table = pq.read_table(tmp_path / "train_000003.parquet").to_pylist()
    assert [row["place"] for row in table] == list(range(6))
    assert table[4]["reward"] is None and table[0]["reward/g"] is None
    log.add("train", 4, rows[:1])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "train_000003.parquet",
        "train_000004.parquet",
    ]


def test_a_prompt_as_text():
    prompt = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "image", "text": None}, {"type": "text", "text": "This is <bo>."}],
        },
    ]
    assert transcript(prompt) == "system: Be brief.\nuser: [image]This is <bo>."


def test_the_log_is_json_whatever_the_numbers(tmp_path):
    log = RunLog(tmp_path / "log.jsonl", show=False)
    state = SimpleNamespace(is_world_process_zero=True, global_step=2, max_steps=3)
    log.on_train_begin(None, state, None)
    log.on_log(None, state, None, logs={"loss": NAN, "reward": 0.5, "kl": None})
    log.on_train_end(None, state, None)
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["loss"] is None and line["reward"] == 0.5 and line["step"] == 2
    state.is_world_process_zero = False
    log.on_log(None, state, None, logs={"loss": 1.0})
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1
