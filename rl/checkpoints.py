"""Checkpoints of a trainer that count only when they are whole, and load what they say."""

from pathlib import Path

from peft import PeftModel

from rl import resume


class WholeCheckpoints:
    """Mixed into a transformers ``Trainer``, before it."""

    # Why: a checkpoint counts only when it is whole (rl/resume.py), and older ones are deleted only
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
