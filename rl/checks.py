"""What settings ask for and this machine may not have, found before weights load: numbers out of
range, packages, dtype, attention, disk room; and which rows no reward judges."""

import asyncio
import inspect
import math
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from data_gen.files.settings import did_you_mean
from data_gen.rows.disk_space import megabytes
from rewards.loading import RewardError, checked, reward_name
from rl.policy.loading import (
    LoraSettings,
    freeze,
    is_adapter,
    torch_dtype,
    trainable_parameters,
)
from rl.sampler import plain_row
from rl.settings import PolicySettings, StartupError

RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0, math.inf),
    "weight_decay": (0, math.inf),
    "max_grad_norm": (0, math.inf),
    "num_train_epochs": (0, math.inf),
    "beta": (0, math.inf),
    "epsilon": (0, math.inf),
    "epsilon_high": (0, math.inf),
    "temperature": (0, math.inf),
    "repetition_penalty": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "top_entropy_quantile": (0, 1),
    "ref_model_mixup_alpha": (0, 1),
    "vllm_gpu_memory_utilization": (0, 1),
    "lora_dropout": (0, 1),
    "lora_alpha": (1, math.inf),
    "lora_r": (0, math.inf),
    "max_rows": (1, math.inf),
    "min_pixels": (1, math.inf),
    "max_pixels": (1, math.inf),
    "num_iterations": (1, math.inf),
    "max_completion_length": (1, math.inf),
    "gradient_accumulation_steps": (1, math.inf),
    "per_device_train_batch_size": (1, math.inf),
    "save_total_limit": (0, math.inf),
    "completions_every": (0, math.inf),
    "stop_after": (1, math.inf),
    "tracker_every": (0, math.inf),
    "tracker_rows": (1, math.inf),
}
"""Setting -> its smallest and its largest value."""

ABOVE_ZERO = ("temperature", "top_p", "repetition_penalty")
MAY_BE_INFINITE = ("max_grad_norm",)

TRACKERS = {
    "comet_ml": "comet_ml",
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "clearml": "clearml",
    "swanlab": "swanlab",
    "trackio": "trackio",
    "neptune": "neptune",
    "dvclive": "dvclive",
    "codecarbon": "codecarbon",
    "dagshub": "dagshub",
    "flyte": "flytekit",
}
"""``report_to`` -> the module that it needs."""

OPTIMIZERS = {
    "8bit": "bitsandbytes",
    "bnb": "bitsandbytes",
    "paged": "bitsandbytes",
    "galore": "galore_torch",
    "lomo": "lomo_optim",
    "grokadamw": "grokadamw",
    "schedule_free": "schedulefree",
    "apollo": "apollo_torch",
    "torch_4bit": "torchao",
    "torch_8bit": "torchao",
    "stable_adamw": "optimi",
}
"""Part of an ``optim``'s name -> the module that it needs."""

INSTALLED_AS = {
    "vllm": "'byname[vllm]'",
    "wandb": "'byname[trackers]'",
    "tensorboard": "'byname[trackers]'",
    "trackio": "'byname[trackers]'",
    "liger_kernel": "liger-kernel",
    "flash_attn": "flash-attn",
    "optimi": "torch-optimi",
}
"""Module -> what pip calls it, where that is another name."""

TRIED_ROWS = 12
"""Rows of each task on which rewards are tried: some rows of a task may be no reward's."""


