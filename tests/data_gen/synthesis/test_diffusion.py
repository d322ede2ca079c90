"""Pairs by diffusion: real pipeline classes with tiny random weights; pairs read back as rows."""

import json

import numpy as np
import pytest
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.skipped import SkippedItems
from data_gen.rows import ICT, OCT, RowError
from data_gen.rows.build_plan import PlanError
from data_gen.rows.building import build_rows
from data_gen.sources.image_pairs import half_boxes
from data_gen.sources.pair_parquet import light_rows, pair_image, parquet_files
from data_gen.sources.subjects200k import subjects200k_rows
from data_gen.synthesis import pair_maker
from data_gen.synthesis.diffusion import diffusion_pairs
from data_gen.synthesis.pair_maker import DIPTYCH, EDIT
from data_gen.synthesis.quality import CONSISTENCY, QUALITY, STRUCTURE
from tests.concepts.tiny_encoders import save_open_clip
from tests.data_gen.stub_rows import contents
from tests.data_gen.synthesis.tiny_pipelines import LENGTH, save_flux, save_ip_adapter, save_unet

TEXTS = {
    "item": "{colour} {kind}",
    "category": "{kind}",
    "scene": "{wall} wall",
    "lists": {"kind": ["bear", "owl"], "colour": ["red", "blue"], "wall": ["mint", "sky"]},
}
CALLS = {
    "unet": {"num_inference_steps": 2, "guidance_scale": 2.0, "negative_prompt": "two toys"},
    "flux": {
        "num_inference_steps": 2,
        "true_cfg_scale": 2.0,
        "negative_prompt": "",
        "max_sequence_length": LENGTH,
    },
}
EDITS = {
    "unet": {
        "class": "AutoPipelineForImage2Image",
        "call": {"num_inference_steps": 4, "strength": 0.5},
    },
    "flux": {
        "class": "FluxKontextPipeline",
        "call": {
            "num_inference_steps": 2,
            "max_sequence_length": LENGTH,
            "max_area": 32 * 32,
            "_auto_resize": False,
        },
    },
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        "unet": save_unet(folder / "unet"),
        "flux": save_flux(folder / "flux"),
        "clip": save_open_clip(folder / "clip"),
    }


def settings(weights, family="unet", **changes) -> dict:
    return {
        "seed": 3,
        "counts": {DIPTYCH: 4},
        "texts": TEXTS,
        "size": 32,
        "batch_size": 2,
        "pipeline": {"weights": str(weights[family]), "dtype": "float32", "call": CALLS[family]},
        "report": lambda line: None,
    } | changes


def make(out, given: dict, **more) -> dict | None:
    return build_rows(
        diffusion_pairs(**given),
        out,
        seed=given["seed"],
        generator="diffusion",
        rows_per_shard=2,
        **more,
    )


def pairs_in(folder) -> list[tuple[Image.Image, dict]]:
    return [
        (pair_image(place), row)
        for file in parquet_files(folder)
        for place, row in light_rows(file, SkippedItems())
    ]


@pytest.mark.parametrize("family", ["unet", "flux"])
def test_a_set_of_diptychs_is_read_back_as_rows(tmp_path, weights, family):
    manifest = make(tmp_path / "set", settings(weights, family))
    assert manifest["tasks"] == {DIPTYCH: 4}
    assert (tmp_path / "set/contact_sheet.png").stat().st_size > 1000
    lines = []
    rows = subjects200k_rows(
        tmp_path / "set",
        seed=0,
        counts={OCT: 4, ICT: 2},
        size=32,
        keep_unassessed=True,
        report=lines.append,
    )
    assert lines == ["subjects200k: 4 pairs used"]
    assert [row["images"][0].size for row in rows] == [(30, 30)] * 6
    image, row = pairs_in(tmp_path / "set")[0]
    assert [box[2] - box[0] for box in half_boxes(*image.size)] == [32, 32]
    said = row["description"]
    assert said["item"].split()[1] == said["category"] in ("bear", "owl")
    assert {said["description_0"], said["description_1"]} == {"mint wall", "sky wall"}


