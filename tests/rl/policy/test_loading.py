import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from rl.policy.loading import (
    LoraSettings,
    load_policy,
    suppress_vision_tokens,
    trainable_parameters,
    trains_images,
    vision_token_ids,
)


def _model_inputs(processor, row):
    content = [{"type": "image", "image": image} for image in row["images"]]
    content.append({"type": "text", "text": "What is it?"})
    return processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        return_tensors="pt",
    )


def test_frozen_parts_are_frozen_and_the_rest_is_not(policy_path):
    def part(model, word):
        return {p.requires_grad for n, p in model.named_parameters() if word in n}

    model, processor = load_policy(policy_path)
    assert processor.tokenizer.padding_side == "left"
    assert part(model, "visual") == {False} and part(model, "language_model") == {True}
    model, _ = load_policy(policy_path, freeze_projector=False)
    assert part(model, "visual.blocks") == {False} and part(model, "merger") == {True}
    model, _ = load_policy(policy_path, freeze_vision=False, freeze_projector=False)
    assert {p.requires_grad for p in model.parameters()} == {True}


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({}, False),
        ({"freeze_projector": False}, True),
        ({"freeze_vision": False}, True),
        ({"lora": LoraSettings(4, 8, 0.0)}, False),
    ],
)
def test_whether_image_features_change_in_training(policy_path, settings, trained):
    assert trains_images(load_policy(policy_path, **settings)[0]) == trained


def test_an_adapter_on_the_tower_changes_image_features(policy_path):
    model, _ = load_policy(policy_path)
    config = LoraConfig(r=2, target_modules=r".*visual.*\.qkv")
    assert trains_images(get_peft_model(model, config))


@pytest.mark.parametrize("projector", [True, False])
def test_no_gradient_enters_a_frozen_tower_under_checkpointing(policy_path, rows, projector):
    model, processor = load_policy(
        policy_path,
        freeze_projector=projector,
        lora=None if not projector else LoraSettings(4, 8, 0.0),
    )
    plain = model.get_base_model() if projector else model
    plain.train()
    plain.gradient_checkpointing_enable()
    plain.enable_input_require_grads()  # what TRL does; it hooks the tower's patch embedding too
    seen = {}

    def remember(name):
        return lambda module, args, output: seen.update({name: output})

    plain.model.visual.blocks[-1].register_forward_hook(remember("block"))
    inputs = _model_inputs(processor, rows[0])
    out = model(**inputs, labels=inputs["input_ids"])
    out.loss.backward()
    block = seen["block"]
    assert not (block[0] if isinstance(block, tuple) else block).requires_grad
    grads = {n: p.grad for n, p in model.named_parameters()}
    tower = [g for n, g in grads.items() if "visual" in n and "merger" not in n]
    assert all(g is None for g in tower)
    moved = "lora_B" if projector else "merger"
    assert all(
        g is not None and g.abs().sum() > 0
        for n, g in grads.items()
        if moved in n and "bias" not in n and "k_proj" not in n
    )


def test_lora_touches_the_language_model_only(policy_path):
    model, _ = load_policy(policy_path, lora=LoraSettings(4, 8, 0.0))
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert names and all("lora_" in n and ".language_model.layers." in n for n in names)
    count = trainable_parameters(model)
    assert (
        count.trainable
        == count.parts["adapter"]
        == sum(p.numel() for p in model.parameters() if p.requires_grad)
    )
    assert "adapter" in str(count) and "%" in str(count)


def test_an_adapter_is_saved_unmerged_and_opens_with_its_base(policy_path, rows, tmp_path):
    model, processor = load_policy(policy_path, lora=LoraSettings(4, 8, 0.0))
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(policy_path)
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))

    again, processor = load_policy(tmp_path / "adapter")
    base, _ = load_policy(policy_path)
    inputs = _model_inputs(processor, rows[0])
    with torch.no_grad():
        want, got, plain = (m(**inputs).logits for m in (model, again, base))
    torch.testing.assert_close(got, want)
    assert (got - plain).abs().max() > 1e-3
    assert trainable_parameters(again).parts["language"] == 0
    with pytest.raises(ValueError, match="already is an adapter"):
        load_policy(tmp_path / "adapter", lora=LoraSettings())


def test_an_adapter_loads_from_any_folder(policy_path, tmp_path, monkeypatch):
    monkeypatch.chdir(policy_path.parent)
    model, _ = load_policy(policy_path.name, lora=LoraSettings(4, 8, 0.0))
    model.save_pretrained(tmp_path / "adapter")

    # One that was written before bases were recorded so is put right when it is trained on.
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": policy_path.name})
    )
    load_policy(tmp_path / "adapter")[0].save_pretrained(tmp_path / "further")
    monkeypatch.chdir("/")
    assert load_policy(tmp_path / "further")[0].peft_config
    with pytest.raises(OSError, match="it is an adapter of .*there is no such dir"):
        load_policy(tmp_path / "adapter")


def test_weights_that_are_no_safetensors_are_refused(policy_path, tmp_path):
    model, _ = load_policy(policy_path)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_policy(tmp_path)


def test_remote_code_is_not_run_unasked(policy_path, tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('ran remote code')")
    with pytest.raises(ValueError, match="trust_remote_code|custom code"):
        load_policy(tmp_path)


def test_every_vision_special_token_is_listed_and_none_else(policy_path):
    model, processor = load_policy(policy_path)
    tokens = processor.tokenizer.convert_ids_to_tokens(vision_token_ids(model, processor))
    assert set(tokens) == {
        "<|vision_start|>",
        "<|vision_end|>",
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
    }


def test_a_configs_own_suppressed_tokens_stay_suppressed(policy_path):
    model, processor = load_policy(policy_path)
    vision = vision_token_ids(model, processor)
    given = {"suppress_tokens": [70], "top_p": 0.9}
    assert suppress_vision_tokens(given, model, processor) == {
        "suppress_tokens": sorted([70, *vision]),
        "top_p": 0.9,
    }
    assert given == {"suppress_tokens": [70], "top_p": 0.9}
    assert suppress_vision_tokens(None, model, processor, vllm=True) == {
        "logit_bias": dict.fromkeys(vision, -100.0)
    }


def test_an_adapter_on_the_shipped_policy_records_its_short_name(tmp_path):
    model, _ = load_policy("toybox_base", lora=LoraSettings(2, 4, 0.0))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "toybox_base"
    again, _ = load_policy(tmp_path)
    assert trainable_parameters(again).parts["adapter"] > 0
