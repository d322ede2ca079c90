import random

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from rl.policy.loading import load_policy
from rl.speed import random_policy
from tests.tiny import drawing


def test_the_random_3b_has_the_size_of_the_real_one():
    config = random_policy.shape_of_3b(random_policy.random_processor().tokenizer)
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    # 3.75 billion with its tower, the head tied to the embedding.
    assert 3.7e9 < sum(p.numel() for p in model.parameters()) < 3.8e9


def test_what_is_saved_is_loaded_and_reads_images(tmp_path, monkeypatch):
    monkeypatch.setitem(random_policy.TEXT, "intermediate_size", 64)
    monkeypatch.setitem(random_policy.TEXT, "vocab_size", 600)
    monkeypatch.setitem(random_policy.VISION, "depth", 1)
    monkeypatch.setitem(random_policy.VISION, "intermediate_size", 64)
    path = random_policy.save_qwen2_5_vl_3b_random(tmp_path / "policy", layers=1)
    model, processor = load_policy(path, dtype="bfloat16")
    assert len(model.get_decoder().layers) == 1
    text = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Who?"}]}],
        add_generation_prompt=True,
    )
    image, _ = drawing(random.Random(0), "red", 112)
    inputs = processor(text=[text], images=[image], return_tensors="pt")
    assert (inputs["input_ids"] == model.config.image_token_id).sum() == 16
    with torch.no_grad():
        assert model(**inputs).logits.shape[-1] == 600
