"""Tiny things to test with: a random Qwen2.5-VL policy with a real processor, and small row sets.

Nothing is downloaded: the tokenizer is trained on the spot on the project's own prompts.
"""

import random
from functools import cache
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from data_gen.names import draw_names
from data_gen.prompts import load_prompts
from data_gen.rows import ICT, OCT, VLT, write_rows
from data_gen.tasks import (
    Reference,
    identity_consistency_row,
    object_consistency_row,
    visual_localization_row,
)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_processor(
    vocab_size: int = 384, min_pixels: int = 32 * 32, max_pixels: int = 64 * 64
) -> Qwen2_5_VLProcessor:
    """A Qwen2.5-VL processor: byte-level BPE, patch 8, merge 2 (64x64 pixels = 16 image tokens)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([str(load_prompts()), "yes no user assistant system " * 50],
                                  trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL, padding_side="left", model_max_length=100_000,
    )
    sizes = dict(patch_size=8, merge_size=2, temporal_patch_size=1)
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": min_pixels, "longest_edge": max_pixels}, **sizes),
        tokenizer=fast,
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=CHAT_TEMPLATE,
    )


def tiny_model(processor: Qwen2_5_VLProcessor, seed: int = 0, context: int = 2048):
    """A random Qwen2.5-VL of some 0.1 M parameters: 2 language and 2 vision layers."""
    token_id = processor.tokenizer.convert_tokens_to_ids
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=len(processor.tokenizer), hidden_size=48, intermediate_size=96,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=context, tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "mrope_section": [2, 2, 2],
                             "rope_theta": 10_000.0},
            bos_token_id=None, eos_token_id=token_id("<|im_end|>"),
            pad_token_id=token_id("<|endoftext|>"),
        ),
        vision_config=dict(
            depth=2, hidden_size=32, intermediate_size=64, num_heads=2, out_hidden_size=48,
            patch_size=8, spatial_merge_size=2, temporal_patch_size=1, window_size=64,
            fullatt_block_indexes=[1],
        ),
        image_token_id=token_id("<|image_pad|>"), video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = token_id("<|im_end|>")
    model.generation_config.pad_token_id = token_id("<|endoftext|>")
    return model


def save_tiny_policy(path: str | Path, seed: int = 0, context: int = 2048) -> Path:
    """Write a tiny policy (model and processor) as ``from_pretrained`` reads it."""
    processor = tiny_processor()
    tiny_model(processor, seed, context).save_pretrained(path)
    processor.save_pretrained(path)
    return Path(path)


@cache
def _colours() -> list[str]:
    return ["red", "green", "blue", "yellow", "purple", "orange", "cyan", "brown"]


def drawing(rng: random.Random, colour: str, size: int = 64) -> tuple[Image.Image, tuple]:
    """One coloured box on a plain ground, and where it is (x1 y1 x2 y2 in 0-1)."""
    image = Image.new("RGB", (size, size), rng.choice(["white", "lightgrey", "ivory"]))
    x, y = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)
    box = (x, y, x + 0.4, y + 0.4)
    ImageDraw.Draw(image).rectangle([v * size for v in box], fill=colour)
    return image, box


def tiny_rows(n: int = 24, seed: int = 0, text_only: int = 0, size: int = 64) -> list[dict]:
    """``n`` rows cycling through the three tasks, then ``text_only`` caption rows, no images."""
    rng = random.Random(seed)
    rows = []
    for i in range(n):
        colour, other = rng.sample(_colours(), 2)
        name, absent = draw_names(rng, 2)
        reference = Reference(drawing(rng, colour, size)[0], name)
        query, box = drawing(rng, colour, size)
        task = (OCT, VLT, ICT)[i % 3]
        row_id = f"tiny-{seed}-{i}"
        if task == OCT:
            same = i % 2 == 0
            shown = query if same else drawing(rng, other, size)[0]
            rows.append(object_consistency_row(rng, row_id, reference, shown, same=same,
                                               source="tiny"))
        elif task == VLT:
            rows.append(visual_localization_row(rng, row_id, reference, query, box, source="tiny"))
        else:
            distractor = Reference(drawing(rng, other, size)[0], absent)
            rows.append(identity_consistency_row(rng, row_id, [reference, distractor],
                                                 [True, False], query, source="tiny"))
    for i in range(text_only):
        name = draw_names(rng, 1)[0]
        prompt = [{"role": "user", "content": [{"type": "text", "text": f"Say <{name}>."}]}]
        rows.append({"id": f"text-{seed}-{i}", "task": ICT, "prompt": prompt, "images": [],
                     "answer": None, "box": None, "names": [name], "absent_names": [],
                     "source": "tiny"})
    return rows


def save_tiny_rows(path: str | Path, n: int = 24, seed: int = 0, text_only: int = 0) -> Path:
    """Write a small row set and return its directory."""
    write_rows(tiny_rows(n, seed, text_only), path, seed=seed, generator="tests/tiny.py")
    return Path(path)
