"""Credit in groups: the options, the set-ups they refuse, and the trainer's part that applies them.

Every option is off by default; then nothing here is called.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.grpo_config import GRPOConfig

from data_gen.files.errors import InputError
from data_gen.rows.contract import TRUTH
from data_gen.tasks.table import TASKS
from rewards.loading import load_reward, required_columns
from rl.chunks import collate, split
from rl.credit.advantages import Rollouts, advantage_parts, by_token, silent_bonus
from rl.credit.exact_answers import ExactAnswers
from rl.credit.names import NameTokens, asks_for_names, is_silent, listed_names
from rl.credit.parts import by_part, judged, part_advantages
from rl.credit.silence import NameWatch, mixture_weights, watched
from rl.run_log import Scored
from rl.sharing.image_rows import take_rows
from rl.sharing.prefill import IMAGE_FIELDS

WEIGHTED_LOSSES = ("dapo", "dr_grpo", "cispo")
"""TRL's losses in which a row's weight scales its share of the loss; the others divide by it."""

_Trainer: Any = object  # for type checkers: what GRPOTrainer brings


@dataclass
class CreditOptions:
    """Who gets credit for what. All off by default.

    Args:
        forced_silence: f of the G rollouts are sampled without names where nobody is expected, and
            weighted as :mod:`rl.credit.silence` says; 0 forces none.
        forced_silence_cap: its ``cap``; ``None`` keeps the exact expectation.
        silent_bonus: factor of :func:`rl.credit.advantages.silent_bonus`; 0 adds nothing.
        token_credit: the advantage of the naming rewards applies to the tokens of the names
            written, tags' brackets included. In a completion that names nobody it applies where
            the policy could have begun a name: at tokens before which the probability of beginning
            one was at least ``token_credit_from``, or at the likeliest place where it never was.
            So what is credited is the decision in either case, and not the ~100 other words; all
            other rewards apply to all tokens.
        token_credit_from: that probability, in 0-1.
        naming_rewards: names of the reward functions that judge names; ``None``: those of the tasks
            whose truth is names.
        exact_answers: rows whose task has candidate answers are not sampled;
            :mod:`rl.credit.exact_answers`.
        exact_weight: factor of their advantage (not of their KL).
        part_rewards: address of a function that judges parts of completions;
            :mod:`rl.credit.parts`.
        part_weight: factor of the parts' advantages.
    """

    forced_silence: int = 0
    forced_silence_cap: float | None = None
    silent_bonus: float = 0.0
    token_credit: bool = False
    token_credit_from: float = 0.05
    naming_rewards: list[str] | None = None
    exact_answers: bool = False
    exact_weight: float = 1.0
    part_rewards: str | None = None
    part_weight: float = 1.0

    @classmethod
    def of(cls, settings) -> "CreditOptions":
        """From a run's settings, which have the same names."""
        return cls(**{each.name: getattr(settings, each.name) for each in fields(cls)})

    @property
    def on(self) -> bool:
        """Whether any option is."""
        return bool(
            self.forced_silence
            or self.silent_bonus
            or self.token_credit
            or self.exact_answers
            or self.part_rewards
        )

    @property
    def watches(self) -> bool:
        """Whether the probability of names is recorded while completions are sampled."""
        return bool(self.forced_silence or self.token_credit)


