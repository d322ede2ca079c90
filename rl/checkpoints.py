"""Trainer mixin: a checkpoint is valid only once complete; the best one is kept and loaded.

A checkpoint is complete when it holds :data:`MARK`, a list of its files with sizes and digests,
which is written last. A run resumes from the newest checkpoint that is as its mark says, so one
whose writing was interrupted, or that was damaged since, is never read.
"""

import json
import math
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from peft import PeftModel

from data_gen.files.errors import InputError
from data_gen.files.files import remove_listed, sha256_of, write_json
from rl.policy.loading import load_whole

MARK = "complete.json"
"""Written last; lists the checkpoint's files with their sizes and digests."""

STATE = "byname_state.json"
"""What :class:`rl.trainer.PolicyTrainer` adds to a checkpoint."""

_Trainer: Any = object  # for type checkers: what the Trainer brings


class AtomicCheckpointMixin(_Trainer):
    """Stands before a transformers ``Trainer`` among a trainer's base classes."""

    # Why: a checkpoint is valid only once complete, and older ones are deleted only then.
    # Equal to: transformers' own, with its deletion of old checkpoints put off until the mark.
    def _save_checkpoint(self, model, trial):
        path = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            (path / MARK).unlink(missing_ok=True)  # of an earlier one that is written over
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        super()._save_checkpoint(model, trial)
        self.args.save_total_limit = limit
        self._add_to_checkpoint(path)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            # A pickle that nobody reads, with all settings in it, keys too.
            (path / "training_args.bin").unlink(missing_ok=True)
            mark_complete(path, self.accelerator.num_processes)
            prune(path.parent, limit, self._best_checkpoint())
        self.accelerator.wait_for_everyone()

    def _add_to_checkpoint(self, path: Path) -> None:
        """Write what else the trainer needs to resume. Every process calls it, before the mark."""

    # Why: transformers 5.23 matches tensors by name and not strictly, so that the weights of a
    # model that is saved under other names than its modules bear (Qwen2.5-VL) are silently not
    # loaded. Equal to: `from_pretrained` of the checkpoint.
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if isinstance(self.model, PeftModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        saved = load_whole(type(self.model), resume_from_checkpoint, dtype=self.model.dtype)
        self.model.load_state_dict(saved.state_dict())

    # Why: transformers keeps a best checkpoint only where a save falls on its step, and fails on a
    # metric that is no number. Equal to: transformers' own where every evaluation is saved.
    def _determine_best_metric(self, metrics, trial):
        name = self.args.metric_for_best_model
        if name is None:
            return super()._determine_best_metric(metrics, trial)
        key = f"eval_{name.removeprefix('eval_')}"
        if key not in metrics:
            known = sorted(each.removeprefix("eval_") for each in metrics)
            raise InputError(
                f"the evaluation has no metric '{name}', which metric_for_best_model names; it has "
                f"{', '.join(known)}"
            )
        if metrics[key] is None or math.isnan(metrics[key]):
            return False
        better = super()._determine_best_metric(metrics, trial)
        if better and self.args.load_best_model_at_end:
            self.control.should_save = True
        return better

    # Why: transformers remembers the best checkpoint's path, not where the run lies now, and
    # deletes the last checkpoint, with whatever else lies in it, where save_total_limit is 1.
    # Equal to: transformers' own everywhere else.
    def _finalize_training(self, *args, **kwargs):
        best = self._best_checkpoint()
        self.state.best_model_checkpoint = str(best) if best is not None else None
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            return super()._finalize_training(*args, **kwargs)
        finally:
            self.args.save_total_limit = limit

    # Why: as for `_load_from_checkpoint`; the policy would be that of the last step. Equal to:
    # `from_pretrained` of the best checkpoint.
    def _load_best_model(self):
        best = Path(self.state.best_model_checkpoint)
        if wrong := damage(best):
            raise InputError(
                f"{best}, the best by {self.args.metric_for_best_model}, cannot be loaded "
                f"({wrong}): name another checkpoint as the policy"
            )
        if isinstance(self.model, PeftModel) or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(best))

    def _best_checkpoint(self) -> Path | None:
        """The checkpoint of the best step by ``metric_for_best_model``, if it was saved."""
        if not self.state.best_global_step:
            return None
        folder = Path(self._get_output_dir(trial=None))
        best = folder / f"checkpoint-{self.state.best_global_step}"
        return best if (best / MARK).exists() else None

    # Why: resuming at max_steps would train one extra step, because transformers compares only
    # after a step. Equal to: transformers' own everywhere else.
    def _run_epoch(self, *args, **kwargs):
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)


def checkpoints(directory: str | Path) -> list[Path]:
    """The complete checkpoints in ``directory``, oldest first; contents are not compared."""
    return [path for path in _numbered(directory) if damage(path, contents=False) is None]


def damage(checkpoint: str | Path, *, contents: bool = True) -> str | None:
    """What is wrong with a checkpoint, in a few words; ``None`` where it is as it was written.

    Args:
        contents: compare digests of all files, too; else only names and sizes.
    """
    checkpoint = Path(checkpoint)
    if not (checkpoint / MARK).exists():
        return "it was not finished"
    mark = _mark(checkpoint)
    if mark is None:
        return f"its {MARK} is damaged"
    for name, told in mark["files"].items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != told["bytes"]:
            return f"{name} has another size than was written"
    differ = [name for name in mark["files"] if contents and "sha256" in mark["files"][name]]
    with ThreadPoolExecutor() as threads:  # hashing gives the interpreter's lock away
        digests = threads.map(sha256_of, [checkpoint / name for name in differ])
        for name, digest in zip(differ, digests, strict=True):
            if digest != mark["files"][name]["sha256"]:
                return f"{name} is not as it was written"
    return None


