"""SIGTERM: a checkpoint after the step, then the end; what resumes equals what never stopped."""

import os
import signal

import pytest

from rl.callbacks.preemption import PreemptedError, Preemption
from rl.checkpoints import checkpoints
from tests.rl.test_best_checkpoint import equal, make, trained


class Terminate(Preemption):
    """Gets its SIGTERM in the middle of the second step."""

    def on_substep_end(self, args, state, control, **_):
        if state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


SETTINGS = dict(
    eval_strategy="no",
    load_best_model_at_end=False,
    metric_for_best_model=None,
    save_steps=100,
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    max_steps=3,
)


def test_it_saves_stops_and_resumes_as_if_nothing_had_happened(policy_path, rows, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    whole = make(policy_path, rows, tmp_path / "whole", callbacks=[Preemption()], **SETTINGS)
    whole.train()
    stopped = make(policy_path, rows, tmp_path / "run", callbacks=[Terminate()], **SETTINGS)
    with pytest.raises(PreemptedError) as told:
        stopped.train()
    assert told.value.step == 2
    (kept,) = checkpoints(tmp_path / "run")
    assert kept.name == "checkpoint-2"
    assert signal.getsignal(signal.SIGTERM) is before

    again = make(policy_path, rows, tmp_path / "run", callbacks=[Preemption()], **SETTINGS)
    again.train(resume_from_checkpoint=str(kept))
    assert again.state.global_step == 3
    assert equal(trained(again.model), trained(whole.model))
    assert signal.getsignal(signal.SIGTERM) is before
