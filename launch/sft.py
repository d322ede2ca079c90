"""Supervised training: make the tiny base policy from nothing, or fine-tune a policy on targets.

    accelerate launch launch/sft.py --config configs/sft/toybox_base.yaml

Rows are drawn while training runs (row i depends on the seed and i alone), so nothing is stored,
nothing repeats, and a resumed run sees the rows it would have seen.
"""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments, set_seed
from trl import TrlParser
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from data_gen.toybox.curriculum import curriculum, curriculum_row
from data_gen.toybox.rows import ToyboxSettings
from rl.tiny_policy import TinyPolicy, build_model, build_processor, toybox_corpus, train_tokenizer
from rl.vision_attention import use_attention_by_length


@dataclass
class BaseArguments:
    """What to make and from which rows."""

    policy: str | None = field(
        default=None, metadata={"help": "Path or hub id to start from; null: from nothing."}
    )
    tiny: dict = field(default_factory=dict, metadata={"help": "Shape, as in rl.tiny_policy."})
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


class TargetTrainer(Trainer):
    """Cross-entropy of the assistant's tokens; the vocabulary is scored at those places only.

    An answer of n tokens weighs sqrt(n): in a mean over tokens a "yes" is drowned by the captions
    beside it, in a mean over answers what a list shows is drowned by guessing at "yes".
    """

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels = inputs.pop("labels")[:, 1:]
        # Padded on the right, where no token of a causal model looks: no mask is needed.
        inputs.pop("attention_mask")
        hidden = model(**inputs, logits_to_keep=1, output_hidden_states=True).hidden_states[-1]
        asked = labels != -100
        logits = self.model.lm_head(hidden[:, :-1][asked]).float()
        begins = asked & ~torch.nn.functional.pad(asked, (1, 0))[:, :-1]
        answer = begins.flatten().cumsum(0)[asked.flatten()] - 1
        weights = answer.bincount()[answer] ** -0.5
        losses = torch.nn.functional.cross_entropy(logits, labels[asked], reduction="none")
        loss = (weights * losses).sum() / weights.sum()
        return (loss, logits) if return_outputs else loss

    # Why: transformers 5.23 resumes by matching saved names to module names, which differ for the
    # Qwen2.5-VL family, not strictly: it would go on from fresh weights, with a mere warning.
    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        saved = type(self.model).from_pretrained(resume_from_checkpoint, dtype=torch.float32)
        self.model.load_state_dict(saved.state_dict())


def start_policy(args: BaseArguments):
    """The model and its processor, loaded or made."""
    if args.policy:
        from rl.policy import load_policy

        return load_policy(args.policy, dtype=torch.float32, freeze_vision=False,
                           freeze_projector=False)
    shape = TinyPolicy(**args.tiny)
    tokenizer = train_tokenizer(toybox_corpus(), shape.vocab_size)
    return build_model(tokenizer, shape), build_processor(tokenizer, shape)


def main() -> None:
    args, config = TrlParser((BaseArguments, TrainingArguments)).parse_args_and_config()
    set_seed(config.seed)
    model, processor = start_policy(args)
    if config.use_cpu:
        model.set_attn_implementation({"text_config": "eager"})  # faster there, backward included
    use_attention_by_length(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {args.n_rows:,} rows, "
          f"output in {config.output_dir}", flush=True)
    trainer = TargetTrainer(
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
        print(f"saved {out}")


if __name__ == "__main__":
    main()
