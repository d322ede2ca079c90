"""Train, save, shut down the process group."""

import sys
from pathlib import Path

from accelerate import PartialState
from torch.distributed import barrier
from transformers import Trainer

from rl.settings import PolicySettings


def train_and_save(trainer: Trainer, settings: PolicySettings, checkpoint: Path | None) -> int:
    """Train to the end, then save the policy to ``policy/`` of the run's output directory.

    Args:
        checkpoint: to resume from; ``None`` starts from the beginning.

    Returns:
        The exit status: 0, or 130 after Ctrl-C.
    """
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        print(
            f"\nstopped at step {trainer.state.global_step}; the same command resumes from the "
            f"last checkpoint in {settings.checkpoints}/",
            file=sys.stderr,
        )
        return 130
    policy = settings.output / "policy"
    trainer.save_model(str(policy))
    if trainer.is_world_process_zero():
        (policy / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        print(f"policy saved to {policy}/", flush=True)
    shutdown_distributed()
    return 0


def shutdown_distributed() -> None:
    """Wait for the other processes, then destroy the process group. The last call of a run.

    If the group is left open, its threads outlive the interpreter's shutdown; now and then a
    process then aborts, and the launcher reports a run as failed that has saved everything.
    """
    processes = PartialState()
    if processes.num_processes > 1:
        barrier()
        processes.destroy_process_group()
