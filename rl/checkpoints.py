"""Trainer mixin: a checkpoint is valid only once complete; reloads Qwen2.5-VL weights correctly.

A checkpoint is complete when it holds :data:`MARK`, a list of its files with their sizes, which is
written last. A run resumes from complete checkpoints only, so one whose writing was interrupted is
never read.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel

from data_gen.files.errors import InputError
from data_gen.files.files import write_json

MARK = "complete.json"
"""Written last; lists the checkpoint's files with their sizes."""

STATE = "byname_state.json"
"""What :class:`rl.trainer.PolicyTrainer` adds to a checkpoint."""

_Trainer: Any = object  # for type checkers: what the Trainer brings


class AtomicCheckpointMixin(_Trainer):
    """Stands before a transformers ``Trainer`` among a trainer's base classes."""

    # Why: a checkpoint is valid only once complete, and older ones are deleted only then.
    # Equal to: transformers' own, with its deletion of old checkpoints put off until the mark.
    def _save_checkpoint(self, model, trial):
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        path = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        self._add_to_checkpoint(path)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(path, self.accelerator.num_processes)
            prune(path.parent, limit)
        self.accelerator.wait_for_everyone()

    def _add_to_checkpoint(self, path: Path) -> None:
        """Write what else the trainer needs to resume. Every process calls it, before the mark."""

    # Why: transformers 5.23 matches tensors by name and not strictly, so that the weights of a
    # model that is saved under other names than its modules bear (Qwen2.5-VL) are silently not
    # loaded. Equal to: `from_pretrained` of the checkpoint.
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if isinstance(self.model, PeftModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        saved = type(self.model).from_pretrained(
            resume_from_checkpoint, dtype=self.model.dtype, use_safetensors=True
        )
        self.model.load_state_dict(saved.state_dict())

    # Why: resuming at max_steps would train one extra step, because transformers compares only
    # after a step. Equal to: transformers' own everywhere else.
    def _run_epoch(self, *args, **kwargs):
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)


def checkpoints(directory: str | Path) -> list[Path]:
    """The complete checkpoints in ``directory``, oldest first."""
    found = [path for path in Path(directory).glob("checkpoint-*") if is_complete(path)]
    return sorted(found, key=_step)


def is_complete(checkpoint: str | Path) -> bool:
    """Whether every file that the mark lists is there in its full size."""
    checkpoint = Path(checkpoint)
    try:
        files = json.loads((checkpoint / MARK).read_text())["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except (OSError, json.JSONDecodeError):
        return False


def mark_complete(checkpoint: str | Path, processes: int) -> None:
    """Write the mark. Call it when all processes have written their files."""
    checkpoint = Path(checkpoint)
    files = {
        str(path.relative_to(checkpoint)): path.stat().st_size
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MARK
    }
    write_json(checkpoint / MARK, {"processes": processes, "files": files})


def prune(directory: str | Path, keep: int | None) -> None:
    """Delete the oldest complete checkpoints beyond ``keep``; ``None`` keeps all."""
    for old in checkpoints(directory)[: -keep if keep else 0]:
        (old / MARK).unlink()
        shutil.rmtree(old)


def choose(resume: str, directory: str | Path, processes: int) -> Path | None:
    """The checkpoint that ``--resume`` means.

    Args:
        resume: ``auto`` (the last complete one, if any), ``none``, or a checkpoint's path.
        directory: where this run keeps its checkpoints.
        processes: how many run now.

    Raises:
        InputError: no complete checkpoint at the path, or one written by another number of
            processes (its random states and generation buffers are per process).
    """
    if resume == "none":
        return None
    if resume == "auto":
        chosen = next(reversed(checkpoints(directory)), None)
    else:
        chosen = Path(resume)
        if not is_complete(chosen):
            raise InputError(
                f"--resume {resume}: no complete checkpoint there; use `auto`, `none` "
                f"or a checkpoint directory that holds {MARK}"
            )
    if chosen is not None:
        written_by = json.loads((chosen / MARK).read_text())["processes"]
        if written_by != processes:
            raise InputError(
                f"{chosen} was written by {written_by} process(es) and cannot be "
                f"resumed by {processes}; use as many, or --resume none"
            )
    return chosen


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
