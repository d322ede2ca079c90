"""What the engine decides without vLLM; with it, see tests/vllm/."""

from types import SimpleNamespace

import pytest
import torch
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from data_gen.files.errors import InputError
from rl.vllm.engine import PLAIN, Engine, compute_dtype, engine_in_trl

PICTURE = 7


@pytest.fixture
def engine():
    """An engine whose vLLM was never started."""
    engine = Engine.__new__(Engine)
    settings = {**PLAIN, "temperature": 1.0, "structured_outputs_regex": None}
    vars(engine).update(settings, generation_kwargs={"logit_bias": {PICTURE: -100.0}})
    engine.processing_class = SimpleNamespace(image_token_id=PICTURE)
    return engine


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"top_k": None, "min_p": None}, True),
        ({"generation_kwargs": {"seed": 3}}, True),
        ({"temperature": 0.7}, False),
        ({"top_p": 0.9}, False),
        ({"top_k": 5}, False),
        ({"min_p": 0.1}, False),
        ({"repetition_penalty": 1.1}, False),
        ({"structured_outputs_regex": "yes|no"}, False),
        ({"generation_kwargs": {"frequency_penalty": 1.0}}, False),
    ],
)
def test_log_probabilities_before_processing_where_nothing_but_bars_is_processed(
    engine, settings, plain
):
    vars(engine).update(settings)
    assert engine.plain == plain
    assert engine.logprobs_mode == ("raw_logprobs" if plain else "processed_logprobs")


def test_settings_of_the_sampler_come_back(engine):
    with pytest.raises(KeyError), engine.sampling(temperature=0.0, top_p=0.5):
        assert (engine.temperature, engine.top_p, engine.plain) == (0.0, 0.5, False)
        raise KeyError
    assert (engine.temperature, engine.top_p) == (1.0, 1.0)


@pytest.mark.parametrize("lengths", [[2, 3], [3, 2], [2, 2]])
def test_a_server_with_other_sizes_of_images_is_refused(engine, lengths):
    """The prompt has two images, of two tokens and of three."""
    ids = [1, PICTURE, PICTURE, 2, PICTURE, PICTURE, PICTURE, 3]
    places = [{"offset": 0, "length": length} for length in lengths]
    features = {"mm_placeholders": {"image": places}, "mm_hashes": {"image": ["a", "b"]}}
    if lengths == [2, 3]:
        placed = engine._place_features(features, ids)
        assert [each["offset"] for each in placed["mm_placeholders"]["image"]] == [1, 4]
        assert placed["mm_hashes"] == features["mm_hashes"]
    else:
        with pytest.raises(InputError, match=r"makes \[., 2\] tokens .* trainer \[2, 3\]: start"):
            engine._place_features(features, ids)
    assert engine._place_features(None, ids) is None


@pytest.mark.parametrize(
    ("tower", "name", "found"),
    [
        ("CLIP", "model.vision_tower.post.weight", "model.vision_tower.vision_model.post.weight"),
        ("CLIP", "vision_tower.vision_model.post.weight", "vision_tower.vision_model.post.weight"),
        ("CLIP", "model.language_model.norm.weight", "model.language_model.norm.weight"),
        ("Siglip", "model.vision_tower.a.b", "model.vision_tower.vision_model.a.b"),
        ("Pixtral", "model.vision_tower.a.b", "model.vision_tower.a.b"),
    ],
)
def test_vllm_knows_the_weights_of_a_tower_by_their_names_before(engine, tower, name, found):
    engine.model = torch.nn.Module()
    engine.model.tower = type(f"{tower}VisionModel", (torch.nn.Module,), {})()
    assert engine._fix_param_name_to_vllm(name) == found


def test_trl_makes_this_engine_only_where_it_is_asked_to():
    with pytest.raises(ZeroDivisionError), engine_in_trl({"enforce_eager": True}):
        assert grpo_trainer.VLLMGeneration.func is Engine
        raise ZeroDivisionError
    assert grpo_trainer.VLLMGeneration is VLLMGeneration


def test_what_is_overridden_is_still_there_in_this_trl():
    for name in (
        "_init_vllm",
        "_fix_param_name_to_vllm",
        "_place_features",
        "sync_weights",
        "generate",
    ):
        assert callable(vars(VLLMGeneration)[name]), name


@pytest.mark.parametrize(
    ("weights", "mixed", "found"),
    [
        (torch.float32, "no", torch.float32),
        (torch.float32, "bf16", torch.bfloat16),
        (torch.bfloat16, "no", torch.bfloat16),
        (torch.float32, "fp16", torch.float16),
    ],
)
def test_vllm_computes_as_the_trainer_does(weights, mixed, found):
    model = torch.nn.Linear(2, 2, dtype=weights)
    assert compute_dtype(model, SimpleNamespace(mixed_precision=mixed)) == found
