"""The tiny models' commands, from nothing to pairs of toys that are read: all of it, very small."""

import json

import pytest
from PIL import Image

from data_gen.toybox.models import images
from launch.generate import main as generate
from launch.tools.tiny_model import MODELS
from launch.tools.tiny_model import main as tiny_model
from tests.places import ROOT

SCHEDULE = {"steps": 2, "batch_size": 4, "save_steps": 1, "log_steps": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """CLIP, attribute classifier and diffusion model, each made from a config of its own."""
    folder = tmp_path_factory.mktemp("tiny")
    changes = {
        "clip": {"shape": {"image_px": 32, "vision_layers": 1, "text_layers": 1}, "held_out": 1},
        "attribute_classifier": {"shape": {"image_px": 32, "widths": [8, 8]}, "held_out": 1},
        "diffusion": {
            "half_px": 32,
            "autoencoder": {"channels": 8, "latent_channels": 2},
            "autoencoder_schedule": SCHEDULE,
            "flow": {"width": 40, "heads": 2, "double_blocks": 1, "single_blocks": 1},
            "flow_schedule": SCHEDULE,
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "PER_FILE", 16)
        for name, change in changes.items():
            settings = {"model": name, "out": str(folder / name), "images": 32, **change}
            settings |= {"cache": str(folder / "images")} if name != "clip" else {}
            settings |= {"schedule": SCHEDULE} if name != "diffusion" else {}
            config = folder / f"{name}.yaml"
            config.write_text(json.dumps(settings))
            tiny_model(["--config", str(config)])
    return folder


def test_what_is_shipped_is_there_with_its_recipe(made):
    assert {f.name for f in (made / "clip/model").iterdir()} >= {
        "open_clip_config.json",
        "open_clip_model.safetensors",
        "tokenizer.json",
        "recipe.json",
    }
    assert json.loads((made / "clip/model/recipe.json").read_text())["measured"]["images"] == 0
    measured = json.loads((made / "attribute_classifier/model/config.json").read_text())["measured"]
    assert measured["images"] == 32 and 0 <= measured["mean"] <= 1
    recipe = json.loads((made / "diffusion/model/recipe.json").read_text())
    assert recipe["arguments"]["flow"]["width"] == 40
    assert not list(made.rglob("*.bin")) and not list(made.rglob("*.pt"))


def test_pairs_are_drawn_judged_and_classified(made, capsys):
    pipeline = {
        "weights": str(made / "diffusion/model"),
        "dtype": "float32",
        "call": {"num_inference_steps": 2, "max_sequence_length": 24},
    }
    quality = {"encoder": str(made / "clip/model"), "seam": None, "least": {}}
    generate(
        [
            "--config",
            str(ROOT / "configs/data/diffusion_toy.yaml"),
            "--size",
            "32",
            "--out",
            str(made / "pairs"),
            "--counts",
            "{diptych: 6}",
            "--batch_size",
            "3",
            "--pipeline",
            json.dumps(pipeline),
            "--quality",
            json.dumps(quality),
        ]
    )
    assert "6 rows (diptych 6)" in capsys.readouterr().out
    tiny_model(
        [
            "--model",
            "attribute_classifier",
            "--pairs",
            str(made / "pairs"),
            "--classifier",
            str(made / "attribute_classifier/model"),
            "--sheet",
            str(made / "sheet.png"),
        ]
    )
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 6 and 0 <= report["attributes"]["value"] <= 1
    with Image.open(made / "sheet.png") as sheet:
        assert sheet.height > 100


def test_a_set_without_toys_is_refused(made):
    with pytest.raises(SystemExit, match="tiny_model: .*no parquet file"):
        tiny_model(
            [
                "--model",
                "attribute_classifier",
                "--pairs",
                str(made / "clip"),
                "--classifier",
                str(made / "attribute_classifier/model"),
            ]
        )


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs/tiny_models").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_shipped_configs_are_valid_and_say_how_to_run_them(file, monkeypatch):
    asked = []
    for name, (_, sections) in MODELS.items():
        monkeypatch.setitem(MODELS, name, (lambda *settings: asked.append(settings), sections))
    tiny_model(["--config", str(file), *(["--bf16", "false"] if "base" in file.stem else [])])
    assert len(asked) == 1
    head = file.read_text().partition("\n\n")[0]
    assert "byname tiny_model" in head and file.name in head and "Expect" in head


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--model", "clap"], "model must be one of policy, .*did you mean 'clip'"),
        ([], "shipped configs are in configs/tiny_models/"),
        (["--model", "clip"], "'schedule' is missing"),
        (["--model", "clip", "--schedule", "{steps: 1}"], "'schedule': 'batch_size' is missing"),
    ],
)
def test_it_refuses_with_one_sentence(argv, sentence):
    with pytest.raises(SystemExit, match=f"^tiny_model: .*{sentence}"):
        tiny_model(argv)
