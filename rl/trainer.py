"""The GRPO trainer: TRL's own, with whole groups, per-task metrics and exact resuming.

TRL's loss, advantages and generation are unchanged: with every option off, the weights after a step
equal those of a stock ``GRPOTrainer`` (``tests/rl/test_trainer.py``). Each override below says why
it exists and what it must equal. :data:`OVERRIDDEN` lists the overridden methods; a test fails if
TRL renames one of them.
"""

import json
import warnings
from dataclasses import dataclass, field
from logging import getLogger
from math import gcd
from pathlib import Path

import torch
from accelerate.utils import gather_object
from transformers import ProgressCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.trainer_callback import PrinterCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rewards.loading import RewardError
from rl.checkpoints import STATE, AtomicCheckpointMixin
from rl.chunks import collate, load_chunks, save_chunks, split
from rl.credit.credit import CreditMixin, CreditOptions, check_credit
from rl.dynamic_sampling import DynamicSamplingMixin, Replacements, check_dynamic_sampling
from rl.finite import FiniteMixin
from rl.policy.loading import suppress_vision_tokens, trainable_parameters
from rl.run_log import CompletionLog, Scored, completion_rows, read_completions, transcript
from rl.sampler import GroupSampler, pairs_of, plain_row, row_types
from rl.sharing.scoring import completions_alone
from rl.sharing.sharing import Sharing
from rl.vllm.check import VllmCheck
from rl.vllm.engine import Engine, engine_in_trl

OVERRIDDEN = (
    "_get_train_sampler",
    "_get_eval_sampler",
    "_tokenize_prompts",
    "_prepare_inputs",
    "training_step",
    "_calculate_rewards",
    "_generate_and_score_completions",
    "_generate_single_turn",
    "_save_checkpoint",
    "_load_optimizer_and_scheduler",
    "_load_from_checkpoint",
    "_determine_best_metric",
    "_finalize_training",
    "_load_best_model",
    "_run_epoch",
    "_get_per_token_logps_and_entropies",
)


MOST_UNJUDGED = 20
"""Batches in a row without a single reward, after which a run is stopped."""

# Rows that no reward judges are told in the plan; TRL prints one of them at every step.
getLogger("trl.trainer.grpo_trainer").addFilter(
    lambda record: "All reward functions returned None" not in str(record.msg)
)


@dataclass
class TrainerOptions:
    """What this trainer can do beyond TRL's. All off by default.

    Args:
        dynamic_sampling: replace zero-variance groups by groups of other prompts of the same task.
        dynamic_sampling_limit: rounds of replacement per generation batch. Groups that are
            zero-variance after the last one stay, with advantage 0.
        task_mix: task, or one side of it -> share of the prompts; ``None`` takes every row once per
            epoch. See :class:`rl.sampler.GroupSampler`.
        pairs_together: rows with the same ``pair`` stay in one generation batch.
        credit: see :class:`rl.credit.credit.CreditOptions`.
        completions_dir: where completions are logged as parquet; ``None`` logs none.
        completions_every: log those of every n-th step; 0 logs none.
        replay_completions: directory or file of logged completions to train on instead of sampling,
            for debugging and for comparing set-ups; rows and order must be those of the recording.
        share_prompt, share_vision, share_dropout, drop_finished, fast_sampling: see
            :class:`rl.sharing.sharing.Sharing`.
        vllm_check: with ``use_vllm``, compare its log-probabilities with the trainer's before the
            first step (:mod:`rl.vllm.check`).
        vllm_options: further arguments of vLLM's ``LLM``.
    """

    dynamic_sampling: bool = False
    dynamic_sampling_limit: int = 3
    task_mix: dict[str, float] | None = None
    pairs_together: bool = False
    credit: CreditOptions = field(default_factory=CreditOptions)
    completions_dir: Path | None = None
    completions_every: int = 1
    replay_completions: Path | None = None
    share_prompt: str = "off"
    share_vision: str = "off"
    share_dropout: bool = True
    drop_finished: bool = False
    fast_sampling: bool = False
    vllm_check: bool = False
    vllm_options: dict = field(default_factory=dict)