def mark_complete(checkpoint: str | Path, processes: int) -> None:
    """Write the mark, once everything is on the disk. Call it when all processes have written their
    files."""
    checkpoint = Path(checkpoint)
    paths = sorted(checkpoint.rglob("*"))
    files = [path for path in paths if path.is_file() and path.name != MARK]
    with ThreadPoolExecutor() as threads:
        told = list(threads.map(_on_disk, files))
    for folder in (*(path for path in paths if path.is_dir()), checkpoint, checkpoint.parent):
        _sync(folder)
    names = [path.relative_to(checkpoint).as_posix() for path in files]
    write_json(
        checkpoint / MARK, {"processes": processes, "files": dict(zip(names, told, strict=True))}
    )


def prune(directory: str | Path, keep: int | None, best: Path | None = None) -> None:
    """Delete the oldest complete checkpoints beyond ``keep``; ``None`` keeps all. Only files that
    the mark lists are deleted; a checkpoint that is a link stays.

    Args:
        best: a checkpoint that stays, as one of ``keep``, beside at least the newest.
    """
    if not keep:
        return
    there = checkpoints(directory)
    others = [path for path in there if best is None or path.name != best.name]
    newest = there[-1:] == others[-1:]  # is not the best: it stays, to resume from
    room = max(keep - (len(there) - len(others)), int(newest))
    for old in others[: max(len(others) - room, 0)]:
        mark = _mark(old)
        if mark is not None and not old.is_symlink():
            remove_listed(old, [MARK, *mark["files"]])


def choose(resume: str, directory: str | Path, processes: int) -> Path | None:
    """The checkpoint that ``--resume`` means.

    Args:
        resume: ``auto`` (the last one that is as it was written, if any), ``none``, or a
            checkpoint's path.
        directory: where this run keeps its checkpoints. Those that are passed over are named on
            stderr.
        processes: how many run now.

    Raises:
        InputError: no complete checkpoint at the path; none that is left undamaged; or one written
            by another number of processes (its random states and generation buffers are per
            process).
    """
    if resume == "none":
        return None
    if resume == "auto":
        chosen = _newest(directory)
    else:
        chosen = Path(resume)
        if wrong := damage(chosen):
            raise InputError(
                f"--resume {resume}: no complete checkpoint there ({wrong}); use `auto`, `none` "
                f"or a checkpoint directory that holds {MARK}"
            )
    mark = _mark(chosen) if chosen is not None else None
    if chosen is not None and mark is not None and mark["processes"] != processes:
        adapter = " --lora_r 0" if (chosen / "adapter_config.json").exists() else ""
        raise InputError(
            f"{chosen} was written by {mark['processes']} process(es) and cannot be resumed by "
            f"{processes}; use as many, or train on from its weights under another name (--name "
            f"another --policy {chosen}{adapter}), or give --resume none, which moves the earlier "
            f"run aside"
        )
    return chosen


def _newest(directory: str | Path) -> Path | None:
    """The newest checkpoint that is as it was written; ``None`` where none was finished."""
    passed_over = []
    for checkpoint in reversed(_numbered(directory)):
        wrong = damage(checkpoint)
        if wrong is None:
            for line in passed_over:
                print(f"passed over: {line}", file=sys.stderr)
            return checkpoint
        passed_over.append(f"{checkpoint} ({wrong})")
    if any((checkpoint / MARK).exists() for checkpoint in _numbered(directory)):
        raise InputError(
            f"no checkpoint is as it was written: {'; '.join(passed_over)}; give another --name, "
            f"or --resume none, which moves the earlier run aside"
        )
    return None


def _numbered(directory: str | Path) -> list[Path]:
    """``checkpoint-<step>`` folders, oldest first; others, such as ``checkpoint-best``, are not a
    run's."""
    found = [
        path
        for path in Path(directory).glob("checkpoint-*")
        if re.fullmatch(r"checkpoint-[0-9]{1,18}", path.name) and path.is_dir()
    ]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def _mark(checkpoint: Path) -> dict | None:
    """The mark: ``processes``, and ``files`` with ``bytes`` and ``sha256`` each; ``None`` where it
    is missing or damaged. Older marks have a file's size alone."""
    try:
        mark = json.loads((checkpoint / MARK).read_bytes())
        files = {
            name: told if isinstance(told, dict) else {"bytes": told}
            for name, told in mark["files"].items()
        }
        known = isinstance(mark["processes"], int) and all(
            isinstance(told["bytes"], int) for told in files.values()
        )
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    # A name that leads out of the checkpoint is nothing that a run wrote.
    inside = all(name and not {"..", "/"} & {*PurePosixPath(name).parts} for name in files)
    return {"processes": mark["processes"], "files": files} if known and inside else None


def _on_disk(file: Path) -> dict:
    """Size and digest of a file, once the disk has it."""
    _sync(file)
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}


def _sync(path: Path) -> None:
    """Wait until the disk has what was written: a power cut must not leave a mark alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
