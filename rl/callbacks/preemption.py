"""On SIGTERM (a cluster takes the machine back): finish the step, save a checkpoint, stop."""

import signal
import threading
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from transformers import TrainerCallback


class PreemptedError(Exception):
    """The training was asked to stop and has saved ``checkpoint-<step>``."""

    def __init__(self, step: int):
        super().__init__(f"stopped by SIGTERM at step {step}")
        self.step = step


class Preemption(TrainerCallback):
    """Saves a checkpoint after the step in which a SIGTERM came to any process, and stops there.

    The step ends as every other does, so a run that resumes equals one that was never stopped.

    Raises:
        PreemptedError: from ``train``, in all processes, when the checkpoint is complete.
    """

    def __init__(self):
        self._asked, self._agreed, self._before = False, False, signal.SIG_DFL

    def on_train_begin(self, args, state, control, **_):
        if threading.current_thread() is threading.main_thread():  # no other may set a handler
            self._before = signal.signal(signal.SIGTERM, self._note)

    def on_train_end(self, args, state, control, **_):
        self._restore()

    def on_step_end(self, args, state, control, **_):
        self._agreed = _any(self._asked)
        if self._agreed:
            control.should_save = True

    def on_save(self, args, state, control, **_):
        if self._agreed:
            self._restore()
            raise PreemptedError(state.global_step)

    def _note(self, number, frame):
        self._asked = True

    def _restore(self):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._before)


def _any(value: bool) -> bool:
    """Whether it is true in any process."""
    state = PartialState()
    if state.num_processes == 1:
        return value
    asked: Any = reduce(torch.tensor(float(value), device=state.device), "sum")
    return bool(asked.item() > 0)
