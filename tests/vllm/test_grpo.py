"""GRPO with vLLM in every family: it samples from the trainer's prompts, with the trainer's
log-probabilities, also after tower, projector and language model have changed."""

from functools import partial

import pytest
import torch
from trl.data_utils import prepare_multimodal_messages
from trl.generation.vllm_generation import VLLMGeneration

from data_gen.files.errors import InputError
from rl.policy.loading import trains_images, vision_token_ids
from rl.sampler import plain_row
from rl.vllm.check import engine_gaps, refuse_gaps
from tests.rl.families import save_tiny_idefics, save_tiny_qwen3
from tests.vllm.engines import (
    CLOSE,
    HEAD,
    KINDS,
    differences,
    mixed_rows,
    need_vllm,
    save_tiny_llava_of_the_hub,
    save_tiny_qwen2_5,
    vllm_trainer,
)

need_vllm()

FAMILIES = {
    "qwen2_5_vl": save_tiny_qwen2_5,
    "qwen3_vl": partial(save_tiny_qwen3, head_dim=HEAD),
    "llava": save_tiny_llava_of_the_hub,
    "idefics3": partial(save_tiny_idefics, head_dim=HEAD),
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return mixed_rows(tmp_path_factory.mktemp("vllm") / "rows")


@pytest.fixture(scope="module", params=FAMILIES)
def trainer(request, rows, tmp_path_factory):
    """After three steps in which all weights were trained."""
    out = tmp_path_factory.mktemp(request.param)
    policy = FAMILIES[request.param](out / "policy")
    with vllm_trainer(policy, rows, out) as trainer:
        trainer.before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        trainer.train()
        yield trainer


def prompts_of(trainer):
    """Of a row without images, and with one, two and three: messages, ids and images."""
    for row in (plain_row(row) for row in trainer.train_dataset):
        if row["id"] in ("one image", "tiny-0-0", "tiny-0-2", "text-0-0"):
            prompt = prepare_multimodal_messages(row["prompt"], images=row["images"])
            ids, images, _ = trainer._tokenize_prompts([prompt])
            yield prompt, ids, images


def test_every_step_has_the_trainers_log_probabilities(trainer):
    moved = {
        name
        for name, weight in trainer.model.named_parameters()
        if not torch.equal(weight, trainer.before[name])
    }
    assert trains_images(trainer.model)
    assert any("vis" in name for name in moved) and any(
        "language" in n or "text" in n for n in moved
    )
    found = differences(trainer)
    assert len(found) == 3 and max(found) <= CLOSE, found
    gaps = engine_gaps(trainer)
    print(trainer.model.config.model_type, found, gaps)
    assert tuple(gaps) == KINDS and max(gaps.values()) <= CLOSE, gaps


def test_prompts_are_the_trainers_and_would_not_be_without_it(trainer):
    engine = trainer.vllm_generation
    seen = set()
    for _, ids, images in prompts_of(trainer):
        found, *_ = engine.generate(ids, images, 1)
        assert [list(each) for each in found] == ids
        theirs, *_ = VLLMGeneration.generate(engine, ids, images, 1)
        seen.add(0 if images is None else len(images[0]))
        # When this fails, TRL has mended it, and `Engine.generate` can go.
        assert (list(theirs[0]) != ids[0]) == (images is not None)
    assert seen == {0, 1, 2, 3}


def test_greedy_completions_are_those_of_transformers(trainer):
    engine, model, processor = trainer.vllm_generation, trainer.model, trainer.processing_class
    trainer.sharing.image_cache and trainer.sharing.image_cache.close()
    model.eval()
    barred = vision_token_ids(model, processor)
    for prompt, ids, images in prompts_of(trainer):
        with engine.sampling(temperature=0.0):
            _, (found,), _, _ = engine.generate(ids, images, 1)
        inputs = processor.apply_chat_template(
            [prompt],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        whole = model.generate(
            **inputs,
            max_new_tokens=engine.max_completion_length,
            do_sample=False,
            suppress_tokens=barred,
            eos_token_id=trainer.eos_token_ids,
        )
        assert list(found) == whole[0, len(ids[0]) :].tolist()


def test_features_of_old_weights_are_not_used(trainer):
    """TRL's own weight sync leaves them in the encoder cache."""
    engine = trainer.vllm_generation
    engine_gaps(trainer)  # the images are in the cache now
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "vis" in name and weight.dim() > 1:
                weight.neg_()
    ours = type(engine).sync_weights
    try:
        type(engine).sync_weights = VLLMGeneration.sync_weights
        stale = engine_gaps(trainer)
    finally:
        type(engine).sync_weights = ours
    assert stale["text"] <= CLOSE
    assert min(gap for kind, gap in stale.items() if kind != "text") > 2 * CLOSE, stale
    with pytest.raises(InputError, match=r"differ by .* \(1 image\)"):
        refuse_gaps(stale, torch.float32)
    assert max(engine_gaps(trainer).values()) <= CLOSE


def test_weights_that_are_not_passed_on_are_refused(trainer):
    """The check is made before the first step of any training."""
    engine = trainer.vllm_generation
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "mlp" in name and "vis" not in name:
                weight.mul_(1.5)
    everything = engine._iter_named_params
    engine._iter_named_params = lambda: (each for each in everything() if "mlp" not in each[0])
    try:
        with pytest.raises(InputError, match="vLLM is another policy .*vllm_check"):
            trainer.train()
    finally:
        del engine._iter_named_params