def test_processes_and_resumed_runs_make_the_same_files(tmp_path, weights, monkeypatch):
    given = settings(weights)
    make(tmp_path / "whole", given)
    for rank in (1, 0):
        make(tmp_path / "shared", given, rank=rank, world=2)
    assert contents(tmp_path / "shared") == contents(tmp_path / "whole")

    class Killed(Exception):
        pass

    generate_images = pair_maker.generate_images
    calls = []

    def until_killed(*args):
        calls.append(args)
        if len(calls) == 2:
            raise Killed
        return generate_images(*args)

    monkeypatch.setattr(pair_maker, "generate_images", until_killed)
    with pytest.raises(Killed):
        make(tmp_path / "stopped", given)
    make(tmp_path / "stopped", given)
    assert len(calls) == 3  # the first shard was not generated again
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_a_set_begun_with_other_weights_is_not_resumed(tmp_path, weights):
    make(tmp_path / "set", settings(weights), rank=0, world=2)
    with pytest.raises(PlanError, match="another plan"):
        make(
            tmp_path / "set",
            settings(
                weights,
                pipeline={
                    "weights": str(save_unet(tmp_path / "other", seed=1)),
                    "dtype": "float32",
                    "call": CALLS["unet"],
                },
            ),
        )


@pytest.mark.parametrize("family", ["unet", "flux"])
def test_edits_begin_with_a_generated_subject(tmp_path, weights, family):
    given = settings(weights, family, counts={EDIT: 2}, edit={"pipeline": EDITS[family]})
    assert make(tmp_path / "set", given)["tasks"] == {EDIT: 2}
    for image, _ in pairs_in(tmp_path / "set"):
        left, right = (np.asarray(image.crop(box)) for box in half_boxes(*image.size))
        assert left.shape == right.shape == (32, 32, 3) and (left != right).any()


def test_edits_through_an_ip_adapter_see_the_photo(tmp_path, weights):
    """The same prompts and noise, another photo: another second half."""
    adapter = save_ip_adapter(tmp_path / "adapter")
    right = []
    for colour in ("red", "blue"):
        (tmp_path / colour / "mug").mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / colour / "mug" / "1.png")
        given = settings(
            weights,
            counts={EDIT: 2},
            edit={
                "subjects": str(tmp_path / colour),
                "pipeline": {
                    "class": "StableDiffusionPipeline",
                    "image_argument": "ip_adapter_image",
                    "call": CALLS["unet"],
                    "ip_adapter": {
                        "pretrained_model_name_or_path_or_dict": str(adapter),
                        "subfolder": "models",
                        "weight_name": "adapter.safetensors",
                        "scale": 1.0,
                    },
                },
            },
        )
        make(tmp_path / f"set {colour}", given)
        image, _ = pairs_in(tmp_path / f"set {colour}")[0]
        right.append(np.asarray(image.crop(half_boxes(*image.size)[1])))
    assert (right[0] != right[1]).any()


def test_edits_begin_with_photos_where_there_are_some(tmp_path, weights):
    colours = {"red_mug": "red", "blue_mug": "blue"}
    for name, colour in colours.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (50, 40), colour).save(tmp_path / "photos" / name / "1.png")
    given = settings(
        weights,
        counts={EDIT: 2},
        edit={"pipeline": EDITS["unet"], "subjects": str(tmp_path / "photos")},
    )
    make(tmp_path / "set", given)
    seen = {
        row["description"]["item"]: image.crop(half_boxes(*image.size)[0]).getpixel((5, 5))
        for image, row in pairs_in(tmp_path / "set")
    }
    assert seen == {"red mug": (255, 0, 0), "blue mug": (0, 0, 255)}