def check_options(settings: PolicySettings, args: TrainingArguments) -> None:
    """Refuse numbers out of range, an unknown dtype or attention, and options whose package is not
    installed.

    Raises:
        StartupError: the first that is wrong, with its setting.
    """
    for name, (low, high) in RANGES.items():
        value = getattr(settings, name, getattr(args, name, None))
        if not isinstance(value, int | float):
            continue
        above = "above" if name in ABOVE_ZERO else "at least"
        endless = math.isinf(value) and name not in MAY_BE_INFINITE
        if not low <= value <= high or (name in ABOVE_ZERO and not value) or endless:
            most = f" and at most {high:g}" if high < math.inf else ""
            raise StartupError(f"{name} is {value:g}; it must be a number {above} {low:g}{most}")
    low, high = settings.min_pixels, settings.max_pixels
    if low is not None and high is not None and low > high:
        raise StartupError(f"min_pixels is {low}, more than max_pixels, which is {high}")
    torch_dtype(settings.dtype)
    if getattr(settings, "plan", None):
        return  # it is planned here and trained elsewhere
    _check_4bit(settings)
    _check_attention(settings.attn_implementation)
    for option, module in _needed(settings, args):
        if find_spec(module) is None:
            raise StartupError(
                f"{option} needs the package {module}, which is not installed: "
                f"pip install {INSTALLED_AS.get(module, module)}, or leave the option out"
            )


def _check_4bit(settings: PolicySettings) -> None:
    if not settings.load_in_4bit:
        return
    if not settings.lora_r and not is_adapter(settings.policy):
        raise StartupError(
            "load_in_4bit freezes the weights, and nothing else would be trained: set lora_r, such "
            "as 16, or leave load_in_4bit out"
        )
    if not torch.cuda.is_available():
        raise StartupError(
            "load_in_4bit needs a GPU, and there is none: leave it out, or give --plan one to see "
            "whether the run would fit on one"
        )


