"""A policy small enough for a laptop: the Qwen2.5-VL architecture with random weights.

``AutoProcessor`` and ``AutoModelForImageTextToText`` load what is saved, like any other model of
the family.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from data_gen.toybox.identity import ACCESSORIES

SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
]

# The generation tags mark the assistant's tokens for SFT.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{% generation %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>{% endgeneration %}\n"
    "{% else %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class TinyPolicy:
    """Shape of the model. The defaults give 2.3 M parameters."""

    vocab_size: int = 3072
    hidden_size: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 384
    vision_hidden_size: int = 128
    vision_layers: int = 4
    vision_intermediate_size: int = 320
    patch_size: int = 8
    max_image_px: int = 96  # larger images are resized to about this side
    max_position_embeddings: int = 2048


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; digits are single tokens, so numbers are read digit by digit."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # Words with the space before, single digits, single marks: a tag is `<`, a name, `>`.
            pre_tokenizers.Split(
                Regex(r" ?\p{L}[\p{L}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]|\s"), "isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[s for s in SPECIAL if s != "<|im_end|>"],
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
        padding_side="left",
        model_max_length=2048,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast, shape: TinyPolicy) -> Qwen2_5_VLProcessor:
    """Image processor, tokenizer and chat template in one."""
    pixels = {"shortest_edge": (4 * shape.patch_size) ** 2, "longest_edge": shape.max_image_px**2}
    common: dict[str, Any] = dict(
        patch_size=shape.patch_size, merge_size=2, temporal_patch_size=2, size=pixels
    )
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**common),
        video_processor=Qwen2VLVideoProcessor(**common),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(
    tokenizer: PreTrainedTokenizerFast, shape: TinyPolicy
) -> Qwen2_5_VLForConditionalGeneration:
    """The model with random weights."""
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
        for name in ("vision_start", "vision_end", "image_pad", "video_pad")
    }
    pairs = shape.hidden_size // shape.heads // 2
    rows = pairs // 4
    config = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=len(tokenizer),
            hidden_size=shape.hidden_size,
            intermediate_size=shape.intermediate_size,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=shape.max_position_embeddings,
            # The family's own sections and theta, made for wide heads and large images, would
            # rotate an image's columns by less than 0.02: no box is learned in an hour.
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1000.0,
                "mrope_section": [0, rows, pairs - rows],
            },
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=dict(
            depth=shape.vision_layers,
            hidden_size=shape.vision_hidden_size,
            intermediate_size=shape.vision_intermediate_size,
            num_heads=shape.vision_hidden_size // 32,
            patch_size=shape.patch_size,
            spatial_patch_size=shape.patch_size,
            spatial_merge_size=2,
            temporal_patch_size=2,
            out_hidden_size=shape.hidden_size,
            # Few patches: every layer attends to the whole image.
            fullatt_block_indexes=list(range(shape.vision_layers)),
            window_size=shape.patch_size * 8,
        ),
        tie_word_embeddings=True,
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    # With the default std of 0.02 a small vision tower begins to learn much later.
    for name, weight in model.model.visual.named_parameters():
        if weight.dim() >= 2:
            weight.data.normal_(0.0, 0.05 if "patch_embed" not in name else 0.02)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


class Decisions:
    """Weights of tokens in the loss: more for those that say whether somebody is there.

    These are yes, no, nobody, same, other, a name's ``<``, and the three tokens after an accessory,
    which ends what a toy looks like: then a caption names it or goes on. Words that only describe
    are many, and drown the few that decide.

    Args:
        tokenizer: of the policy; of a word that it cuts in several tokens the first one counts.
        weight: of those tokens; all others weigh 1.
    """

    AFTER = 3

    def __init__(self, tokenizer: PreTrainedTokenizerFast, weight: float):
        def tokens_of(words: Iterable[str]) -> torch.Tensor:
            cut = [tokenizer.encode(f" {word}", add_special_tokens=False) for word in words]
            alone = [tokenizer.encode(word, add_special_tokens=False) for word in words]
            return torch.tensor([ids[0] for ids in cut] + [i[0] for i in alone if len(i) == 1])

        self.weight = weight
        self.words = tokens_of(("yes", "no", "nobody", "same", "other", "<"))
        self.accessories = tokens_of(name.split()[-1] for name in ACCESSORIES)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """(N,) tokens of answers, one after the other -> (N,) weights."""
        decides = torch.isin(tokens, self.words.to(tokens.device))
        ends = torch.isin(tokens, self.accessories.to(tokens.device))
        for reach in range(1, self.AFTER + 1):
            decides[reach:] |= ends[:-reach]
        return 1 + (self.weight - 1) * decides.float()


CORPUS_KEYS = {"described": "told", "caption_styles": "manners"}
"""Keys of the prompt templates -> what they were called when the shipped tokenizer was trained: its
corpus holds the template file, and stays the same text."""


def toybox_corpus(seed: int = 0, n: int = 6000) -> Iterable[str]:
    """Text that the tokenizer is trained on: prompts, answers, and every name in tags."""
    from data_gen.tasks.names import all_names
    from data_gen.tasks.prompts import load_prompts
    from data_gen.toybox.curriculum.perception import PerceptionSettings, perception_row
    from data_gen.toybox.rows import BUILDERS, ToyboxSettings, toybox_row

    rng = random.Random(seed)
    settings = ToyboxSettings(targets=True, named_share=0.5, reference_px=32, query_px=32)
    for index in range(n):
        row = toybox_row(rng.choice(list(BUILDERS)), index, seed, settings)
        yield from (part["text"] for part in row["prompt"][0]["content"] if part["text"])
        yield row["target"]
    for _ in range(n // 6):
        turns = perception_row(rng, rng.randint(1, 3), settings, PerceptionSettings())["messages"]
        yield from (part["text"] for turn in turns for part in turn["content"] if part["text"])
    prompts = json.dumps(load_prompts(), ensure_ascii=False)
    for key, old in CORPUS_KEYS.items():
        prompts = prompts.replace(key, old)
    yield prompts
    for name in all_names():
        yield f"<{name}> " * 12
        yield f" <{name}>," * 6