def test_points_are_written_and_pairs_below_the_least_are_counted(tmp_path, weights):
    quality = {
        "encoder": str(weights["clip"]),
        "consistency": [0.9, 1.0],
        "agreement": [-1, 1],
        "structure": [0.0, 0.9],
        "seam": None,
        "least": {QUALITY: 1},
    }
    make(tmp_path / "kept", settings(weights, quality=quality))
    for _, row in pairs_in(tmp_path / "kept"):
        scores = row["quality_assessment"]
        assert set(scores) == {STRUCTURE, CONSISTENCY, QUALITY}
        assert all(type(v) is int and 0 <= v <= 5 for v in scores.values())
        assert 1 <= scores[QUALITY] <= 4  # cosines from -1 to 1 that are neither

    strict = {**quality, "seam": 1e9}
    with pytest.raises(RowError, match="made no row; skipped 4: 4 compositeStructure below 1"):
        make(tmp_path / "none", settings(weights, quality=strict | {"least": {STRUCTURE: 1}}))

    kept = pairs_in(tmp_path / "kept")
    scores = sorted(row["quality_assessment"][CONSISTENCY] for _, row in kept)
    if scores[0] < scores[-1]:
        some = {**quality, "least": {CONSISTENCY: scores[-1]}}
        manifest = make(tmp_path / "some", settings(weights, quality=some))
        assert manifest["rows"] == scores.count(scores[-1])
        assert manifest["skipped"] == {
            f"objectConsistency below {scores[-1]}": 4 - manifest["rows"]
        }


def test_other_formats_are_refused(tmp_path, weights):
    with pytest.raises(PlanError, match="parquet"):
        make(tmp_path / "set", settings(weights), form="webdataset")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"counts": {"collage": 1}}, "not 'collage'"),
        ({"counts": {EDIT: 1}}, "edit pairs need 'edit'"),
        ({"size": 8}, "size must be"),
        ({"image_format": "gif"}, "image_format must be png or jpeg"),
        ({"pipeline": {"weights": "/nowhere"}}, "/nowhere does not exist"),
        ({"pipeline": {"weights": "data_gen/nowhere"}}, "does not exist; .*byname tiny_model"),
        ({"quality": {"encoder": "data_gen/nowhere"}}, "does not exist; .*byname tiny_model"),
        ({"pipeline": {"weights": "a/b", "class": "Magic"}}, "'Magic' is not a pipeline class"),
        (
            {"pipeline": {"weights": "a/b", "class": "UNet2DConditionModel"}},
            "is not a pipeline class",
        ),
        ({"pipeline": {"weights": "a/b", "dtype": "int8"}}, "dtype must be float32"),
        (
            {"pipeline": {"weights": "a/b", "scheduler": {"class": "os"}}},
            "is not a scheduler class",
        ),
        ({"pipeline": {"weights": "a/b", "steps": 3}}, "unknown key 'steps'"),
        ({"pipeline": {}}, "'weights' is missing"),
        ({"quality": {"encoder": "x", "sharp": 1}}, "unknown key 'sharp'"),
        ({"quality": {"encoder": "x", "consistency": [1, 0]}}, "a lower and an upper bound"),
        ({"edit": {"subjects": "/nowhere", "pipeline": {}}}, "/nowhere is no directory"),
    ],
)
def test_it_refuses_with_one_sentence_before_weights_load(weights, changes, sentence):
    with pytest.raises(SourceError, match=sentence):
        diffusion_pairs(**settings(weights, **changes))


def test_an_argument_that_the_pipeline_does_not_take_is_named(tmp_path, weights):
    call = {**CALLS["unet"], "sparkle": 2}
    given = settings(
        weights, pipeline={"weights": str(weights["unet"]), "dtype": "float32", "call": call}
    )
    with pytest.raises(SourceError, match="takes no 'sparkle'"):
        make(tmp_path / "set", given)


def test_weights_of_another_kind_are_named(tmp_path, weights):
    index = json.loads((weights["unet"] / "model_index.json").read_text())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/model_index.json").write_text(json.dumps(index))
    given = settings(weights, pipeline={"weights": str(tmp_path / "broken"), "dtype": "float32"})
    with pytest.raises(SourceError, match="cannot be loaded from"):
        make(tmp_path / "set", given)
