import pyarrow.parquet as pq
import pytest
from trl import GRPOConfig

from rl.dynamic_sampling import Replacements, check_dynamic_sampling
from rl.sampler import RowType
from rl.trainer import TrainerOptions
from tests.rl.letter_reward import even_rows, never
from tests.rl.test_trainer import make

IMAGE, OTHER = RowType("a", True), RowType("b", True)


def test_replacements_are_of_the_wanted_type_fresh_and_the_same_after_a_restart():
    types = [IMAGE, OTHER] * 5
    one = Replacements(types, seed=0)
    first = one.draw([[IMAGE, OTHER], [IMAGE, IMAGE]])
    assert [[types[i] for i in rank] for rank in first] == [[IMAGE, OTHER], [IMAGE, IMAGE]]
    two = Replacements(types, seed=0, cursors=dict(one.cursors))
    second = one.draw([[IMAGE, IMAGE]])
    assert two.draw([[IMAGE, IMAGE]]) == second
    used = [i for rank in (*first, *second) for i in rank if types[i] == IMAGE]
    assert sorted(used) == [0, 2, 4, 6, 8]  # all five before any comes again


def _dynamic(policy_path, rows, tmp_path, reward, limit, **settings):
    options = TrainerOptions(
        dynamic_sampling=True,
        dynamic_sampling_limit=limit,
        completions_dir=tmp_path / "completions",
    )
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        rewards=(reward,),
        options=options,
        per_device_train_batch_size=16,
        **settings,
    )
    trainer.train()
    table = pq.read_table(tmp_path / "completions" / "train_000000.parquet").to_pylist()
    return trainer, table


def test_zero_variance_groups_are_replaced_and_counted(policy_path, rows, tmp_path):
    trainer, table = _dynamic(policy_path, rows, tmp_path / "a", even_rows, 3, max_steps=1)
    log = trainer.state.log_history[0]
    zero_variance = sum(row["round"] == 0 and int(row["id"][-1]) % 2 for row in table) // 4
    assert log["dynamic_sampling/zero_variance"] == zero_variance > 0
    assert log["groups/zero_variance"] == zero_variance / 4  # of the first round: not flattered
    assert log["dynamic_sampling/replaced"] + log["dynamic_sampling/left"] == zero_variance
    later = [row for row in table if row["round"] > 0]
    assert log["dynamic_sampling/drawn"] == len(later) / 4
    assert log["dynamic_sampling/rounds"] == max(row["round"] for row in table)
    alive = sum(abs(row["advantage"]) > 0.01 and row["round"] > 0 for row in table) // 4
    assert log["dynamic_sampling/replaced"] == alive
    first = [row for row in table if row["round"] == 0]
    assert log["reward"] == pytest.approx(sum(r["reward"] for r in first) / len(first), abs=1e-5)
    # Fresh rows are of the tasks of the groups that they replace.
    wanted = [r["task"] for r in first[::4] if int(r["id"][-1]) % 2]
    assert sorted(r["task"] for r in later[::4] if r["round"] == 1) == sorted(wanted)
    again, table_again = _dynamic(policy_path, rows, tmp_path / "b", even_rows, 3, max_steps=1)
    assert [r["completion_ids"] for r in table_again] == [r["completion_ids"] for r in table]


def test_replacing_stops_at_the_limit(policy_path, rows, tmp_path):
    trainer, table = _dynamic(policy_path, rows, tmp_path, never, 2, max_steps=1)
    log = trainer.state.log_history[0]
    assert {row["round"] for row in table} == {0, 1, 2}
    assert (log["dynamic_sampling/left"], log["dynamic_sampling/replaced"]) == (4, 0)
    assert log["dynamic_sampling/drawn"] == 8


def varied_in_half_of_each_type(completions, id, **_):
    """As ``even_rows``, but of either answer: OCT rows with an odd number are those with a no."""
    return even_rows(completions, [str(int(i[-1]) % 4 // 2) for i in id])


def test_what_is_trained_on_after_replacing_is_alive(policy_path, rows, tmp_path):
    options = TrainerOptions(dynamic_sampling=True, dynamic_sampling_limit=8)
    trainer = make(
        policy_path,
        rows,
        tmp_path,
        rewards=(varied_in_half_of_each_type,),
        options=options,
        per_device_train_batch_size=16,
        max_steps=1,
    )
    seen = []
    inner = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(inputs) or inner(model, inputs)
    trainer.train()
    assert trainer.state.log_history[0]["dynamic_sampling/left"] == 0
    groups = seen[0]["advantages"].view(4, 4)
    assert (groups.abs().max(dim=1).values > 0.01).all()
    assert seen[0]["num_items_in_batch"] == seen[0]["completion_mask"].sum()
    prompts = seen[0]["prompt_ids"].view(4, 4, -1)
    assert (prompts == prompts[:, :1]).all()


def test_dynamic_sampling_refuses_groups_spread_over_processes(tmp_path):
    args = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        bf16=False,
        use_cpu=True,
    )
    check_dynamic_sampling(args, True)
    args.per_device_train_batch_size = 2  # as on two of four processes
    with pytest.raises(ValueError, match="is 2, which num_generations 4 does not divide"):
        check_dynamic_sampling(args, True)
    args.per_device_train_batch_size, args.scale_rewards = 8, "batch"
    with pytest.raises(ValueError, match="scale_rewards 'group' or 'none'"):
        check_dynamic_sampling(args, True)
    args.scale_rewards, args.multi_objective_aggregation = "group", "normalize_then_sum"
    with pytest.raises(ValueError, match="aggregation 'sum_then_normalize'"):
        check_dynamic_sampling(args, True)