class PolicyTrainer(
    CreditMixin, DynamicSamplingMixin, AtomicCheckpointMixin, FiniteMixin, GRPOTrainer
):
    """GRPO on rows of the row contract.

    Args:
        model, reward_funcs, args, train_dataset, processing_class, **kwargs: as in
            ``GRPOTrainer``; the dataset follows ``data_gen.rows``.
        options: see :class:`TrainerOptions`.

    Raises:
        InputError: dynamic sampling where groups are spread over processes, or with rewards
            scaled by the batch; a ``share_`` option is ``on`` where the model does not allow it;
            a credit option where :func:`rl.credit.credit.check_credit` refuses it; pairs where
            :class:`rl.sampler.GroupSampler` does.
    """

    _name = "byname GRPO"

    def __init__(
        self,
        model,
        reward_funcs,
        args,
        train_dataset,
        processing_class,
        *,
        options: TrainerOptions | None = None,
        **kwargs,
    ):
        self.options = options or TrainerOptions()
        check_dynamic_sampling(args, self.options.dynamic_sampling)
        args.generation_kwargs = suppress_vision_tokens(
            args.generation_kwargs, model, processing_class, vllm=args.use_vllm
        )
        parts = trainable_parameters(model).parts
        trains_vision = kwargs.get("peft_config") is None and parts["vision"] + parts["projector"]
        if args.ddp_find_unused_parameters is None and not trains_vision:
            args.ddp_find_unused_parameters = False  # every trainable weight is used by every row
        if args.ddp_broadcast_buffers is None:
            # Buffers never change; broadcasting would hang ranks that make unequal numbers of
            # passes. Torch warns that the option has a new name, which accelerate does not pass on.
            args.ddp_broadcast_buffers = False
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
        with engine_in_trl(self.options.vllm_options):
            super().__init__(
                model=model,
                reward_funcs=reward_funcs,
                args=args,
                train_dataset=train_dataset,
                processing_class=processing_class,
                **kwargs,
            )
        if self.use_vllm and self.options.vllm_check:
            self.add_callback(VllmCheck(self))
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

        # After TRL's own patches of the model, and before its first forward pass.
        self.sharing = Sharing(
            self.model,
            processing_class,
            prompt=self.options.share_prompt,
            vision=self.options.share_vision,
            drop_finished=self.options.drop_finished,
            fast_sampling=self.options.fast_sampling,
            dropout=self.options.share_dropout,
            in_step=is_deepspeed_zero3_enabled()
            or self.is_fsdp_enabled
            or args.ddp_broadcast_buffers,
        )
        if self.ref_model is not None:
            self.sharing.with_reference(self.accelerator.unwrap_model(self.ref_model))
        self._group = self.num_generations or 1  # completions per prompt, G
        self._chunk_rows = gcd(args.per_device_train_batch_size, self._group)
        self._types = row_types(train_dataset)
        self._replacements = Replacements(self._types, args.seed)
        self._completions = CompletionLog(self.options.completions_dir or Path())
        self._recorded = read_completions(self.options.replay_completions)
        self._unjudged = 0  # batches in a row in which no reward judged anything
        check_credit(
            args,
            self.options.credit,
            self.reward_func_names,
            replays=self._recorded is not None,
        )
        self._begin_credit(self.options.credit, [each.task for each in self._types])
        # The current generation round: this process's rows, the round's number, (training, step,
        # round), how many completions this step has logged before it, its scores and its texts.
        self._rows: list[dict] = []
        self._round = 0
        self._now: tuple | None = None
        self._place = 0
        self._scored: Scored | None = None
        self._texts: tuple[list, list] = ([], [])

    @property
    def _grpo_args(self) -> GRPOConfig:
        assert isinstance(self.args, GRPOConfig)
        return self.args

    @property
    def _mode(self) -> str:
        """``train`` or ``eval``, as TRL names its metrics."""
        return "train" if self.model is not None and self.model.training else "eval"

    # Why: keeps rows with and without images in separate batches, applies `task_mix`, and knows the
    # order of an epoch without having drawn the epochs before, so that a run can resume in any.
    # Equal to: TRL's order where all rows are of one type and there is no `task_mix`.
    def _get_train_sampler(self, dataset=None) -> GroupSampler:
        args = self._grpo_args
        return GroupSampler(
            self._types if dataset is None else row_types(dataset),
            prompts=(args.generation_batch_size or 1) // self._group,
            group=self._group,
            repeat=self.num_iterations * (args.steps_per_generation or 1),
            shuffle=bool(self.shuffle_dataset),
            seed=args.seed,
            mix=self.options.task_mix,
            pairs=pairs_of(self.train_dataset if dataset is None else dataset)
            if self.options.pairs_together
            else None,
            epoch=lambda: int(self.state.epoch or 0),
        )

    # Why: keeps rows with and without images in separate batches. Equal to: TRL's where all rows
    # are of one of these kinds.
    def _get_eval_sampler(self, eval_dataset):
        types = row_types(eval_dataset)
        if len({each.images for each in types}) == 1:
            return super()._get_eval_sampler(eval_dataset)
        group = self.num_generations_eval or 1
        batch = self.args.eval_batch_size * self.accelerator.num_processes
        return GroupSampler(types, prompts=max(batch // group, 1), group=group, seed=self.args.seed)

    # Why: vLLM expands images itself, and is given prompts in which they are not expanded yet.
    # Equal to: TRL's ids; `rl.vllm.engine.Engine` refuses a prompt of vLLM's that is another.
    def _tokenize_prompts(self, prompts):
        ids, images, fields = super()._tokenize_prompts(prompts)
        if self.use_vllm and images is not None:
            assert isinstance(self.vllm_generation, Engine)
            self.vllm_generation.remember(
                self.processing_class,
                prompts,
                ids,
                chat_template=self.chat_template,
                **self.chat_template_kwargs,
            )
        return ids, images, fields

    # Why: TRL shuffles the rows of a generation batch over its micro-batches, which would tear
    # groups apart. It is given chunks of groups to shuffle instead, which are collated here.
    # Equal to: TRL's micro-batches of the same rows, with columns that are all padding removed.
    def _prepare_inputs(self, generation_batch):
        inputs = super()._prepare_inputs(generation_batch)
        if "chunk" in inputs:
            return collate(
                inputs["chunk"], self._tokenizer.pad_token_id, trim=self.pad_to_multiple_of is None
            )
        return inputs

    # Why: dynamic sampling, and chunks (see `_prepare_inputs`). Equal to: TRL's output, split.
    def _generate_and_score_completions(self, inputs):
        inputs = [plain_row(row) for row in inputs]
        output = self._generate_round(inputs, 0)
        if self._mode == "eval":
            return output
        if self.options.dynamic_sampling:
            output = self._replace_zero_variance_groups(
                inputs, output, self.options.dynamic_sampling_limit
            )
        chunks = split(output, self._chunk_rows)
        return {"order": torch.arange(len(chunks)), "chunk": chunks}

    def _generate_round(self, inputs: list[dict], number: int) -> dict:
        """Call TRL's own method, with the rows at hand for replay and for the completion log."""
        now = (self._mode, self.state.global_step, number)
        logged = len(self._scored.ids) if self._scored is not None else 0
        self._place = self._place + logged if now == self._now else 0
        self._rows, self._round, self._now = inputs, number, now
        plain = self.accelerator.unwrap_model(self.model)
        with self.sharing.generating(plain, self._mode, fresh=number == 0):
            output = super()._generate_and_score_completions(inputs)
        assert self._scored is not None
        advantages = output["advantages"]
        if self.options.credit.on and self._mode == "train":
            advantages = self._assign_credit(output)
        for key, value in self._scored.metrics().items():
            self._metrics[self._mode][key].append(value)
        self._log_completions(advantages)
        return output

    # Why: the prompt of a group goes through the model once, and the LM head leaves it out. Equal
    # to: TRL's pass over whole sequences, within `rl.sharing.sharing.TOLERANCE`.
    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        compute_aux_loss=False,
        pixel_values=None,
        image_grid_thw=None,
        num_images=None,
        pixel_attention_mask=None,
        spatial_shapes=None,
        num_tiles=None,
        image_sizes=None,
        token_type_ids=None,
        mm_token_type_ids=None,
        image_position_ids=None,
    ):
        others = dict(
            pixel_attention_mask=pixel_attention_mask,
            spatial_shapes=spatial_shapes,
            num_tiles=num_tiles,
            image_sizes=image_sizes,
            token_type_ids=token_type_ids,
            image_position_ids=image_position_ids,
        )
        fields = dict(
            pixel_values=pixel_values,
            image_grid_thw=image_grid_thw,
            mm_token_type_ids=mm_token_type_ids,
        )

        def usual(ids, mask, fields, num_images):
            return GRPOTrainer._get_per_token_logps_and_entropies(
                self,
                model,
                ids,
                mask,
                logits_to_keep,
                batch_size,
                compute_entropy,
                compute_aux_loss,
                num_images=num_images,
                **fields,
                **others,
            )

        if (
            not self.sharing.prompt
            or compute_aux_loss
            or any(value is not None for value in others.values())
        ):
            return usual(input_ids, attention_mask, fields, num_images)
        with completions_alone():
            logps, entropies = self.sharing.log_probabilities(
                model,
                lambda *rows: usual(*rows)[:2],
                input_ids,
                attention_mask,
                logits_to_keep,
                fields,
                num_images,
                batch_size or input_ids.size(0),
                self.accelerator.autocast,
                compute_entropy,
            )
        return logps, entropies, None

    # Why: the one place that has rewards, rows and completions, gathered from all processes, for
    # the metrics per task and the completion log. Equal to: TRL's rewards, which it returns.
    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        ended = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        rows = gather_object(
            [
                (row["task"], row["id"], len(ids), ids[-1] not in ended)
                for row, ids in zip(inputs, completion_ids_list, strict=True)
            ]
        )
        tasks, ids, lengths, cut_off = (list(column) for column in zip(*rows, strict=True))
        totals = (rewards * self.reward_weights.to(rewards.device)).nansum(dim=1)
        totals[torch.isnan(rewards).all(dim=1)] = torch.nan
        if self._mode == "train":
            self._unjudged = self._unjudged + 1 if torch.isnan(totals).all() else 0
            if self._unjudged == MOST_UNJUDGED:
                raise RewardError(
                    f"no reward judged any completion of {MOST_UNJUDGED} batches in a row (all "
                    f"returned None), the last of them of row {ids[0]!r}"
                )
        group = self._group if self._mode == "train" else self.num_generations_eval or 1
        apart = None
        if self.multi_objective_aggregation == "normalize_then_sum":
            apart = self.reward_weights.tolist()
        self._scored = Scored(
            tasks, ids, lengths, cut_off, rewards.tolist(), totals.tolist(), group, apart=apart
        )
        self._texts = (completions, completion_ids_list)
        return rewards

    # Why: trains on logged completions (`replay_completions`), on candidate answers that are not
    # sampled, and on rollouts under a constraint. Equal to: TRL's without these options.
    def _generate_single_turn(
        self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False
    ):
        given = (prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        if self._recorded is None or self._mode == "eval":
            usual = super()._generate_single_turn
            if self.options.credit.on and self._mode == "train":
                return self._sample_with_credit(usual, *given)
            return usual(*given)
        ids = []
        for place, row in enumerate(self._rows, start=self._place + self._offset()):
            found, tokens = self._recorded.get(
                (self.state.global_step, self._round, place), (None, None)
            )
            if found != row["id"]:
                raise RuntimeError(
                    f"{self.options.replay_completions} holds no completion of row {row['id']!r} "
                    f"at step {self.state.global_step}: are rows, order, batch and group size "
                    f"those of the recording?"
                )
            ids.append(tokens)
        return ids, None

    def _offset(self) -> int:
        """Where this process's rows begin among those of all processes."""
        return self.accelerator.process_index * len(self._rows)

    def came_before(self) -> str:
        """The rewards that the step's losses come from, and the rows they were given for."""
        return self._scored.summary(self.reward_func_names) if self._scored is not None else ""

    # Called by `_save_checkpoint`. Why: TRL's checkpoint has neither the completions that are still
    # to be trained on nor the position among them. Save the unfinished generation buffer, the
    # position and the sampling cursors.
    def _add_to_checkpoint(self, path: Path) -> None:
        if self._mid_generation():
            save_chunks(
                [batch["chunk"] for batch in self._buffered_inputs or []], self._buffer_file(path)
            )
            if self.sharing.image_cache:
                self.sharing.image_cache.save(self._features_file(path))
        if self.args.should_save:
            state = {"step": self._step, "cursors": self._replacements.cursors}
            (path / STATE).write_text(json.dumps(state))

    # Why: reads what `_add_to_checkpoint` writes. Equal to: the state of the run that was stopped.
    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path, device = Path(checkpoint), self.accelerator.device
        state = json.loads((path / STATE).read_text())
        self._step, self._replacements.cursors = state["step"], state["cursors"]
        if self._mid_generation():
            batches = load_chunks(self._buffer_file(path), device)
            self._buffered_inputs = [{"chunk": chunks} for chunks in batches]
            if self.sharing.image_cache:
                self.sharing.image_cache.load(self._features_file(path), device)

    def _mid_generation(self) -> bool:
        """Whether some of the last generation batch is still to be trained on."""
        steps = self._grpo_args.steps_per_generation or 1
        return self._step % (steps * self.num_iterations) != 0

    def _buffer_file(self, checkpoint: Path) -> Path:
        return checkpoint / f"generation_{self.accelerator.process_index}.safetensors"

    def _features_file(self, checkpoint: Path) -> Path:
        return checkpoint / f"image_features_{self.accelerator.process_index}.safetensors"

    def _log_completions(self, advantages: torch.Tensor) -> None:
        step, every = self.state.global_step, self.options.completions_every
        if self.options.completions_dir is None or not every or step % every:
            return
        of_all: list[float] = self.accelerator.gather(advantages).tolist()
        texts, ids = self._texts
        local = gather_object(
            [
                (transcript(row["prompt"]), text[0]["content"], tokens)
                for row, text, tokens in zip(self._rows, texts, ids, strict=True)
            ]
        )
        if not self.accelerator.is_main_process:
            return
        assert self._scored is not None
        self._completions.add(
            self._mode,
            step,
            completion_rows(
                self._scored,
                self.reward_func_names,
                local,
                of_all,
                {"step": step, "round": self._round},
                first=self._place,
            ),
        )
