"""The GRPO trainer: TRL's own, with whole groups, per-task numbers and exact resuming.

Nothing of TRL's loss, advantages or generation is changed: with every option off, weights after a
step equal those of a stock ``GRPOTrainer`` (``tests/rl/test_trainer.py``). Each override below
says why it exists. The names of the overridden methods are in :data:`OVERRIDDEN`; a TRL that
renames one fails a test by that name.
"""

import json
import warnings
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import ProgressCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.trainer_callback import PrinterCallback
from trl import GRPOTrainer

from rl import checkpoints as resume
from rl.checkpoints import WholeCheckpoints
from rl.chunks import (
    cut,
    join,
    load_pieces,
    save_pieces,
)
from rl.dynamic_sampling import FreshGroups, Replacements, check_dynamic_sampling
from rl.policy.loading import barred, trainable_parameters
from rl.run_log import (
    CompletionLog,
    Scored,
    completion_rows,
    prompt_text,
    read_completions,
)
from rl.sampler import GroupSampler, plain_row, row_kinds
from rl.sharing.sharing import Sharing

OVERRIDDEN = (
    "_get_train_sampler", "_get_eval_sampler", "_prepare_inputs", "_calculate_rewards",
    "_generate_and_score_completions", "_generate_single_turn", "_save_checkpoint",
    "_load_optimizer_and_scheduler", "_load_from_checkpoint", "_run_epoch",
    "_get_per_token_logps_and_entropies",
)


@dataclass
class TrainerOptions:
    """What this trainer can do beyond TRL's. All off by default.

    Args:
        dynamic_sampling: replace groups whose rewards do not vary by groups of fresh prompts of
            the same task.
        dynamic_sampling_limit: rounds of replacement per generation batch. Groups that still do
            not vary stay, with advantage 0.
        task_mix: task -> share of the prompts; ``None`` takes the rows as they are.
        completions_dir: where completions are kept as parquet; ``None`` keeps none.
        completions_every: keep those of every n-th step.
        replay_completions: directory or file of kept completions to train on instead of sampling,
            for debugging and for comparing set-ups; rows and order must be those of the recording.
        share_prompt, share_vision, drop_finished: see :class:`rl.sharing.sharing.Sharing`.
    """

    dynamic_sampling: bool = False
    dynamic_sampling_limit: int = 3
    task_mix: dict[str, float] | None = None
    completions_dir: Path | None = None
    completions_every: int = 1
    replay_completions: Path | None = None
    share_prompt: str = "off"
    share_vision: str = "off"
    drop_finished: bool = False


