"""The settings of a training run: ours here, all about optimisation in the library's own class.

That is TRL's ``GRPOConfig`` for GRPO and ``TrainingArguments`` for fine-tuning (:mod:`rl.sft`).
Both are read from one YAML file and the command line by :mod:`data_gen.files.settings`.
"""

import os
from contextlib import contextmanager
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from trl.trainer.grpo_config import GRPOConfig

from data_gen.files.errors import InputError
from data_gen.files.redaction import without_secrets
from data_gen.files.settings import read_settings

AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
"""What TRL can do with several rewards; the second is GDPO (arXiv 2601.05242)."""

DEFAULT_CONFIG = Path("configs/grpo/toybox_demo.yaml")


class StartupError(InputError):
    """A reason not to start, as one sentence for whoever typed the command."""


@contextmanager
def one_sentence():
    """What checks raise (RowError, RewardError, FileNotFoundError ...) becomes a StartupError."""
    try:
        yield
    except StartupError:
        raise
    except (ValueError, OSError) as error:
        raise StartupError(" ".join(str(error).split())) from error


@dataclass(kw_only=True)
class PolicySettings:
    """What every run on a row set is told, beside the optimisation.

    Args:
        name: the run; everything it writes goes to ``<output_root>/<name>/``.
        rows: row set to train on (a directory or parquet file of the row contract).
        policy: hub id, model directory or adapter directory.
    """

    name: str = field(metadata={"help": "The run: it writes to <output_root>/<name>/."})
    rows: str = field(metadata={"help": "Row set to train on."})
    policy: str = field(metadata={"help": "Hub id, model directory or adapter directory."})
    max_rows: int | None = field(default=None, metadata={"help": "Take only the first n rows."})
    output_root: str = field(default="runs", metadata={"help": "Directory of all runs."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})
    attn_implementation: str | None = field(
        default=None, metadata={"help": "sdpa, flash_attention_2, ...; default: transformers'."}
    )
    freeze_vision: bool = field(default=True, metadata={"help": "No gradient in the tower."})
    freeze_projector: bool = field(
        default=True, metadata={"help": "No gradient between tower and language model."}
    )
    lora_r: int = field(
        default=0,
        metadata={
            "help": "Rank of LoRA, which freezes everything else; 0 trains all that is not frozen."
        },
    )
    lora_alpha: int = field(default=128, metadata={"help": "LoRA's scale is alpha / r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "On the adapter's input."})
    load_in_4bit: bool = field(
        default=False,
        metadata={
            "help": "Frozen linear weights of 4 bits, under an adapter (QLoRA); needs a GPU and "
            "bitsandbytes."
        },
    )
    min_pixels: int | None = field(
        default=None, metadata={"help": "Smaller images are enlarged to this many pixels."}
    )
    max_pixels: int | None = field(
        default=None, metadata={"help": "Larger images are reduced to this many pixels."}
    )
    box_convention: str | None = field(
        default=None, metadata={"help": "pixels, thousand or unit; default: the family's."}
    )
    resume: str = field(default="auto", metadata={"help": "auto, none or a checkpoint's path."})
    eval_rows: str | None = field(
        default=None,
        metadata={
            "help": "Row set for the trainer's own evaluation; see eval_strategy and eval_steps."
        },
    )
    stop_after: int | None = field(
        default=None,
        metadata={
            "help": "Stop when metric_for_best_model has not become better for so many evaluations."
        },
    )

    @property
    def row_sets(self) -> dict[str, str]:
        """Setting -> path of each row set that is trained on."""
        return {"rows": self.rows}

    @property
    def output(self) -> Path:
        """Where the run writes."""
        return Path(self.output_root) / self.name

    @property
    def checkpoints(self) -> Path:
        """Where the run keeps its checkpoints."""
        return self.output / "checkpoints"


@dataclass(kw_only=True)
class RunSettings(PolicySettings):
    """A GRPO run."""

    rewards: list[str] = field(metadata={"help": "Reward functions, such as rewards:mention_f1."})
    reward_settings: dict[str, dict] | None = field(
        default=None, metadata={"help": "Function name -> its settings."}
    )
    task_mix: dict[str, float] | None = field(
        default=None,
        metadata={
            "help": "Task, or one side of it (identity_consistency/expected, .../not_expected) -> "
            "share of the prompts; default: as in the rows."
        },
    )
    pairs_together: bool = field(
        default=False,
        metadata={"help": "Rows with the same 'pair' (a column) come in one generation batch."},
    )
    dynamic_sampling: bool = field(
        default=False, metadata={"help": "Replace groups whose rewards do not vary by others."}
    )
    dynamic_sampling_limit: int = field(
        default=3, metadata={"help": "Rounds of replacement per generation batch."}
    )
    forced_silence: int = field(
        default=0,
        metadata={
            "help": "So many rollouts of a group where nobody is expected are sampled without "
            "names, and weighted so that the gradient's expectation stays exact."
        },
    )
    forced_silence_cap: float | None = field(
        default=None,
        metadata={
            "help": "Count a silent rollout as at most so many times likelier under the constraint "
            "than by the policy: 1 counts it fully, null exactly."
        },
    )
    silent_bonus: float = field(
        default=0.0,
        metadata={
            "help": "Add this times (1 - 2p) to the advantage of silent rollouts, where p is the "
            "naming reward of those of the group that name somebody."
        },
    )
    token_credit: bool = field(
        default=False,
        metadata={
            "help": "The naming rewards' advantage applies to the tokens of names, or where a "
            "silent caption could have begun one; other rewards' to all tokens."
        },
    )
    token_credit_from: float = field(
        default=0.05,
        metadata={"help": "From this probability on, a name could have begun at a token."},
    )
    naming_rewards: list[str] | None = field(
        default=None,
        metadata={
            "help": "Rewards that judge names, by function name, for silent_bonus and "
            "token_credit; default: the task's own, mention_f1."
        },
    )
    part_rewards: str | None = field(
        default=None,
        metadata={
            "help": "A function that judges parts of completions, as "
            "rewards.preference:preference_parts: their tokens get the credit for them, beside the "
            "rewards' (rl/credit/parts.py)."
        },
    )
    part_weight: float = field(
        default=1.0, metadata={"help": "Factor of the advantages of part_rewards."}
    )
    exact_answers: bool = field(
        default=False,
        metadata={
            "help": "Rows whose task has candidate answers (yes, no) are not sampled: their "
            "expected reward and its gradient are exact."
        },
    )
    exact_weight: float = field(
        default=1.0, metadata={"help": "Factor of the advantage of such rows."}
    )
    share_prompt: str = field(
        default="auto",
        metadata={"help": "auto, on or off: a group's prompt goes through the model once."},
    )
    share_vision: str = field(
        default="auto",
        metadata={
            "help": "auto, on or off: each distinct image goes through "
            "processor and frozen tower once."
        },
    )
    share_dropout: bool = field(
        default=True,
        metadata={
            "help": "Draw LoRA's dropout once for a group's prompt; off: prompts are then not "
            "shared under dropout."
        },
    )
    drop_finished: bool = field(
        default=True,
        metadata={
            "help": "Remove completions that have ended from the batch while "
            "others are sampled; needs share_prompt."
        },
    )
    fast_sampling: bool = field(
        default=True,
        metadata={
            "help": "On a CPU, draw each token with one random number instead of one per entry of "
            "the vocabulary; needs share_prompt."
        },
    )
    vllm_check: bool = field(
        default=True,
        metadata={
            "help": "With use_vllm: before the first step, compare vLLM's log-probabilities of a "
            "few completions, of text and of images, with the trainer's, and stop where rounding "
            "does not explain the difference."
        },
    )
    vllm_options: dict | None = field(
        default=None,
        metadata={
            "help": "More arguments of vLLM's LLM (vllm_mode colocate), such as "
            "{limit_mm_per_prompt: {image: 8}}."
        },
    )
    completions_every: int = field(
        default=1, metadata={"help": "Log completions of every n-th step; 0 logs none."}
    )
    tracker_every: int = field(
        default=50,
        metadata={
            "help": "Trackers (report_to) get completions with their images every so many steps; "
            "0: never."
        },
    )
    tracker_rows: int = field(
        default=16, metadata={"help": "Completions in each table that a tracker gets."}
    )
    plan: str | None = field(
        default=None,
        metadata={
            "help": "Print what the run needs in memory and time under this config of accelerate, "
            "and stop: zero2, zero2:64 for 64 GPUs, one for a single one."
        },
    )
    plan_speed: str | None = field(
        default=None,
        metadata={
            "help": "For --plan: tokens per second and GPU, or the run in which to measure them."
        },
    )
    replay_completions: str | None = field(
        default=None, metadata={"help": "Train on the logged completions of another run."}
    )


# Set from `name` and `resume`, so that a run has one place and one way to be resumed.
_OURS = {"output_dir": "name", "resume_from_checkpoint": "resume"}
_REFUSED = {key: f"is set from '{own}': give that instead" for key, own in _OURS.items()}
# Not part of what a run *is*: they may differ when it is resumed.
_MAY_DIFFER = {
    "resume",
    "plan",
    "plan_speed",
    "completions_every",
    "max_steps",
    "num_train_epochs",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "logging_steps",
    "report_to",
    "run_name",
    "project",
    "tracker_every",
    "tracker_rows",
    "eval_strategy",
    "eval_steps",
    "eval_rows",
    "stop_after",
    "output_root",
    "disable_tqdm",
    "share_prompt",
    "share_vision",
    "vllm_check",
    "vllm_options",
}


def parse(
    argv: list[str],
    ours: type = RunSettings,
    theirs: type = GRPOConfig,
    default: str | Path = DEFAULT_CONFIG,
    *,
    program: str = "grpo",
    doc: str | None = "",
) -> tuple:
    """Read settings from ``--config FILE`` (default: the demo's) and the command line.

    Args:
        argv: without the program's name.
        ours, theirs: the two dataclasses to read: a :class:`PolicySettings`, and a
            ``TrainingArguments`` for all about optimisation.
        default: the config where none is named.
        program, doc: for ``--help``.

    Returns:
        One of each.

    Raises:
        StartupError: an unknown key, a missing or unreadable file, or values that do not fit
            together (such as a group size that does not divide the batch).
    """
    if not torch.accelerator.is_available() and not any(
        arg.split("=")[0] == "--use_cpu" for arg in argv
    ):
        # Launchers of several processes do not pass accelerate's own `use_cpu` on.
        argv = [*argv, "--use_cpu", "true"]
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        _compile_nothing()
    with one_sentence():
        settings, args = read_settings(
            argv,
            ours,
            theirs,
            default_config=default,
            library=(theirs,),
            refuse=_REFUSED,
            program=program,
            doc=doc,
        )
    aggregation = getattr(args, "multi_objective_aggregation", AGGREGATIONS[0])
    if aggregation not in AGGREGATIONS:  # the library would notice after the first rollouts
        raise StartupError(
            f"multi_objective_aggregation is {aggregation!r}; it must be "
            f"{' or '.join(map(repr, AGGREGATIONS))}"
        )
    args.output_dir = str(settings.checkpoints)
    if args.report_to is None:
        args.report_to = []
    return settings, args


def _compile_nothing() -> None:
    """Keep DeepSpeed from compiling an operation when it starts on CPUs, which takes a minute and a
    C++ compiler: only its inference with tensor parallelism uses that one."""
    from deepspeed import ops

    ops.__dict__["__compatible_ops__"] = {}  # of the operations that this machine could compile


def resolved(settings: PolicySettings, args: TrainingArguments) -> dict:
    """Every setting of the run and every argument that is not the library's default; ``--config``
    reads it back. Keys and passwords are null."""
    skip = {
        "output_dir",
        "use_cpu",
        "generation_batch_size",
        "accelerator_config",
        "logging_dir",
        "deepspeed",
        "deepspeed_plugin",
        "distributed_state",
        "parallelism_config",
    }
    plain = (bool, int, float, str, list, dict, type(None))
    trl = {}
    for f in fields(args):
        value = getattr(args, f.name, None)
        value = getattr(value, "value", value)  # enums
        default = _default(f)
        if f.init and f.name not in skip and value != default and isinstance(value, plain):
            trl[f.name] = value
    return without_secrets({**asdict(settings), **trl})


def changed(old: dict, new: dict, ours: type[PolicySettings]) -> list[str]:
    """Settings that make ``new`` another run than ``old``, as ``key: old -> new``.

    Args:
        old, new: of :func:`resolved`. One that lacks a setting of ``ours``, because its run was
            begun before there was that setting, counts as if it had the default.
        ours: the class of the settings.
    """
    defaults = {f.name: _default(f) for f in fields(ours)}
    old, new = (without_secrets(defaults | config) for config in (old, new))
    return [
        f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted({*old, *new})
        if key not in _MAY_DIFFER and old.get(key) != new.get(key)
    ]


def _default(f: Field) -> Any:
    """Of a setting; ``None`` where it must be given. An enum's value stands for it."""
    default = f.default_factory() if f.default_factory is not MISSING else f.default
    return None if default is MISSING else getattr(default, "value", default)