def check_credit(
    args: GRPOConfig, options: CreditOptions, rewards: Sequence[str], *, replays: bool = False
) -> None:
    """Refuse set-ups in which an option cannot do what it says.

    Args:
        rewards: names of the reward functions.
        replays: whether logged completions are replayed.

    Raises:
        InputError: one sentence about the first thing that is wrong.
    """
    group = args.num_generations or 1
    if not 0 <= options.forced_silence <= max(group - 2, 0):
        raise InputError(
            f"forced_silence must be from 0 to num_generations - 2, which is {group - 2}, not "
            f"{options.forced_silence}: the free rollouts are each other's baseline"
        )
    cap = options.forced_silence_cap
    if cap is not None and not cap > 0:
        raise InputError(f"forced_silence_cap must be above 0 or null, not {cap}")
    if not 0 <= options.token_credit_from <= 1:
        raise InputError(f"token_credit_from must be from 0 to 1, not {options.token_credit_from}")
    if (options.silent_bonus or options.token_credit) and not naming_places(options, rewards):
        raise InputError(
            f"naming_rewards must name some of the run's rewards ({', '.join(rewards)}): none of "
            f"{', '.join(naming_rewards(options))} is among them"
        )
    if not math.isfinite(options.part_weight):
        raise InputError(f"part_weight must be a number, not {options.part_weight}")
    if options.part_rewards and (options.forced_silence or options.exact_answers):
        switch = "forced_silence" if options.forced_silence else "exact_answers"
        raise InputError(
            f"part_rewards compares parts of sampled completions, of which {switch} leaves too "
            f"few; unset one of them"
        )
    if options.watches:
        switch = "forced_silence" if options.forced_silence else "token_credit"
        if args.use_vllm or getattr(args, "use_transformers_continuous_batching", False):
            raise InputError(
                f"{switch} needs transformers' generate, which is where the probability of names "
                f"is read; set use_vllm and use_transformers_continuous_batching to false"
            )
        if replays:
            raise InputError(
                f"{switch} cannot be replayed: logged completions do not hold the probability of "
                f"names; unset replay_completions"
            )
    if options.forced_silence:
        plain = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
        for name, value in plain.items():
            kwargs = args.generation_kwargs if isinstance(args.generation_kwargs, dict) else {}
            given = kwargs.get(name, getattr(args, name))
            if given not in (value, None):
                raise InputError(
                    f"forced_silence needs completions sampled from the policy itself: {name} must "
                    f"be {'null' if value is None else value}, not {given}"
                )
    if options.forced_silence or options.exact_answers:
        switch = "forced_silence" if options.forced_silence else "exact_answers"
        if args.loss_type not in WEIGHTED_LOSSES or args.importance_sampling_level != "token":
            raise InputError(
                f"{switch} weights completions: it needs loss_type {' or '.join(WEIGHTED_LOSSES)} "
                f"and importance_sampling_level token, not {args.loss_type} and "
                f"{args.importance_sampling_level}"
            )
        if args.scale_rewards == "batch":
            raise InputError(
                f"{switch} needs scale_rewards 'group' or 'none', because its groups have "
                f"standard deviations of their own"
            )


def naming_rewards(options: CreditOptions) -> list[str]:
    """Names of the reward functions that judge names."""
    if options.naming_rewards is not None:
        return options.naming_rewards
    of_names = (task for task in TASKS.values() if task.truth and task.truth.column == "names")
    return [task.reward.rpartition(":")[2] for task in of_names if task.reward]


def naming_places(options: CreditOptions, rewards: Sequence[str]) -> list[int]:
    """Which of the run's reward functions judge names."""
    return [i for i, name in enumerate(rewards) if name in naming_rewards(options)]


