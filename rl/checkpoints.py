"""Checkpoints of a trainer that count only when they are whole, and load what they say."""

import json
import shutil
from pathlib import Path

from peft import PeftModel

from rl import checkpoints as resume


class WholeCheckpoints:
    """Mixed into a transformers ``Trainer``, before it."""

    # Why: a checkpoint counts only when it is whole (rl/checkpoints.py), and older ones are deleted only
    # then.
    def _save_checkpoint(self, model, trial):
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        path = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        self._add_to_checkpoint(path)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            resume.mark_complete(path, self.accelerator.num_processes)
            resume.prune(path.parent, limit)
        self.accelerator.wait_for_everyone()

    def _add_to_checkpoint(self, path: Path):
        """What else the trainer needs to go on. Every process calls it, before the mark."""

    # Why: a model whose tensors are saved under other names than its modules bear (Qwen2.5-VL's)
    # is silently not loaded by transformers 5.23, which matches names as they stand, not strictly.
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if isinstance(self.model, PeftModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=self.model.dtype,
                                                 use_safetensors=True)
        self.model.load_state_dict(saved.state_dict())

    # Why: a run gone on with at its last step would train one more; transformers looks only after.
    def _run_epoch(self, **given):
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(**given)


MARK = "complete.json"


STATE = "byname_state.json"


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
    files = {str(path.relative_to(checkpoint)): path.stat().st_size
             for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MARK}
    partial = checkpoint / (MARK + ".partial")
    partial.write_text(json.dumps({"processes": processes, "files": files}, indent=1))
    partial.replace(checkpoint / MARK)


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
        ValueError: no complete checkpoint at the path, or one written by another number of
            processes (its random states and generation buffers are per process).
    """
    if resume == "none":
        return None
    if resume == "auto":
        chosen = next(reversed(checkpoints(directory)), None)
    else:
        chosen = Path(resume)
        if not is_complete(chosen):
            raise ValueError(f"--resume {resume}: no complete checkpoint there; use `auto`, `none` "
                             f"or a checkpoint directory that holds {MARK}")
    if chosen is not None:
        written_by = json.loads((chosen / MARK).read_text())["processes"]
        if written_by != processes:
            raise ValueError(f"{chosen} was written by {written_by} process(es) and cannot be "
                             f"resumed by {processes}; use as many, or --resume none")
    return chosen


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
