"""Everything that can refuse a GRPO run before any weights load, and the plan it then prints.

:func:`open_run`, :func:`policy_parts`, :func:`steps_of` and :func:`plan_text` serve supervised runs
(:mod:`rl.sft`), too.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState
from datasets import Dataset
from transformers import AutoConfig, TrainingArguments
from trl.trainer.grpo_config import GRPOConfig

from data_gen.rows import read_rows
from data_gen.toybox.weights import local_weights
from rewards.loading import check_columns, checked, load_reward, load_rewards, reward_name
from rl.checks import Judged, check_best, check_disk, check_options, try_rewards
from rl.credit.credit import CreditOptions, check_credit
from rl.credit.exact_answers import ExactAnswers
from rl.dynamic_sampling import check_dynamic_sampling
from rl.policy.boxes import add_box_frame
from rl.policy.loading import Trainable, base_path, is_adapter, load_processor, why_missing
from rl.policy.prompt_length import ImageMeter, prompt_tokens
from rl.run_directory import resume_from, row_digests
from rl.sampler import GroupSampler, pairs_of, row_types
from rl.settings import (
    PolicySettings,
    RunSettings,
    StartupError,
    one_sentence,
)


@dataclass
class Ready:
    """A GRPO run whose settings and rows passed every check.

    Attributes:
        rows, eval_rows: with ``box_frame``, without rows whose prompt is too long.
        tokens: prompt tokens of each row.
        images: number of images of each row.
        skipped: number of rows whose prompt leaves no room for a completion in the context.
        context: the policy's context length in tokens.
        epoch: completions that an epoch trains on, repeated use included.
        rewards: functions in the order of the config.
        processor: the policy's.
        checkpoint: to resume from, or ``None``.
        digests: of the row sets, see :func:`rl.run_directory.row_digests`.
        judged: what the rewards judge, see :func:`rl.checks.try_rewards`.
    """

    rows: Dataset
    eval_rows: Dataset | None
    tokens: list[int]
    images: list[int]
    skipped: int
    context: int
    epoch: int
    rewards: list
    processor: object
    checkpoint: Path | None
    digests: dict[str, str]
    judged: Judged


@one_sentence()
def prepare(settings: RunSettings, args: GRPOConfig) -> Ready:
    """Check settings, rows, rewards, batch sizes, output directory and prompt lengths of a GRPO
    run; load everything that it needs but the weights.

    Raises:
        StartupError: one sentence about the first thing that is wrong.
    """
    check_dynamic_sampling(args, settings.dynamic_sampling)
    if settings.replay_completions and not Path(settings.replay_completions).exists():
        raise StartupError(f"there are no completions at {settings.replay_completions}")
    rows, eval_rows, checkpoint, digests = open_run(settings, args, settings.eval_rows)
    if args.eval_strategy != "no" and eval_rows is None:
        strategy = getattr(args.eval_strategy, "value", args.eval_strategy)
        raise StartupError(f"eval_strategy is '{strategy}', but no eval_rows given")

    # Before the processor: a mistake in a reward is found without reaching for the policy.
    unbound = load_rewards(settings.rewards, settings.reward_settings, weights=args.reward_weights)
    check_credit(
        args,
        CreditOptions.of(settings),
        [reward_name(reward) for reward in unbound],
        replays=settings.replay_completions is not None,
    )
    config, processor = policy_parts(settings, args.trust_remote_code)
    rows = add_box_frame(rows, processor, config.model_type, settings.box_convention)
    tokenizer = processor.tokenizer
    rewards = load_rewards(
        settings.rewards,
        settings.reward_settings,
        weights=args.reward_weights,
        uncounted_ids=tokenizer.all_special_ids,
    )
    judges = [load_reward(settings.part_rewards)] if settings.part_rewards else []
    check_columns([*rewards, *judges], rows.column_names)
    judged = try_rewards(rewards, rows, tokenizer, settings.task_mix)
    evaluated = [] if eval_rows is None else eval_rows["task"]
    check_best(settings, args, [reward_name(reward) for reward in rewards], evaluated)
    if settings.exact_answers:
        ExactAnswers(tokenizer, rows["task"], args.num_generations or 1)

    context = config.get_text_config().max_position_embeddings
    meter = ImageMeter(processor)
    tokens = prompt_tokens(rows, processor, meter)
    room = context - args.max_completion_length
    keep = [i for i, n in enumerate(tokens) if n <= room]
    if not keep:
        raise StartupError(
            f"every prompt of {settings.rows} is too long: the shortest has {min(tokens)} tokens, "
            f"and a context of {context} less max_completion_length "
            f"{args.max_completion_length} leaves {room}"
        )
    skipped, longest = len(tokens) - len(keep), max(tokens[i] for i in keep)
    rows = rows.select(keep)
    group = args.num_generations or 1
    prompts = (args.generation_batch_size or 1) // group
    if len(rows) < prompts:
        raise StartupError(
            f"{settings.rows} has {len(rows)} usable rows, fewer than the {prompts} "
            f"prompts of one generation batch"
        )
    sampler = GroupSampler(
        row_types(rows),
        prompts=prompts,
        group=group,
        repeat=args.num_iterations,
        mix=settings.task_mix,
        pairs=pairs_of(rows) if settings.pairs_together else None,
    )
    steps, _ = steps_of(len(sampler), args)
    if not settings.plan:
        check_disk(settings, args, config, steps, has=checkpoint is not None)
    if eval_rows is not None:
        eval_rows = add_box_frame(eval_rows, processor, config.model_type, settings.box_convention)
        lengths = prompt_tokens(eval_rows, processor, meter)
        fit = [i for i, n in enumerate(lengths) if n <= room]
        eval_rows = eval_rows.select(fit)
        longest = max([longest, *(lengths[i] for i in fit)])
    if args.use_vllm and args.vllm_max_model_length is None:
        # vLLM makes room for one sequence of the model's whole context, which may be 128,000.
        args.vllm_max_model_length = longest + (args.max_completion_length or 1)
    images = [
        sum(part["type"] == "image" for m in prompt for part in m["content"])
        for prompt in rows["prompt"]
    ]
    return Ready(
        rows,
        eval_rows,
        [tokens[i] for i in keep],
        images,
        skipped,
        context,
        len(sampler),
        [checked(reward) for reward in rewards],
        processor,
        checkpoint,
        digests,
        judged,
    )


def open_run(
    settings: PolicySettings, args: TrainingArguments, other_rows: str | None = None
) -> tuple[Dataset, Dataset | None, Path | None, dict[str, str]]:
    """Check options and whether there is a policy, find the checkpoint to resume from, read the
    rows.

    Args:
        other_rows: a second row set to read (for evaluation, or to mix in), or ``None``.

    Returns:
        The rows (the first ``max_rows`` of them), the other rows or ``None``, the checkpoint or
        ``None``, and the digests of the row sets (:func:`rl.run_directory.row_digests`).
    """
    check_options(settings, args)
    if reason := why_missing(settings.policy):
        raise StartupError(f"cannot open the policy '{settings.policy}': {reason}")
    checkpoint = resume_from(settings, args)
    digests = row_digests(settings, checkpoint)
    with PartialState().main_process_first():  # one process converts the parquet, others map it
        rows = read_rows(settings.rows)
        others = read_rows(other_rows) if other_rows else None
    if settings.max_rows:
        rows = rows.select(range(min(settings.max_rows, len(rows))))
    return rows, others, checkpoint, digests


def policy_parts(settings: PolicySettings, trust_remote_code: bool):
    """Configuration and processor of the policy, with the image sizes of the settings; no weights.

    Raises:
        StartupError: the policy cannot be opened, or ``lora_r`` is set for an adapter.
    """
    path = settings.policy
    if is_adapter(path) and settings.lora_r:
        raise StartupError(
            f"{path} already is an adapter: set lora_r to 0 to train it on, or name "
            f"its base model as the policy"
        )
    base = base_path(path) if is_adapter(path) else local_weights(path)
    try:
        processor = load_processor(path, trust_remote_code=trust_remote_code)
        config = AutoConfig.from_pretrained(base, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise StartupError(f"cannot open the policy '{path}': {first}") from None
    size = processor.image_processor.size
    for ours, theirs in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
        if (pixels := getattr(settings, ours)) is not None:
            size[theirs] = pixels
    return config, processor


def plan(settings: RunSettings, args: GRPOConfig, ready: Ready, trainable: Trainable) -> str:
    """The resolved plan of a GRPO run as text, printed before the first step."""
    tasks = ", ".join(f"{task} {n}" for task, n in sorted(Counter(ready.rows["task"]).items()))
    G = args.num_generations or 1
    steps, per_step = steps_of(ready.epoch, args)
    tokens, images = ready.tokens, ready.images
    weights = args.reward_weights or [1.0] * len(settings.rewards)
    return plan_text(
        settings,
        trainable,
        ready.checkpoint,
        {
            "rows": f"{len(ready.rows)} of {settings.rows}: {tasks}",
            "skipped": f"{ready.skipped} prompts are too long for the context of {ready.context} "
            f"tokens with room for {args.max_completion_length} more",
            "prompts": f"{_mean(tokens):.0f} tokens (longest {max(tokens)}), "
            f"{_mean(images):.1f} images (most {max(images)})",
            "rewards": ", ".join(
                f"{spec} x{weight:g}"
                for spec, weight in zip(settings.rewards, weights, strict=True)
            ),
            **(
                {"parts": f"{settings.part_rewards} x{settings.part_weight:g}"}
                if settings.part_rewards
                else {}
            ),
            **ready.judged.lines(len(ready.rows)),
            "steps": f"{steps} of {per_step / G:g} prompts x {G} completions, up to "
            f"{args.max_completion_length} tokens each, on {args.world_size} process(es)",
        },
    )


def steps_of(epoch: int, args: TrainingArguments) -> tuple[int, int]:
    """Optimizer steps of a run, and samples per step over all processes.

    Args:
        epoch: samples that an epoch trains on.
    """
    per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = args.max_steps
    if steps <= 0:
        steps = math.ceil(math.ceil(epoch / per_step) * args.num_train_epochs)
    return int(steps), per_step


def plan_text(
    settings: PolicySettings, trainable: Trainable, checkpoint: Path | None, lines: dict[str, str]
) -> str:
    """A plan as text: the policy, then ``lines``, then the output directory."""
    lines = {
        "policy": f"{settings.policy} ({settings.dtype})",
        "trainable": str(trainable),
        **lines,
        "output": f"{settings.output}/"
        + (f" (resuming from {checkpoint.name})" if checkpoint else ""),
    }
    return "\n".join(f"{key:>10}  {value}" for key, value in lines.items())


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