class CreditMixin(_Trainer):
    """The part of :class:`rl.trainer.PolicyTrainer` that assigns credit."""

    _credit: CreditOptions
    _rows: list[dict]
    _texts: tuple[list, list]
    _scored: Scored | None

    def _begin_credit(self, options: CreditOptions, tasks: Sequence[str]) -> None:
        """Set up what the options need, once, after TRL's own set-up.

        Raises:
            InputError: as :func:`check_credit` and :class:`ExactAnswers`.
        """
        self._credit = options
        self._names = NameTokens(self._tokenizer)
        self._exact: ExactAnswers | None = None
        if options.exact_answers:
            self._exact = ExactAnswers(self._tokenizer, tasks, self._group)
        self._judge_parts: Callable | None = None
        if options.part_rewards:
            self._judge_parts = load_reward(options.part_rewards)
            self._part_columns = required_columns(self._judge_parts)
        self._log_silent = torch.zeros(0, 0)  # (B, C) of the last generation
        if options.watches and not self._names.tags:
            raise InputError("no token of this tokenizer holds '<', so no tag can be told from it")

    def _slot(self, row: int) -> int:
        """The place (0 ... G - 1) of one of this process's rows in its group."""
        return (self.accelerator.process_index * len(self._rows) + row) % self._group

    def _nobody(self, row: int) -> bool:
        """Whether the row's task asks for names, and none is expected."""
        return asks_for_names(self._rows[row]) and not self._rows[row]["names"]

    def _is_forced(self, row: int) -> bool:
        free = self._group - self._credit.forced_silence
        return self._nobody(row) and self._slot(row) >= free

    def _sample_with_credit(
        self, usual: Callable, prompt_ids: list, images, fields: dict, *others
    ) -> tuple[list, list | None]:
        """Completions of this process's rows: candidate answers where there are any, and samples
        through a :class:`NameWatch` where an option needs it.

        Args:
            usual: TRL's ``_generate_single_turn``, whose arguments the others are.
        """
        rows, exact = self._rows, self._exact
        sampled = [i for i, row in enumerate(rows) if exact is None or row not in exact]
        # Where ranks must call `generate` together, or where fields cannot be divided among rows,
        # everything is sampled, and candidate answers then take the place of samples.
        if self.use_vllm or self.sharing.in_step or not set(fields) <= set(IMAGE_FIELDS):
            sampled = list(range(len(rows)))
        found: list[list[int]] = [[] for _ in rows]
        self._log_silent = torch.zeros(len(rows), 0)
        logps: list | None = None
        if sampled:
            prompts = [prompt_ids[i] for i in sampled]
            shown = images and [images[i] for i in sampled]
            if len(sampled) < len(rows):
                fields = _fields_of(fields, sampled, [len(row["images"]) for row in rows])
            if self._credit.watches:
                watch = NameWatch(
                    [
                        self._names.openers(rows[i]) if asks_for_names(rows[i]) else frozenset()
                        for i in sampled
                    ],
                    [self._is_forced(i) for i in sampled],
                    self.temperature,
                )
                with watched(self.accelerator.unwrap_model(self.model), watch):
                    ids, logps = usual(prompts, shown, fields, *others)
                recorded = watch.log_silent(max(map(len, ids)))
                self._log_silent = recorded.new_zeros(len(rows), recorded.size(1))
                self._log_silent[sampled] = recorded
            else:
                ids, logps = usual(prompts, shown, fields, *others)
            for i, tokens in zip(sampled, ids, strict=True):
                found[i] = tokens
        if exact is not None:
            for i, row in enumerate(rows):
                if row in exact:
                    found[i] = exact.completion(row, self._slot(i))
                    if logps is not None:  # TRL takes what has no number for equal to the policy's
                        logps[i] = [None] * len(found[i])
        return found, logps

    def _assign_credit(self, output: dict) -> torch.Tensor:
        """Replace the advantages of a scored batch, and weight its rows.

        Args:
            output: what TRL's ``_generate_and_score_completions`` returned; ``advantages`` becomes
                (B,), or (B, C) with token credit. Where rows are weighted, the weight is in
                ``tool_mask``, which is the loss's mask, and ``other_mass`` is what lists of
                candidates leave to other answers, in rows.

        Returns:
            (B,) advantages of whole completions, for the log.
        """
        assert self._scored is not None
        options, rows, exact, device = (
            self._credit,
            self._rows,
            self._exact,
            output["completion_ids"].device,
        )
        texts, ids = self._texts
        B = len(rows)
        listed = [exact is not None and row in exact for row in rows]
        asks = [asks_for_names(row) for row in rows]
        silent = [
            asks[i] and is_silent(texts[i][0]["content"], listed_names(rows[i])) for i in range(B)
        ]
        weight = torch.ones(B, device=device)
        if options.forced_silence:
            mixed = torch.tensor([self._nobody(i) for i in range(B)], device=device)
            weight = torch.where(mixed, self._mixture_weights(output), weight)
        if exact is not None:
            counts = [listed[i] and exact.counts(rows[i], self._slot(i)) for i in range(B)]
            p = self._answer_probabilities(output, listed)
            p = p * torch.tensor(counts, device=device)
            weight = torch.where(torch.tensor(listed, device=device), self._group * p, weight)
        flags = {
            "forced": [self._is_forced(i) for i in range(B)],
            "listed": listed,
            "silent": silent,
            "asks": asks,
            "nobody": [self._nobody(i) for i in range(B)],
            "right": [
                exact is not None and listed[i] and exact.is_right(rows[i], self._slot(i))
                for i in range(B)
            ],
        }
        table = torch.tensor(list(flags.values()), device=device, dtype=torch.float32).T
        table = self.accelerator.gather(torch.cat([weight[:, None], table], dim=1).contiguous())
        weight = table[:, 0]  # from here on those of all processes, (N,)
        forced, is_listed, is_silent_, asked, nobody, right = (table[:, 1:] > 0).unbind(1)

        rewards = torch.tensor(self._scored.rewards, device=device)
        rollouts = Rollouts(rewards, self._group, weight, forced, is_listed)
        scales = self.reward_weights.to(device)
        parts = advantage_parts(
            rollouts, scales, self.scale_rewards, self.multi_objective_aggregation
        )
        parts = torch.where(is_listed[:, None], parts * options.exact_weight, parts)
        of_names = naming_places(options, self.reward_func_names)
        naming = parts[:, of_names].sum(1)
        whole = parts.sum(1) - naming
        if options.silent_bonus:
            score = (rewards[:, of_names] * scales[of_names]).nansum(1) / scales[of_names].sum()
            naming = naming + silent_bonus(
                score, is_silent_, asked, self._group, options.silent_bonus
            )
        here = slice(self.accelerator.process_index * B, (self.accelerator.process_index + 1) * B)
        advantages = (whole + naming)[here]
        output["advantages"] = advantages
        if options.token_credit:
            places = self._naming_tokens(output, ids, asks, silent)
            output["advantages"] = by_token(whole[here], naming[here], places)
        if self._judge_parts is not None:
            credit = self._credit_parts(self._judge_parts, output).to(device)
            per_token = output["advantages"]
            per_token = per_token[:, None] if per_token.dim() == 1 else per_token
            output["advantages"] = per_token + options.part_weight * credit
        if options.forced_silence or exact is not None:
            self._weight_rows(output, weight, is_listed, here, ids)
            self._scored.weights = weight.tolist()
        self._log_credit(rewards, weight, forced, is_listed, is_silent_, nobody, right)
        return advantages

    def _credit_parts(self, function: Callable, output: dict) -> torch.Tensor:
        """(B, C) what tokens are credited with for the parts that they write; logs the means."""
        decoded = [self._names.text_and_ends(ids) for ids in self._texts[1]]
        texts, ends = [text for text, _ in decoded], [stops for _, stops in decoded]
        parts = judged(function, self._rows, self._part_columns, texts)
        local = [{name: reward for name, *_, reward in each} for each in parts]
        everywhere = gather_object(local)
        first = self.accelerator.process_index * len(local)
        advantages = part_advantages(everywhere, self._group)[first : first + len(local)]
        rewards: dict[str, list[float]] = defaultdict(list)
        for each in everywhere:
            for name, reward in each.items():
                rewards[name.partition("/")[0]].append(reward)
        for name, given in rewards.items():
            self._metrics[self._mode][f"parts/{name}"].append(sum(given) / len(given))
        return by_part(parts, advantages, ends, output["completion_ids"].size(1))

    def _mixture_weights(self, output: dict) -> torch.Tensor:
        """(B,) weights of rollouts of groups with forced ones; of no use elsewhere."""
        ids, mask = output["completion_ids"], output["completion_mask"].bool()
        log_silent = torch.zeros(mask.shape, device=mask.device)
        width = min(self._log_silent.size(1), mask.size(1))
        log_silent[:, :width] = self._log_silent[:, :width].to(mask.device)
        opened = [
            bool(set(tokens[kept].tolist()) & self._names.openers(row))
            for tokens, kept, row in zip(ids, mask, self._rows, strict=True)
        ]
        return mixture_weights(
            torch.where(mask, log_silent, 0.0).sum(1),
            torch.tensor(opened, device=mask.device),
            self._credit.forced_silence,
            self._group,
            self._credit.forced_silence_cap,
        )

    def _answer_probabilities(self, output: dict, listed: list[bool]) -> torch.Tensor:
        """(B,) probability of each candidate answer, its end token left out; 0 in other rows."""
        chosen = [i for i, flag in enumerate(listed) if flag]
        if self.sharing.in_step or "old_per_token_logps" in output:
            batch, taken = output, list(range(len(listed)))
        else:
            rows = split(output, 1)
            pad, trim = self._tokenizer.pad_token_id, self.pad_to_multiple_of is None
            batch = collate([rows[i] for i in chosen], pad, trim=trim) if chosen else {}
            taken = chosen
        found = output["completion_ids"].new_zeros(len(listed), dtype=torch.float32)
        if not batch:
            return found
        logps = batch.get("old_per_token_logps")
        if logps is None:
            checkpointing = self.args.gradient_checkpointing_kwargs
            with torch.no_grad(), disable_gradient_checkpointing(self.model, checkpointing):
                logps, _, _ = self._get_per_token_logps_and_entropies(
                    self.model,
                    torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                    torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                    batch["completion_ids"].size(1),
                    batch_size=self.args.per_device_train_batch_size,
                    **{key: batch[key] for key in _FORWARD if key in batch},
                )
        for n, i in enumerate(taken):
            if listed[i]:
                found[i] = logps[n, : len(self._texts[1][i]) - 1].float().sum().exp()
        return found

    def _naming_tokens(
        self, output: dict, ids: list, asks: list[bool], silent: list[bool]
    ) -> torch.Tensor:
        """(B, C) tokens credited with a completion's naming; see :class:`CreditOptions`."""
        places = torch.zeros(output["completion_ids"].shape, dtype=torch.bool)
        open_name = 1 - self._log_silent.exp().cpu()
        for i, tokens in enumerate(ids):
            end = len(tokens)
            if not asks[i] or not end:
                places[i] = True
            elif silent[i]:
                likely = open_name[i, :end]
                places[i, : len(likely)] = likely >= min(
                    self._credit.token_credit_from, likely.max().item()
                )
            else:
                flags = torch.tensor(self._names.of_names(tokens, listed_names(self._rows[i])))
                places[i, :end] = flags if flags.any() else True
        return places.to(output["completion_ids"].device)

    def _weight_rows(
        self, output: dict, weight: torch.Tensor, listed: torch.Tensor, here: slice, ids: list
    ) -> None:
        """Put the rows' weights into the loss's mask, and count its tokens anew.

        Args:
            weight, listed: (N,), of all processes.
            here: this process's rows.
            ids: their completions.
        """
        mask = output["completion_mask"] * output.get("tool_mask", 1) * weight[here, None]
        rest = (self._group - weight.view(-1, self._group).sum(1)) / self._group
        rest = rest.clamp(min=0).repeat_interleave(self._group) * listed
        for i, (tokens, flag) in enumerate(zip(ids, listed[here].tolist(), strict=True)):
            if flag:
                mask[i, len(tokens) - 1 :] = 0
        output["tool_mask"], output["other_mass"] = mask, rest[here]
        items = mask.sum() + rest[here].sum()
        output["num_items_in_batch"] = self.accelerator.gather(items).sum()

    def _log_credit(self, rewards, weight, forced, listed, silent, nobody, right) -> None:
        """Metrics, from (N,) tensors of all processes and (N, F) rewards."""
        assert self._scored is not None
        metrics = self._metrics[self._mode]

        def log(key: str, values: torch.Tensor) -> None:
            if values.numel():
                metrics[key].append(values.float().mean().item())

        if self._credit.forced_silence:
            log("forced_silence/weight", weight[forced])
            log("forced_silence/silent", silent[forced])
        log("silent/nobody_expected", silent[nobody & ~forced])
        asked = [
            (truth := TRUTH.get(task)) is not None and truth.column == "names"
            for task in self._scored.tasks
        ]
        log("silent/expected", silent[torch.tensor(asked, device=silent.device) & ~nobody])
        p = (weight / self._group * right).view(-1, self._group).sum(1)
        of_group = self._scored.tasks[:: self._group]
        for task in sorted({task for task, flag in zip(of_group, p, strict=True) if flag > 0}):
            same = torch.tensor([name == task for name in of_group], device=p.device)
            log(f"tasks/{task}/p_right", p[same])
        if self._credit.forced_silence or self._exact is not None:
            # TRL's means count every completion once.
            known = ~rewards.isnan()
            scales = self.reward_weights.to(rewards.device)
            total = ((rewards * scales).nansum(1) * weight)[known.any(1)]
            metrics["reward"][-1] = total.mean().item()
            for i, name in enumerate(self.reward_func_names):
                given = (rewards[:, i] * weight)[known[:, i]]
                metrics[f"rewards/{name}/mean"][-1] = given.mean().item()


_FORWARD = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""What a model's forward pass may need of a batch beside its tokens, as TRL names it."""


def _fields_of(fields: dict, rows: list[int], counts: list[int]) -> dict:
    """The multimodal fields of some rows: lists have an item per row, tensors those of all rows."""
    lists = {key: [value[i] for i in rows] for key, value in fields.items() if _is_list(value)}
    tensors = {key: value for key, value in fields.items() if not _is_list(value)}
    return {**lists, **(take_rows(tensors, rows, counts) if tensors else {})}


def _is_list(value) -> bool:
    return isinstance(value, list)