class PolicyTrainer(FreshGroups, WholeCheckpoints, GRPOTrainer):
    """GRPO on rows of the row contract.

    Args:
        model, reward_funcs, args, train_dataset, processing_class, **kwargs: as in
            ``GRPOTrainer``; the dataset follows ``data_gen.rows``.
        options: see :class:`TrainerOptions`.

    Raises:
        ValueError: dynamic sampling where groups are spread over processes, or with rewards
            scaled by the batch.
    """

    _name = "byname GRPO"

    def __init__(self, model, reward_funcs, args, train_dataset, processing_class, *,
                 options: TrainerOptions | None = None, **kwargs):
        self.options = options or TrainerOptions()
        check_dynamic_sampling(args, self.options.dynamic_sampling)
        args.generation_kwargs = barred(args.generation_kwargs, model, processing_class,
                                        vllm=args.use_vllm)
        parts = trainable_parameters(model).parts
        trains_vision = kwargs.get("peft_config") is None and parts["vision"] + parts["projector"]
        if args.ddp_find_unused_parameters is None and not trains_vision:
            args.ddp_find_unused_parameters = False  # every trainable weight is used by every row
        if args.ddp_broadcast_buffers is None:
            # None changes, and passes differ between processes. Torch has a new name for it, which
            # nothing in between hands on.
            args.ddp_broadcast_buffers = False
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        super().__init__(model=model, reward_funcs=reward_funcs, args=args,
                         train_dataset=train_dataset, processing_class=processing_class, **kwargs)
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

        # Before the first forward pass, whoever makes it; behind TRL's own patches of the model.
        self.sharing = Sharing(self.model, processing_class, prompt=self.options.share_prompt,
                               vision=self.options.share_vision,
                               drop_finished=self.options.drop_finished,
                               in_step=is_deepspeed_zero3_enabled() or self.is_fsdp_enabled
                               or args.ddp_broadcast_buffers)
        if self.ref_model is not None:
            self.sharing.with_reference(self.accelerator.unwrap_model(self.ref_model))
        self._piece_rows = gcd(args.per_device_train_batch_size, self.num_generations)
        self._kinds = row_kinds(train_dataset)
        self._replacements = Replacements(self._kinds, args.seed)
        self._completions = CompletionLog(self.options.completions_dir or Path())
        self._recorded = read_completions(self.options.replay_completions)
        # Of the generation round at hand: this process's rows, the round's number, when it was,
        # the completions that this step has seen before it, and what came of it.
        self._rows, self._round, self._now, self._place, self._scored = [], 0, None, 0, None

    # Why: rows with and without pictures apart; the order of an epoch known without its
    # predecessors, so that a resume in a later epoch finds it. Equal to TRL's for one kind.
    def _get_train_sampler(self, dataset=None) -> GroupSampler:
        args = self.args
        return GroupSampler(
            self._kinds if dataset is None else row_kinds(dataset),
            prompts=args.generation_batch_size // self.num_generations,
            group=self.num_generations,
            repeat=self.num_iterations * args.steps_per_generation,
            shuffle=self.shuffle_dataset, seed=args.seed, mix=self.options.task_mix,
            epoch=lambda: int(self.state.epoch or 0),
        )

    # Why: as above.
    def _get_eval_sampler(self, eval_dataset) -> GroupSampler:
        kinds = row_kinds(eval_dataset)
        if len({kind.images for kind in kinds}) == 1:
            return super()._get_eval_sampler(eval_dataset)
        batch = self.args.eval_batch_size * self.accelerator.num_processes
        return GroupSampler(kinds, prompts=max(batch // self.num_generations_eval, 1),
                            group=self.num_generations_eval, seed=self.args.seed)

    # Why: TRL shuffles the rows of a generation batch over its micro-batches. It is handed pieces
    # of groups to shuffle instead, which are joined to a micro-batch here.
    def _prepare_inputs(self, generation_batch):
        inputs = super()._prepare_inputs(generation_batch)
        if "piece" in inputs:
            return join(inputs["piece"], self._tokenizer.pad_token_id,
                        trim=self.pad_to_multiple_of is None)
        return inputs

    # Why: dynamic sampling, and pieces (see `_prepare_inputs`).
    def _generate_and_score_completions(self, inputs):
        inputs = [plain_row(row) for row in inputs]
        output = self._generate_round(inputs, 0)
        if not self.model.training:
            return output
        if self.options.dynamic_sampling:
            output = self._replace_still_groups(inputs, output)
        pieces = cut(output, self._piece_rows)
        return {"order": torch.arange(len(pieces)), "piece": pieces}

    def _generate_round(self, inputs: list[dict], number: int) -> dict:
        """One call of TRL's own method, with the rows at hand for replay and records."""
        now = (self.model.training, self.state.global_step, number)
        self._place = self._place + len(self._scored.ids) if now == self._now else 0
        self._rows, self._round, self._now = inputs, number, now
        plain = self.accelerator.unwrap_model(self.model)
        mode = "train" if self.model.training else "eval"
        with self.sharing.generating(plain, mode, fresh=number == 0):
            output = super()._generate_and_score_completions(inputs)
        self._keep_completions(output)
        return output

    # Why: the prompt of a group goes through the model once. Equal to the unshared pass.
    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None,
        compute_entropy=False, compute_aux_loss=False, pixel_values=None, image_grid_thw=None,
        num_images=None, pixel_attention_mask=None, spatial_shapes=None, num_tiles=None,
        image_sizes=None, token_type_ids=None, mm_token_type_ids=None, image_position_ids=None,
    ):
        others = dict(pixel_attention_mask=pixel_attention_mask, spatial_shapes=spatial_shapes,
                      num_tiles=num_tiles, image_sizes=image_sizes, token_type_ids=token_type_ids,
                      image_position_ids=image_position_ids)
        fields = dict(pixel_values=pixel_values, image_grid_thw=image_grid_thw,
                      mm_token_type_ids=mm_token_type_ids)

        def usual(ids, mask, fields, num_images):
            return GRPOTrainer._get_per_token_logps_and_entropies(
                self, model, ids, mask, logits_to_keep, batch_size, compute_entropy,
                compute_aux_loss, num_images=num_images, **fields, **others)

        if not self.sharing.prompt or compute_aux_loss or any(
                value is not None for value in others.values()):
            return usual(input_ids, attention_mask, fields, num_images)
        logps, entropies = self.sharing.log_probabilities(
            model, lambda *rows: usual(*rows)[:2], input_ids, attention_mask, logits_to_keep,
            fields, num_images, batch_size or input_ids.size(0), self.accelerator.autocast,
            compute_entropy)
        return logps, entropies, None

    # Why: it is where rewards, rows and completions meet, gathered from all processes.
    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        mode = "train" if self.model.training else "eval"
        ended = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        rows = gather_object([
            (row["task"], row["id"], len(ids), ids[-1] not in ended)
            for row, ids in zip(inputs, completion_ids_list, strict=True)
        ])
        tasks, ids, lengths, cut_off = (list(column) for column in zip(*rows, strict=True))
        totals = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        totals[torch.isnan(rewards).all(dim=1)] = torch.nan
        group = self.num_generations if mode == "train" else self.num_generations_eval
        self._scored = Scored(tasks, ids, lengths, cut_off, rewards.tolist(), totals.tolist(),
                              group)
        for key, value in self._scored.metrics().items():
            self._metrics[mode][key].append(value)
        self._texts = (completions, completion_ids_list)
        return rewards

    # Why: training on recorded completions.
    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations,
                              has_tool_images=False):
        if self._recorded is None or not self.model.training:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        ids = []
        for place, row in enumerate(self._rows, start=self._place + self._offset()):
            found, tokens = self._recorded.get(
                (self.state.global_step, self._round, place), (None, None))
            if found != row["id"]:
                raise RuntimeError(
                    f"{self.options.replay_completions} holds no completion of row {row['id']!r} "
                    f"at step {self.state.global_step}: other rows, order, batch or group size?")
            ids.append(tokens)
        return ids, None

    def _offset(self) -> int:
        """Where this process's rows begin among those of all processes."""
        return self.accelerator.process_index * len(self._rows)

    # Why: TRL forgets the completions still to be trained on, the place among them, and we the
    # cursors of dynamic sampling.
    def _add_to_checkpoint(self, path: Path):
        if self._mid_generation():
            save_pieces([batch["piece"] for batch in self._buffered_inputs], self._buffer(path))
            if self.sharing.shelf:
                self.sharing.shelf.save(self._pictures(path))
        if self.args.should_save:
            state = {"step": self._step, "cursors": self._replacements.cursors}
            (path / resume.STATE).write_text(json.dumps(state))

    # Why: reads what `_add_to_checkpoint` adds.
    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        state = json.loads((Path(checkpoint) / resume.STATE).read_text())
        self._step, self._replacements.cursors = state["step"], state["cursors"]
        if self._mid_generation():
            batches = load_pieces(self._buffer(Path(checkpoint)), self.accelerator.device)
            self._buffered_inputs = [{"piece": pieces} for pieces in batches]
            if self.sharing.shelf:
                self.sharing.shelf.load(self._pictures(Path(checkpoint)), self.accelerator.device)

    def _mid_generation(self) -> bool:
        return self._step % (self.args.steps_per_generation * self.num_iterations) != 0

    def _buffer(self, checkpoint: Path) -> Path:
        return checkpoint / f"generation_{self.accelerator.process_index}.safetensors"

    def _pictures(self, checkpoint: Path) -> Path:
        return checkpoint / f"pictures_{self.accelerator.process_index}.safetensors"

    def _keep_completions(self, output: dict) -> None:
        step, every = self.state.global_step, self.options.completions_every
        if self.options.completions_dir is None or not every or step % every:
            return
        mode = "train" if self.model.training else "eval"
        advantages = self.accelerator.gather(output["advantages"]).tolist()
        texts, ids = self._texts
        local = gather_object([
            (prompt_text(row["prompt"]), text[0]["content"], tokens)
            for row, text, tokens in zip(self._rows, texts, ids, strict=True)
        ])
        if not self.accelerator.is_main_process:
            return
        self._completions.add(mode, step, completion_rows(
            self._scored, self.reward_func_names, local, advantages,
            {"step": step, "round": self._round}, first=self._place))
