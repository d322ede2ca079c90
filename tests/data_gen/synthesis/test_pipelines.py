"""Pipelines: digests of weights, arguments of a call, sizes, seeds, shared parts."""

import numpy as np
import pytest
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.synthesis.pipelines import (
    generate_images,
    load_pipeline,
    pipeline_class,
    pipeline_settings,
    weights_fingerprint,
)
from tests.data_gen.synthesis.tiny_pipelines import save_unet

CALL = {"num_inference_steps": 2, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(save_unet(tmp_path_factory.mktemp("weights") / "unet"))


def settings(weights, **changes):
    return pipeline_settings(
        {"weights": weights, "dtype": "float32", "call": CALL} | changes, "pipeline"
    )


def test_the_fingerprint_follows_the_weights(tmp_path, weights):
    assert weights_fingerprint("owner/name") == "owner/name"
    same, other = save_unet(tmp_path / "same"), save_unet(tmp_path / "other", seed=1)
    assert weights_fingerprint(str(same)) == weights_fingerprint(weights)
    assert weights_fingerprint(str(other)) != weights_fingerprint(weights)


def test_an_image_depends_on_its_prompt_and_seed_only(weights):
    given = settings(weights)
    pipeline = load_pipeline(given, "cpu")
    one, other, again = generate_images(pipeline, given, ["red bear"] * 3, [1, 2, 1], (32, 32))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_an_image_of_another_size_is_resized(weights):
    """An image-to-image pipeline takes no size."""
    given = settings(
        weights,
        **{
            "class": "AutoPipelineForImage2Image",
            "call": {"num_inference_steps": 2, "strength": 0.5},
        },
    )
    pipeline = load_pipeline(given, "cpu")
    (image,) = generate_images(
        pipeline, given, ["red bear"], [1], (48, 40), [Image.new("RGB", (32, 32))]
    )
    assert image.size == (48, 40) and image.mode == "RGB"


def test_pipelines_of_the_same_weights_share_their_parts(weights):
    first = load_pipeline(settings(weights), "cpu")
    image_to_image = settings(weights, **{"class": "AutoPipelineForImage2Image"})
    second = load_pipeline(image_to_image, "cpu", share_with=first)
    assert second.unet is first.unet and second.vae is first.vae


def test_a_scheduler_replaces_the_pipeline_s_own(weights):
    given = settings(
        weights, scheduler={"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    )
    scheduler = load_pipeline(given, "cpu").scheduler
    assert type(scheduler).__name__ == "EulerDiscreteScheduler"
    assert scheduler.config.timestep_spacing == "trailing"


def test_refusals_of_a_pipeline_are_one_sentence(weights):
    given = settings(weights, call={**CALL, "num_inference_steps": "two"})
    with pytest.raises(SourceError, match="StableDiffusionPipeline refuses: .*; see 'call'"):
        generate_images(load_pipeline(given, "cpu"), given, ["red bear"], [1], (32, 32))
    with pytest.raises(SourceError, match="here: 'os' is not a pipeline class"):
        pipeline_class("os", "here")
