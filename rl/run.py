"""Train, save, shut down the process group."""

import gc
import signal
import sys
import threading
import warnings
from pathlib import Path

import datasets
from accelerate import PartialState
from torch.distributed import barrier
from transformers import Trainer
from transformers.utils import logging

from data_gen.files.errors import InputError
from data_gen.files.files import write_text
from data_gen.files.sentences import next_commands
from rewards.loading import RewardError
from rl.callbacks.preemption import PreemptedError
from rl.checkpoints import checkpoints
from rl.exporting.card import run_card
from rl.finite import NotFiniteError
from rl.settings import PolicySettings


def quiet_libraries() -> None:
    """Keep from between a program's own lines what libraries print and no user can act on: bars
    that last a moment, and warnings that are for developers."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    # A LoRA adapter of weights that ship with us: peft looks for them on the hub, too.
    warnings.filterwarnings("ignore", message="Unable to fetch remote file", module=r"peft\.")
    warnings.filterwarnings("ignore", message="Could not find a config file in", module=r"peft\.")
    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def train_and_save(trainer: Trainer, settings: PolicySettings, checkpoint: Path | None) -> int:
    """Train to the end, then save the policy to ``policy/`` of the run's output directory.

    Args:
        checkpoint: to resume from; ``None`` starts from the beginning.

    Returns:
        The exit status: 0, 130 after Ctrl-C, 143 after SIGTERM, or 1 where a loss, gradient or
        weight is not finite, a reward is none, or the best checkpoint cannot be loaded; the policy
        is then not saved.
    """
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        _ignore_interrupts()
        if trainer.is_world_process_zero():
            step, kept = trainer.state.global_step, checkpoints(settings.checkpoints)
            then = (
                f"the same command resumes from {kept[-1]}"
                if kept
                else "before its first checkpoint (see --save_steps): the same command starts anew"
            )
            print(f"\nstopped at step {step}; {then}", file=sys.stderr)
        return 130
    except PreemptedError as error:
        if trainer.is_world_process_zero():
            kept = checkpoints(settings.checkpoints)[-1]
            print(f"\n{error}; the same command resumes from {kept}", file=sys.stderr, flush=True)
        shutdown_distributed()
        return 128 + signal.SIGTERM
    except NotFiniteError as error:
        if trainer.is_world_process_zero():
            kept = checkpoints(settings.checkpoints)
            last = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint"
            print(
                f"\nstopped: {error}; no policy was saved, {last}; try a lower --learning_rate "
                f"under another --name",
                file=sys.stderr,
            )
        shutdown_distributed()
        return 1
    except (RewardError, InputError) as error:  # of this process, perhaps: the launcher ends all
        print(f"\nstopped: {error}; no policy was saved", file=sys.stderr, flush=True)
        return 1
    policy = settings.output / "policy"
    trainer.save_model(str(policy))
    if trainer.is_world_process_zero():
        (policy / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        write_text(policy / "README.md", run_card(settings.output))
        if trainer.args.load_best_model_at_end and trainer.state.best_global_step:
            print(
                f"the policy is that of step {trainer.state.best_global_step}, the best by "
                f"{trainer.args.metric_for_best_model} ({trainer.state.best_metric:.4g})"
            )
        print(f"policy saved to {policy}/\n{_next(settings, policy)}", flush=True)
    shutdown_distributed()
    return 0


def _ignore_interrupts() -> None:
    """A launcher passes Ctrl-C on to a process to which the terminal has sent it already."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _next(settings: PolicySettings, policy: Path) -> str:
    evaluate = ["byname", "evaluate", "--config", "configs/benchmarks/toybox.yaml"]
    systems = ["--policy", f"base={settings.policy}", "--policy", f"trained={policy}"]
    return next_commands(
        [*evaluate, *systems, "--out", settings.output / "eval"],
        ["byname", "report", settings.output],
    )


def shutdown_distributed() -> None:
    """Wait for the other processes, then destroy the process group. The last call of a run.

    If the group is left open, its threads outlive the interpreter's shutdown; now and then a
    process then aborts, and the launcher reports a run as failed that has saved everything. A
    wrapped model that outlives the group hangs that shutdown: one that no caller holds any more is
    collected first.
    """
    processes = PartialState()
    if processes.num_processes > 1:
        gc.collect()
        barrier()
        processes.destroy_process_group()
