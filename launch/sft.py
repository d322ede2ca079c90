"""Supervised training: make the tiny base policy from nothing, or fine-tune a policy on rows.

    accelerate launch launch/sft.py --config configs/sft/toybox_base.yaml
    accelerate launch launch/sft.py --config configs/sft/rap_toybox.yaml --rows runs/rows/mine

A config with ``stages`` makes the base: its rows are drawn while training runs (row i depends on
the seed and i alone), so nothing is stored, nothing repeats, and a resumed run sees the rows it
would have seen.

A config with ``rows`` fine-tunes a policy on a row set, the kind that launch/grpo.py takes, and
writes to runs/<name>/ as that does. Stopped, it goes on from its last complete checkpoint when the
same command is given again; see --resume.
"""

import json
import sys
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

import datasets
import torch
import yaml
from datasets import Dataset
from peft import get_peft_model
from transformers import ProgressCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging
from trl import TrlParser
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from data_gen.toybox.curriculum.stages import curriculum, curriculum_row
from data_gen.toybox.models.policy import (
    TinyPolicy,
    build_model,
    build_processor,
    toybox_corpus,
    train_tokenizer,
)
from data_gen.toybox.rows import ToyboxSettings
from rl.policy.loading import LoraSettings, load_policy, trainable_parameters
from rl.policy.vision_attention import use_attention_by_length
from rl.preflight import write_config
from rl.run import shutdown_distributed, train_and_save
from rl.run_log import RunLog
from rl.settings import StartupError, parse, resolved
from rl.sft import SupervisedSettings, SFTTrainer, examples, plan, prepare

ROW_CONFIG = Path(__file__).parents[1] / "configs" / "sft" / "rap_toybox.yaml"


@dataclass
class BaseArguments:
    """What to make and from which rows."""

    policy: str | None = field(
        default=None, metadata={"help": "Path or hub id to start from; null: from nothing."}
    )
    tiny: dict = field(default_factory=dict, metadata={"help": "Shape, as in data_gen.toybox.models.policy."})
    toybox: dict = field(default_factory=dict, metadata={"help": "ToyboxSettings of the rows."})
    stages: list[dict] = field(default_factory=list, metadata={"help": "Curriculum stages."})
    n_rows: int = field(default=500_000, metadata={"help": "Rows to train on; each is seen once."})
    rows_seed: int = field(default=17, metadata={"help": "Seed of the rows."})
    save_dtype: str = field(default="float16", metadata={"help": "Precision of the saved weights."})
    resume: str = field(default="auto", metadata={"help": "auto, none, or a checkpoint's path."})


def dataset(args: BaseArguments) -> Dataset:
    """Rows as conversations, drawn when they are asked for."""
    stages = curriculum(args.stages, args.n_rows, ToyboxSettings(**args.toybox))

    def draw(batch: dict) -> dict:
        rows = [curriculum_row(i, args.rows_seed, stages) for i in batch["index"]]
        return {key: [row[key] for row in rows] for key in ("messages", "images")}

    return Dataset.from_dict({"index": range(args.n_rows)}).with_transform(draw)


def start_policy(args: BaseArguments):
    """The model and its processor, loaded or made."""
    if args.policy:
        return load_policy(args.policy, dtype=torch.float32, freeze_vision=False,
                           freeze_projector=False)
    shape = TinyPolicy(**args.tiny)
    tokenizer = train_tokenizer(toybox_corpus(), shape.vocab_size)
    return build_model(tokenizer, shape), build_processor(tokenizer, shape)


def make_base() -> None:
    """The tiny base, from nothing or from an earlier one."""
    args, config = TrlParser((BaseArguments, TrainingArguments)).parse_args_and_config()
    set_seed(config.seed)
    model, processor = start_policy(args)
    if config.use_cpu:
        model.set_attn_implementation({"text_config": "eager"})  # faster there, backward included
    use_attention_by_length(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.n_rows:,} rows, "
          f"output in {config.output_dir}", flush=True)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset(args),
        data_collator=DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True),
        processing_class=processor,
    )
    checkpoints = sorted(Path(config.output_dir).glob("checkpoint-*/trainer_state.json"),
                         key=lambda p: int(p.parent.name.split("-")[1]))
    resume = {"none": None, "auto": str(checkpoints[-1].parent) if checkpoints else None}
    trainer.train(resume_from_checkpoint=resume.get(args.resume, args.resume))
    if trainer.is_world_process_zero():
        out = Path(config.output_dir) / "policy"
        trained = trainer.accelerator.unwrap_model(trainer.model)
        trained.set_attn_implementation("sdpa")
        trained.to(getattr(torch, args.save_dtype)).save_pretrained(out)
        processor.save_pretrained(out)
        (out / "recipe.json").write_text(json.dumps(
            {"arguments": asdict(args), "command": sys.argv, "log": trainer.state.log_history},
            indent=1, default=str))
        print(f"saved {out}", flush=True)
    shutdown_distributed()


def fine_tune(argv: list[str]) -> int:
    """A policy on a row set. Parse, check, print the plan, train, save. Returns the exit status."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    datasets.disable_progress_bars()
    logging.disable_progress_bar()
    try:
        settings, args = parse(argv, SupervisedSettings, TrainingArguments, ROW_CONFIG)
        ready = prepare(settings, args)
        config = resolved(settings, args)
        trainer = build(settings, args, ready)
    except StartupError as error:
        print(f"launch/sft.py: {error}", file=sys.stderr)
        return 2
    if trainer.is_world_process_zero():
        write_config(settings.output, config, "launch/sft.py")
        print(plan(settings, args, ready, trainable_parameters(trainer.model)), flush=True)
    return train_and_save(trainer, settings, ready.checkpoint)


def build(settings: SupervisedSettings, args: TrainingArguments, ready) -> SFTTrainer:
    """Load the weights and make the trainer."""
    set_seed(args.seed)
    model, _ = load_policy(
        settings.policy, dtype=settings.dtype, freeze_vision=settings.freeze_vision,
        freeze_projector=settings.freeze_projector, trust_remote_code=settings.trust_remote_code,
        attn_implementation=settings.attn_implementation,
    )
    use_attention_by_length(model)
    if settings.lora_r:
        lora = LoraSettings(settings.lora_r, settings.lora_alpha, settings.lora_dropout)
        model = get_peft_model(model, lora.config_for(model))
    args.remove_unused_columns = False  # the collator makes what the model reads
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=examples(ready.rows),
        data_collator=DataCollatorForVisionLanguageModeling(ready.processor,
                                                            completion_only_loss=True),
        processing_class=ready.processor,
        callbacks=[RunLog(settings.output / "log.jsonl", show=not args.disable_tqdm)],
    )
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer


def takes_rows(argv: list[str]) -> bool:
    """Whether a row set is to be trained on: ``rows`` is given, in the config or beside it."""
    if any(arg.split("=")[0] == "--rows" for arg in argv):
        return True
    file = next((a.split("=", 1)[-1] if "=" in a else (argv[i + 1 : i + 2] or [""])[0]
                 for i, a in enumerate(argv) if a.split("=")[0] == "--config"), "")
    try:
        config = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return True  # says kindly what is wrong with it
    return not isinstance(config, dict) or "stages" not in config


if __name__ == "__main__":
    if takes_rows(sys.argv[1:]):
        sys.exit(fine_tune(sys.argv[1:]))
    make_base()
