"""A training stops at its first number that is not finite, before anything is broken by it."""

import math
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from rl.checkpoints import AtomicCheckpointMixin, checkpoints
from rl.finite import FiniteMixin, NotFiniteError
from rl.run_log import Scored


class Line(nn.Module):
    """y = w x, which breaks in the way that a test asks for."""

    def __init__(self, broken=""):
        super().__init__()
        self.w, self.unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        self.broken, self.calls = broken, 0

    def forward(self, x, labels):
        self.calls += 1
        loss = ((self.w * x - labels) ** 2).mean()
        if self.calls >= 3 and self.broken == "loss":
            loss = loss * math.nan
        if self.calls >= 3 and self.broken == "infinite loss":
            loss = loss + math.inf  # its gradient is finite
        if self.calls >= 3 and self.broken == "gradient":
            loss = loss + 0 * (self.w - self.w).abs().sqrt().sum()
        return {"loss": loss}


class LineTrainer(AtomicCheckpointMixin, FiniteMixin, Trainer):
    def came_before(self):
        return "before it, row 'a'"


def trainer(tmp_path, broken="", **changes) -> LineTrainer:
    given = dict(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=2,
        save_steps=1,
        save_total_limit=1,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    rows = [{"x": 2 * torch.ones(2), "labels": torch.zeros(2)}] * 16
    return LineTrainer(Line(broken), TrainingArguments(**{**given, **changes}), train_dataset=rows)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ("loss", "step 3: the loss is nan; before it, row 'a'"),
        ("infinite loss", "step 3: the loss is inf"),
        ("gradient", "step 3: the gradient of w is not finite; before it, row 'a'"),
    ],
)
def test_it_stops_before_the_weights_break_and_keeps_the_checkpoint(tmp_path, broken, sentence):
    run = trainer(tmp_path, broken)
    with pytest.raises(NotFiniteError) as error:
        run.train()
    assert str(error.value).startswith(sentence)
    assert all(p.isfinite().all() for p in run.model.parameters())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_a_step_that_breaks_a_weight_is_not_saved(tmp_path):
    run = trainer(tmp_path, learning_rate=3e38, optim="sgd", max_grad_norm=0)
    with pytest.raises(NotFiniteError, match="the weight w is not finite"):
        run.train()
    assert checkpoints(tmp_path) == [] and run.state.global_step == 1


def test_a_policy_with_a_broken_weight_is_not_trained(tmp_path):
    run = trainer(tmp_path)
    run.model.unused.data[0] = math.nan
    with pytest.raises(NotFiniteError, match="^the policy's weight unused is not finite$"):
        run.train()


def test_all_processes_stop_where_one_of_them_sees_it(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    process = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)],
        env={**os.environ, **world, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert "process 0, step 3: the loss is (of another process); before it, row 'a'" in said
    assert "process 1, step 3: the loss is inf; before it, row 'a'" in said
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_a_finite_training_is_not_disturbed(tmp_path):
    run = trainer(tmp_path, gradient_accumulation_steps=2)
    run.train()
    assert run.state.global_step == 4 and run._losses == []


def test_the_rewards_before_a_stop_are_named():
    scored = Scored(["t"] * 2, ["a", "b"], [1, 1], [False] * 2, [[0.5, 1.0]] * 2, [1.5] * 2, 2)
    before = scored.summary(["f1", "length"])
    assert before == "before it, f1 gave 0.5 to 0.5, length gave 1 to 1 for rows 'a', 'b'"
    scored.rewards[1] = [0.5, math.inf]
    assert scored.summary(["f1", "length"]) == "before it, reward length was inf for row 'b'"
    scored.rewards = [[math.nan]] * 2
    assert "f1 gave none" in scored.summary(["f1"])


if __name__ == "__main__":  # two processes, of which the second sees an infinite loss
    rank = "0" if os.fork() else "1"
    os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
    run = trainer(Path(sys.argv[1]), "infinite loss" if rank == "1" else "")
    try:
        run.train()
    except NotFiniteError as error:
        print(f"process {rank}, {error}", flush=True)