def _check_attention(name: str | None) -> None:
    # "owner/repository" is a kernel of the hub; "paged|sdpa" is sdpa.
    plain = (name or "eager").rpartition("|")[2]
    known = sorted({"eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()})
    if "/" not in plain and plain not in known:
        raise StartupError(
            f"attn_implementation is {name!r}; it must be one of "
            f"{', '.join(n for n in known if '|' not in n)}{did_you_mean(plain, known)}"
        )
    if plain.startswith("flash_attention") and not torch.cuda.is_available():
        raise StartupError(
            f"attn_implementation {name} needs a GPU, and there is none; leave it out, or give sdpa"
        )


def _needed(settings: PolicySettings, args: TrainingArguments) -> Iterator[tuple[str, str]]:
    """Options that need a package beyond the base, and its module."""
    if getattr(args, "use_vllm", False):
        yield "use_vllm", "vllm"
    if settings.load_in_4bit:
        yield "load_in_4bit", "bitsandbytes"
    if args.use_liger_kernel:
        yield "use_liger_kernel", "liger_kernel"
    trackers = [args.report_to] if isinstance(args.report_to, str) else args.report_to or []
    for tracker in trackers:
        if tracker not in (*INTEGRATION_TO_CALLBACK, "all", "none"):
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise StartupError(
                f"report_to is {tracker!r}; it must be one of {', '.join(known)}, all or none"
                f"{did_you_mean(tracker, known)}"
            )
        if tracker in TRACKERS:
            yield f"report_to {tracker}", TRACKERS[tracker]
    optim = str(getattr(args.optim, "value", args.optim))
    for part, module in OPTIMIZERS.items():
        if part in optim:
            yield f"optim {optim}", module
            break
    attention = (settings.attn_implementation or "").rpartition("|")[2]
    if attention == "flash_attention_2":
        yield f"attn_implementation {attention}", "flash_attn"
    elif attention == "flash_attention_3":
        yield f"attn_implementation {attention}", "flash_attn_interface"
    elif "/" in attention:
        yield f"attn_implementation {attention}", "kernels"


def check_best(
    settings: PolicySettings, args: TrainingArguments, rewards: Sequence[str], tasks: Sequence[str]
) -> None:
    """Refuse to look for a best checkpoint, or for a plateau, by a metric that no evaluation has.

    Args:
        rewards: names of the reward functions; none in supervised training.
        tasks: of the rows that are evaluated.

    Raises:
        StartupError: what is missing, or the nearest known metric.
    """
    strategy = getattr(args.save_strategy, "value", args.save_strategy)
    wanted = {
        "load_best_model_at_end": args.load_best_model_at_end,
        "stop_after": settings.stop_after,
        "save_strategy best": strategy == "best",
    }
    asked = next((option for option, given in wanted.items() if given), None)
    if asked is None:
        return
    if getattr(args.eval_strategy, "value", args.eval_strategy) == "no":
        raise StartupError(
            f"{asked} needs evaluations: give eval_rows, --eval_strategy steps and eval_steps"
        )
    metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
    if metric == "loss":
        if rewards:  # its expectation is 0 whatever the policy does
            raise StartupError(
                f"{asked} needs metric_for_best_model, and the loss of GRPO says nothing of the "
                f"policy: give reward, or tasks/<task>/reward"
            )
        return
    known = [f"rewards/{name}/{part}" for name in rewards for part in ("mean", "std")]
    if rewards:
        parts = ("reward", "reward_std", "zero_variance", "cut_off", "length")
        known += [f"tasks/{task}/{part}" for task in sorted({*tasks}) for part in parts]
    # Others are TRL's, or a reward's own.
    if metric not in known and metric.split("/")[0] in ("rewards", "tasks"):
        raise StartupError(
            f"metric_for_best_model is {metric!r}, and no evaluation has it; there are "
            f"{', '.join(known)}{did_you_mean(metric, known)}"
        )


def check_disk(
    settings: PolicySettings, args: TrainingArguments, config: Any, steps: int, has: int = 0
) -> None:
    """Refuse a run whose checkpoints and policy will not fit on the disk.

    Args:
        config: of the policy, from which its size is read; no weights are needed.
        steps: of the run.
        has: checkpoints that lie there already.

    Raises:
        StartupError: how much is needed, how much there is.
    """
    saved, optimizer = _saved_bytes(settings, config)
    if not saved:
        return
    strategy = getattr(args.save_strategy, "value", args.save_strategy)
    every = args.save_steps if args.save_steps >= 1 else args.save_steps * steps
    planned = {"no": 0, "steps": math.ceil(steps / max(1, every))}.get(strategy, 1)
    kept = planned
    if args.save_total_limit and planned > args.save_total_limit:
        # An old one goes only when the new one is whole, and the best one stays.
        kept = max(args.save_total_limit, 1 + bool(args.load_best_model_at_end)) + 1
    each = saved + (0 if args.save_only_model else optimizer)
    needed = max(0, kept - has) * each + saved
    folder = next(p for p in (settings.output, *settings.output.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StartupError(
            f"{max(0, kept - has)} checkpoints of {megabytes(each)} and the policy need "
            f"{megabytes(needed)}, and the disk of {folder} has {megabytes(free)} left: make room, "
            "lower save_total_limit, raise save_steps, or give another output_root"
        )


def _saved_bytes(settings: PolicySettings, config: Any) -> tuple[int, int]:
    """Bytes of the saved weights, and of their optimizer's two moments; (0, 0) where the model
    cannot be built without weights."""
    if is_adapter(settings.policy):
        adapter = sum(f.stat().st_size for f in Path(settings.policy).glob("adapter_model*"))
        return adapter, 2 * adapter
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config)
            freeze(model, vision=settings.freeze_vision, projector=settings.freeze_projector)
            counts = trainable_parameters(model)
    except Exception:  # code of others: this check is for the user's good, not for the model's
        return 0, 0
    name = torch_dtype(settings.dtype)
    size = 4 if isinstance(name, str) else name.itemsize
    trained, saved = counts.trainable, counts.total
    if settings.lora_r:
        leaves = LoraSettings(settings.lora_r).config_for(model).target_modules
        trained = saved = sum(
            settings.lora_r * (module.in_features + module.out_features)
            for path, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and _matches(leaves, path)
        )
    return saved * size, 2 * trained * size


def _matches(pattern: Any, path: str) -> bool:
    return bool(re.fullmatch(str(pattern), path))


@dataclass
class Judged:
    """What rewards judge, by a trial on a few rows of each task.

    Attributes:
        unjudged: task -> rows that no reward judges.
        idle: names of rewards that judge no task.
    """

    unjudged: dict[str, int] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)

    def lines(self, rows: int) -> dict[str, str]:
        """Lines for the plan, about what is amiss; ``rows`` is the number of all rows."""
        found = {}
        if self.unjudged:
            tasks = ", ".join(f"{task} ({n})" for task, n in sorted(self.unjudged.items()))
            found["unjudged"] = (
                f"{sum(self.unjudged.values()) / rows:.0%} of the rows, which teach nothing: no "
                f"reward judges {tasks}; add one that does, or leave them out with --task_mix"
            )
        if self.idle:
            found["idle"] = f"{', '.join(self.idle)} judges none of the rows"
        return found


def try_rewards(
    rewards: Sequence[Callable], rows: Dataset, tokenizer: Any, mix: dict[str, float] | None = None
) -> Judged:
    """Call every reward on a few rows of each task, with made-up completions.

    Args:
        rewards: as :func:`rewards.loading.load_rewards` returns them.
        rows: all rows of the run.
        tokenizer: of the policy, for ``completion_ids``.
        mix: the run's ``task_mix``; tasks without a share are not looked at.

    Raises:
        RewardError: a reward fails, or returns what is none.
        StartupError: no reward judges any of the rows.
    """
    counts = Counter(rows["task"])
    tasks = [
        task
        for task in counts
        if mix is None or any(key.split("/")[0] == task and mix[key] > 0 for key in mix)
    ]
    if not tasks:
        return Judged({}, [])  # the sampler names what is wrong with the mix
    places: dict[str, list[int]] = {task: [] for task in tasks}
    for i, task in enumerate(rows["task"]):
        if len(places.get(task, range(TRIED_ROWS))) < TRIED_ROWS:
            places[task].append(i)
    judges = {
        task: {reward_name(r) for r in rewards if _judges(r, rows, places[task], tokenizer)}
        for task in tasks
    }
    if tasks and not any(judges.values()):  # without any, the sampler says what is wrong
        names = ", ".join(map(reward_name, rewards))
        raise StartupError(
            f"nothing would be judged: {names} returned None for rows of every task "
            f"({', '.join(sorted(tasks))}); add a reward that judges one, or give other rows"
        )
    busy = set().union(*judges.values())
    return Judged(
        {task: counts[task] for task in tasks if not judges[task]},
        [name for name in map(reward_name, rewards) if name not in busy],
    )


def _judges(reward: Callable, rows: Dataset, places: list[int], tokenizer: Any) -> bool:
    """Whether a reward judges any of the rows at ``places``, whatever is said."""
    tried: list[tuple[dict, str]] = []
    for i in places:
        row = plain_row(rows[i])
        names = " and ".join(f"<{name}>" for name in row["names"])
        said = row["answer"] or f"This is {names}, on a red chair beside a lamp."
        tried += [(row, said), (row, "")] if i == places[0] else [(row, said)]
    columns: dict[str, Any] = {key: [row[key] for row, _ in tried] for key in tried[0][0]}
    columns.pop("prompt", None)
    columns |= {
        "prompts": [row["prompt"] for row, _ in tried],
        "completions": [[{"role": "assistant", "content": said}] for _, said in tried],
        "completion_ids": [
            [*tokenizer(said)["input_ids"], tokenizer.eos_token_id or 0] for _, said in tried
        ],
        "trainer_state": TrainerState(),
        "log_metric": lambda *_, **__: None,
        "log_extra": lambda *_, **__: None,
    }
    try:
        values = checked(reward)(**columns)
        if inspect.iscoroutine(values):
            values = asyncio.run(values)
    except RewardError:
        raise
    except Exception as error:
        raise RewardError(
            f"reward {reward_name(reward)!r} fails on row {tried[0][0]['id']!r} "
            f"({type(error).__name__}: {error})"
        ) from error
    return any(value is not None for value in values)
