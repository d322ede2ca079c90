"""Post-train a policy with GRPO on a row set.

    byname grpo                                  # the demo recipe
    byname grpo --accelerate configs/accelerate/zero2.yaml \\
        --config configs/grpo/repic_qwen2_5_vl_7b.yaml --learning_rate 5e-6
    byname grpo --config configs/grpo/repic_qwen2_5_vl_7b.yaml --plan zero2:8    # will it fit?

Writes to runs/<name>/: config.resolved.yaml, log.jsonl, completions/*.parquet, checkpoints/, and
policy/ (a full model, or an unmerged adapter that records its base). The same command resumes a run
that was stopped, from its last complete checkpoint; see --resume.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # a run reports to nobody unless asked

from data_gen.files.settings import take_options
from rl.callbacks.plateau import StopAtPlateau
from rl.callbacks.preemption import Preemption
from rl.callbacks.trackers import CompletionTables, name_trackers, place_tensorboard
from rl.credit.credit import CreditOptions
from rl.planning.parallel import parallel_of
from rl.planning.report import plan_report, planned_config
from rl.policy.loading import LoraSettings, load_policy, trainable_parameters
from rl.policy.vision_attention import use_attention_by_length
from rl.preflight import plan, prepare
from rl.run import quiet_libraries, train_and_save
from rl.run_directory import claimed
from rl.run_log import RunLog
from rl.settings import RunSettings, StartupError, one_sentence, parse, resolved
from rl.trainer import PolicyTrainer, TrainerOptions


def main(argv: list[str]) -> int:
    """Parse, check, print the plan, train, save. Returns the exit status."""
    quiet_libraries()
    try:
        named, _ = take_options(argv, "plan")
        if words := [part for word in named for part in word.split("=", 1)][1:]:
            return print_plan(argv, words[0])
        settings, args = parse(argv, program="grpo", doc=__doc__)
        with claimed(settings) as run:
            config = resolved(settings, args)  # before anything fills in what is left open
            ready = prepare(settings, args)
            trainer = build(settings, args, ready)
            run.begin(config, "grpo", ready.checkpoint, ready.digests)
            if trainer.accelerator.is_main_process:
                print(plan(settings, args, ready, trainable_parameters(trainer.model)))
                print(trainer.sharing, flush=True)
            return train_and_save(trainer, settings, ready.checkpoint)
    except StartupError as error:
        print(f"grpo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ngrpo: stopped before the first step", file=sys.stderr)
        return 130


@one_sentence()
def print_plan(argv: list[str], named: str) -> int:
    """``--plan``: check everything that a run would check before weights load, and print what it
    would need under the config of accelerate that is named."""
    parallel = parallel_of(named)
    settings, args = parse(argv, theirs=planned_config(parallel.processes), program="grpo")
    settings.resume = "none"  # whatever lies there, the whole run is planned
    ready = prepare(settings, args)
    print(plan_report(settings, args, ready, parallel))
    return 0


@one_sentence()
def build(settings: RunSettings, args, ready) -> PolicyTrainer:
    """Load the weights and make the trainer."""
    name_trackers(settings, args)
    model, _ = load_policy(
        settings.policy,
        dtype=settings.dtype,
        freeze_vision=settings.freeze_vision,
        freeze_projector=settings.freeze_projector,
        trust_remote_code=args.trust_remote_code,
        attn_implementation=settings.attn_implementation,
        load_in_4bit=settings.load_in_4bit,
    )
    use_attention_by_length(model)
    lora = None
    if settings.lora_r:
        # TRL wraps the model, so that the reference policy is the base with its adapter off.
        lora = LoraSettings(settings.lora_r, settings.lora_alpha, settings.lora_dropout)
        lora = lora.config_for(model)
    options = TrainerOptions(
        dynamic_sampling=settings.dynamic_sampling,
        dynamic_sampling_limit=settings.dynamic_sampling_limit,
        task_mix=settings.task_mix,
        pairs_together=settings.pairs_together,
        credit=CreditOptions.of(settings),
        completions_dir=settings.output / "completions",
        completions_every=settings.completions_every,
        replay_completions=Path(settings.replay_completions)
        if settings.replay_completions
        else None,
        share_prompt=settings.share_prompt,
        share_vision=settings.share_vision,
        share_dropout=settings.share_dropout,
        drop_finished=settings.drop_finished,
        fast_sampling=settings.fast_sampling,
        vllm_check=settings.vllm_check,
        vllm_options=vllm_options(settings, ready),
    )
    callbacks = [RunLog(settings.output / "log.jsonl", show=not args.disable_tqdm), Preemption()]
    if settings.stop_after:
        callbacks.append(StopAtPlateau(args.metric_for_best_model, settings.stop_after))
    trainer = PolicyTrainer(
        model,
        ready.rewards,
        args,
        ready.rows,
        ready.processor,
        options=options,
        eval_dataset=ready.eval_rows,
        peft_config=lora,
        callbacks=callbacks,
    )
    running = trainer.callback_handler.callbacks
    place_tensorboard(settings, running)
    if args.report_to and settings.tracker_every:
        rows = {"train": ready.rows}
        if ready.eval_rows is not None:
            rows["eval"] = ready.eval_rows
        trainer.add_callback(
            CompletionTables(
                settings.output / "completions",
                rows,
                settings.tracker_every,
                settings.tracker_rows,
                running,
            )
        )
    return trainer


def vllm_options(settings: RunSettings, ready) -> dict:
    """Of the settings, and the sizes of images where the settings have any: vLLM reads the
    processor's from the policy's folder."""
    if settings.min_pixels is settings.max_pixels is None:
        return settings.vllm_options or {}
    size = dict(ready.processor.image_processor.size)
    return {"mm_processor_kwargs": {"size": size}, **(settings.vllm_options or {})}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
