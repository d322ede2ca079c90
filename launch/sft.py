"""Fine-tune a policy on a row set: imitate captions and answers.

    byname sft --config configs/sft/rap_toybox.yaml --rows runs/rows/mine
    byname sft --accelerate configs/accelerate/zero2.yaml --config ... --policy Qwen/...

Takes the row sets that ``byname grpo`` takes and writes to runs/<name>/ as that does. The same
command resumes a run that was stopped, from its last complete checkpoint; see --resume. The tiny
base policy is made by ``byname tiny_model``.
"""

import sys

from peft import get_peft_model
from transformers import ProgressCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from rl.callbacks.plateau import StopAtPlateau
from rl.callbacks.preemption import Preemption
from rl.callbacks.trackers import name_trackers, place_tensorboard
from rl.policy.loading import LoraSettings, load_policy, trainable_parameters
from rl.policy.vision_attention import use_attention_by_length
from rl.run import quiet_libraries, train_and_save
from rl.run_directory import claimed
from rl.run_log import RunLog
from rl.settings import StartupError, one_sentence, parse, resolved
from rl.sft import (
    Decisive,
    SFTTrainer,
    SupervisedSettings,
    collate_with_ids,
    examples,
    plan,
    prepare,
)

DEFAULT = "configs/sft/rap_toybox.yaml"


def main(argv: list[str]) -> int:
    """Parse, check, print the plan, train, save. Returns the exit status."""
    quiet_libraries()
    try:
        settings, args = parse(
            argv, SupervisedSettings, TrainingArguments, DEFAULT, program="sft", doc=__doc__
        )
        with claimed(settings) as run:
            ready = prepare(settings, args)
            config = resolved(settings, args)
            trainer = build(settings, args, ready)
            run.begin(config, "sft", ready.checkpoint, ready.digests)
            if trainer.is_world_process_zero():
                trainable = trainable_parameters(trainer.model)
                print(plan(settings, args, ready, trainable), flush=True)
            return train_and_save(trainer, settings, ready.checkpoint)
    except StartupError as error:
        print(f"sft: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nsft: stopped before the first step", file=sys.stderr)
        return 130


@one_sentence()
def build(settings: SupervisedSettings, args: TrainingArguments, ready) -> SFTTrainer:
    """Load the weights and make the trainer."""
    name_trackers(settings, args)
    set_seed(args.seed)
    model, _ = load_policy(
        settings.policy,
        dtype=settings.dtype,
        freeze_vision=settings.freeze_vision,
        freeze_projector=settings.freeze_projector,
        trust_remote_code=settings.trust_remote_code,
        attn_implementation=settings.attn_implementation,
        load_in_4bit=settings.load_in_4bit,
    )
    use_attention_by_length(model)
    if settings.lora_r:
        lora = LoraSettings(settings.lora_r, settings.lora_alpha, settings.lora_dropout)
        model = get_peft_model(model, lora.config_for(model))
    args.remove_unused_columns = False  # the collator makes what the model reads
    callbacks = [RunLog(settings.output / "log.jsonl", show=not args.disable_tqdm), Preemption()]
    if settings.stop_after:
        callbacks.append(StopAtPlateau(args.metric_for_best_model or "loss", settings.stop_after))
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=examples(ready.rows),
        eval_dataset=examples(ready.eval_rows) if ready.eval_rows is not None else None,
        data_collator=collate_with_ids(
            DataCollatorForVisionLanguageModeling(ready.processor, completion_only_loss=True)
        ),
        processing_class=ready.processor,
        callbacks=callbacks,
    )
    if settings.decisive is not None:
        trainer.weigh = Decisive(
            ready.processor.tokenizer, settings.decisive, settings.decisive_weight
        )
    place_tensorboard(settings, trainer.callback_handler.callbacks)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    return trainer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
