"""Another temperature, truncated sampling, and a run's own sizes of images."""

import pytest

from data_gen.files.errors import InputError
from rl.vllm.check import engine_gaps
from tests.vllm.engines import CLOSE, KINDS, mixed_rows, need_vllm, save_tiny_qwen2_5, vllm_trainer

need_vllm()


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    out = tmp_path_factory.mktemp("sampler")
    rows, policy = mixed_rows(out / "rows"), save_tiny_qwen2_5(out / "policy")
    smaller = {"shortest_edge": 256, "longest_edge": 1024}  # 32 x 32 pixels instead of 64 x 64
    engine = {"mm_processor_kwargs": {"size": smaller}}
    settings = dict(temperature=0.7, top_p=0.9, max_steps=1)
    with vllm_trainer(policy, rows, out, engine=engine, frozen=True, **settings) as trainer:
        set_sizes(trainer, smaller)
        yield trainer


def set_sizes(trainer, sizes):
    for key, pixels in sizes.items():
        trainer.processing_class.image_processor.size[key] = pixels


def test_an_untrained_policy_passes_the_check_under_any_sampler(trainer):
    """Its barred tokens are likely, and are taken out of processed log-probabilities."""
    engine = trainer.vllm_generation
    assert engine.logprobs_mode == "processed_logprobs"
    trainer.train()
    gaps = engine_gaps(trainer)
    print("temperature 0.7", gaps)
    assert tuple(gaps) == KINDS and max(gaps.values()) <= CLOSE, gaps
    assert (engine.temperature, engine.top_p) == (0.7, 0.9) and "logit_bias" in (
        engine.generation_kwargs
    )


def test_other_sizes_of_images_are_refused(trainer):
    """The run's sizes are those of vLLM; those of the policy's folder are not."""
    set_sizes(trainer, {"shortest_edge": 1024, "longest_edge": 4096})
    with pytest.raises(InputError, match="prompt 0 has .* tokens in the trainer and .* in vLLM"):
        engine_gaps(trainer)
