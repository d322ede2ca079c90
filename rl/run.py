"""Train, save, shut down the process group."""

import gc
import sys
import warnings
from pathlib import Path

import datasets
from accelerate import PartialState
from torch.distributed import barrier
from transformers import Trainer
from transformers.utils import logging

from data_gen.files.sentences import next_commands
from rewards.loading import RewardError
from rl.checkpoints import checkpoints
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
        The exit status: 0, 130 after Ctrl-C, or 1 where a loss, gradient or weight is not finite,
        or a reward is none; the policy is then not saved.
    """
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        if trainer.is_world_process_zero():
            step, kept = trainer.state.global_step, checkpoints(settings.checkpoints)
            then = (
                f"the same command resumes from {kept[-1]}"
                if kept
                else "before its first checkpoint (see --save_steps): the same command starts anew"
            )
            print(f"\nstopped at step {step}; {then}", file=sys.stderr)
        return 130
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
    except RewardError as error:  # of this process, perhaps: the launcher ends the others
        print(f"\nstopped: {error}; no policy was saved", file=sys.stderr, flush=True)
        return 1
    policy = settings.output / "policy"
    trainer.save_model(str(policy))
    if trainer.is_world_process_zero():
        (policy / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        print(f"policy saved to {policy}/\n{_next(settings, policy)}", flush=True)
    shutdown_distributed()
    return 0


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
