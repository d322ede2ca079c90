"""``byname grpo ... --plan zero2:8``: what the run would need, printed; nothing is loaded."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig
from trl.trainer.grpo_config import GRPOConfig

from data_gen.files.errors import InputError
from data_gen.files.files import kept_lines
from data_gen.toybox.weights import local_weights
from rl.planning.memory import Memory, Needs, Workload, memory_of, needs_of
from rl.planning.parallel import Parallel
from rl.policy.loading import LoraSettings, base_path, is_adapter, torch_dtype
from rl.preflight import Ready, steps_of
from rl.settings import RunSettings


def planned_config(processes: int) -> type[GRPOConfig]:
    """TRL's settings as they are in a run of so many processes."""
    return type("PlannedConfig", (GRPOConfig,), {"world_size": property(lambda self: processes)})


def plan_report(settings: RunSettings, args: GRPOConfig, ready: Ready, parallel: Parallel) -> str:
    """Memory per GPU, steps, tokens, images and hours of a GRPO run, as text."""
    path = settings.policy
    config = AutoConfig.from_pretrained(
        base_path(path) if is_adapter(path) else local_weights(path),
        trust_remote_code=args.trust_remote_code,
    )
    work = workload(settings, args, ready)
    needs = needs_of(
        config,
        work,
        dtype=weights_dtype(settings, config),
        lora=lora_of(settings),
        checkpointing=args.gradient_checkpointing,
        freeze_vision=settings.freeze_vision,
        freeze_projector=settings.freeze_projector,
        quantized=settings.load_in_4bit,
    )
    lines = {"plan": f"predicted, not measured: {parallel.name}, {parallel.processes} GPU(s)"}
    lines |= memory_lines(needs, memory_of(needs, parallel))
    lines |= time_lines(settings, args, ready, work, parallel)
    if args.use_vllm:
        lines["vllm"] = vllm_line(args)
    return "\n".join(f"{key:>12}  {value}" for key, value in lines.items())


def workload(settings: RunSettings, args: GRPOConfig, ready: Ready) -> Workload:
    """What one process does in a step of this run, at its longest prompt."""
    return Workload(
        prompt=max(ready.tokens),
        completion=args.max_completion_length or 1,
        group=args.num_generations or 1,
        rows=args.per_device_train_batch_size,
        sampled=(args.generation_batch_size or 1) // args.world_size,
        reference=args.beta != 0,
        shared=settings.share_prompt != "off",
    )


def lora_of(settings: RunSettings) -> LoraSettings | None:
    """The adapters that the run trains."""
    if not settings.lora_r:
        return None
    return LoraSettings(settings.lora_r, settings.lora_alpha, settings.lora_dropout)


def weights_dtype(settings: RunSettings, config: Any) -> Any:
    """The dtype of the weights; ``auto`` is the config's own."""
    dtype = torch_dtype(settings.dtype)
    return getattr(config, "dtype", None) or torch_dtype("float32") if dtype == "auto" else dtype


def memory_lines(needs: Needs, found: Memory) -> dict[str, str]:
    """A line per part."""
    lines = {"parameters": str(needs.counts)}
    lines |= {name: gigabytes(size) for name, size in found.parts.items()}
    lines["loss"] = f"{gigabytes(found.loss)} of activations, forward and backward"
    lines["sampling"] = f"{gigabytes(found.sampling)} of keys and values, before the loss"
    lines["per GPU"] = f"{gigabytes(found.peak)}, and about 1 GB of the framework's own"
    return lines


def time_lines(
    settings: RunSettings, args: GRPOConfig, ready: Ready, work: Workload, parallel: Parallel
) -> dict[str, str]:
    """Steps, tokens and images of the run; hours, where a speed is given."""
    steps, per_step = steps_of(ready.epoch, args)
    prompts = per_step / work.group
    mean = sum(ready.tokens) / len(ready.tokens)
    images = sum(ready.images) / len(ready.images)
    sampled = steps * per_step * work.completion
    lines = {
        "steps": f"{steps} of {prompts:g} prompts x {work.group} completions",
        "tokens": f"{steps * prompts * mean:,.0f} of prompts, up to {sampled:,} of completions",
        "images": f"{steps * prompts * images:,.0f}",
    }
    if settings.plan_speed is None:
        lines["hours"] = "give --plan_speed: tokens per second and GPU, or a run that was measured"
    else:
        speed = speed_of(settings.plan_speed)
        hours = (steps * per_step * mean + sampled) / speed / parallel.processes / 3600
        lines["hours"] = f"{hours:.1f} at {speed:,.0f} tokens per second and GPU"
    return lines


def speed_of(given: str) -> float:
    """Tokens, of prompts and completions, per second and process: a number, or measured from the
    log of a run, whose ``num_tokens`` counts those of all processes.

    Raises:
        InputError: it is neither.
    """
    try:
        speed = float(given)
    except ValueError:
        speed = _measured(Path(given))
    if not 0 < speed < float("inf"):
        raise InputError(f"plan_speed is {given}; it must be above 0 tokens per second")
    return speed


def _measured(run: Path) -> float:
    lines = [line for line in kept_lines(run / "log.jsonl") if line.get("num_tokens")]
    if len(lines) < 2:
        raise InputError(
            f"plan_speed {run}: that is no number, and no run with two logged steps; give tokens "
            f"per second and GPU, or a run's directory"
        )
    first, last = lines[0], lines[-1]
    seconds = last["seconds"] - first["seconds"]
    if seconds <= 0:  # a run that was resumed counts its seconds anew
        raise InputError(f"plan_speed {run}: its log was resumed; give a number instead")
    return (last["num_tokens"] - first["num_tokens"]) / seconds / _processes(run)


def _processes(run: Path) -> int:
    """Of the run, by its last checkpoint; 1 where there is none."""
    marks = sorted(run.glob("checkpoints/*/complete.json"), key=lambda mark: mark.stat().st_mtime)
    return json.loads(marks[-1].read_bytes())["processes"] if marks else 1


def vllm_line(args: GRPOConfig) -> str:
    """What vLLM takes beside this."""
    if args.vllm_mode == "server":
        return "on GPUs of its own (vllm_mode server)"
    share = f"{args.vllm_gpu_memory_utilization:.0%} of the GPU"
    if args.vllm_enable_sleep_mode:
        return f"{share}, given back while the loss is computed (sleep mode)"
    return f"{share} beside the above; vllm_enable_sleep_mode gives it back during the loss"


def gigabytes(size: float) -> str:
    """Of 1e9 bytes."""
    return f"{size / 1e9:,.2f} GB"
