"""How a training run goes on, is stopped and ends."""

import sys
from pathlib import Path

from accelerate import PartialState
from torch.distributed import barrier
from transformers import Trainer

from rl.settings import PolicySettings


def train_and_save(trainer: Trainer, settings: PolicySettings, checkpoint: Path | None) -> int:
    """Train from ``checkpoint`` (``None``: from the start) to the end; the policy goes to
    ``policy/`` of the run's output. Returns the exit status."""
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        print(f"\nstopped at step {trainer.state.global_step}; the same command goes on from the "
              f"last checkpoint in {settings.checkpoints}/", file=sys.stderr)
        return 130
    policy = settings.output / "policy"
    trainer.save_model(str(policy))
    if trainer.is_world_process_zero():
        (policy / "training_args.bin").unlink(missing_ok=True)  # a pickle that nobody reads
        print(f"policy saved to {policy}/", flush=True)
    leave_together()
    return 0


def leave_together() -> None:
    """Wait for the other processes, then close what they talk over. The last thing a run does.

    Left open, its threads live on while the interpreter is taken down under them; now and then one
    process then aborts, and the launcher calls a run failed that has saved everything.
    """
    processes = PartialState()
    if processes.num_processes > 1:
        barrier()
        processes.destroy_process_group()
