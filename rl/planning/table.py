"""The table of docs/planning.md: Qwen2.5-VL by shape, on 1, 8 and 64 GPUs, predicted.

python -m rl.planning.table
"""

from dataclasses import replace

from transformers import Qwen2_5_VLConfig

from rl.planning.memory import Workload, memory_of, needs_of
from rl.planning.parallel import Parallel
from rl.policy.loading import LoraSettings
from rl.speed.random_policy import TEXT, VISION

SHAPES = {
    "3B": (TEXT, VISION),
    "7B": (
        TEXT
        | dict(
            vocab_size=152_064,
            hidden_size=3584,
            intermediate_size=18_944,
            num_hidden_layers=28,
            num_attention_heads=28,
            num_key_value_heads=4,
            tie_word_embeddings=False,
        ),
        VISION | dict(out_hidden_size=3584),
    ),
}
"""Shapes of Qwen2.5-VL-Instruct, from the published configs."""

WORK = Workload(prompt=1000, completion=256, group=8, rows=8, sampled=8, reference=True)
"""RePIC's: two images of 512 pixels and instructions; a group per GPU and micro-batch."""

LORA = LoraSettings(64, 128, 0.05)


def shape(name: str) -> Qwen2_5_VLConfig:
    """The configuration of a size of Qwen2.5-VL."""
    text, vision = SHAPES[name]
    tied = bool(text["tie_word_embeddings"])
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=tied)


def lines() -> list[str]:
    """The table as Markdown."""
    found = [
        "| policy | trained | GPUs | | stays | loss, prompts shared | not shared | **peak** |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    spread = [
        Parallel(f"ZeRO-{stage}", processes, stage, deepspeed=True)
        for processes in (1, 8, 64)
        for stage in (2, 3)
    ]
    for name in SHAPES:
        found += _lines(name, "LoRA r 64", LORA, spread)
        found += _lines(name, "all but the tower", None, spread)
        found += _lines(name, "LoRA r 16, 4 bits", replace(LORA, r=16), [Parallel("–")])
    return found


def _lines(name: str, trained: str, lora: LoraSettings | None, spread: list[Parallel]) -> list[str]:
    ours, stock = (
        needs_of(
            shape(name),
            replace(WORK, shared=shared),
            lora=lora,
            checkpointing=True,
            freeze_projector=lora is not None,
            quantized="4 bits" in trained,
        )
        for shared in (True, False)
    )
    found = []
    for parallel in spread:
        memory = memory_of(ours, parallel)
        numbers = (sum(memory.parts.values()), ours.loss, stock.loss, memory.peak)
        shown = " | ".join(f"{size / 1e9:.1f}" for size in numbers)
        found.append(f"| {name} | {trained} | {parallel.processes} | {parallel.name} | {shown} |")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
