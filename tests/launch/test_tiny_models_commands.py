"""The tiny models' commands, from nothing to pairs of toys that are read: all of it, very small."""

import json
from pathlib import Path

import pytest
from PIL import Image

from data_gen.toybox.models import images as pictures
from launch import clip, diffusion, reader
from launch.generate import main as generate

ROOT = Path(__file__).parents[2]
SCHEDULE = {"steps": 2, "batch_size": 4, "save_steps": 1, "log_steps": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """CLIP, reader and diffusion model, each made by its command and its own config."""
    folder = tmp_path_factory.mktemp("tiny")
    changes = {
        "clip": {"shape": {"image_px": 32, "vision_layers": 1, "text_layers": 1}, "held_out": 1},
        "reader": {"shape": {"image_px": 32, "widths": [8, 8]}, "held_out": 1},
        "diffusion": {"half_px": 32, "autoencoder": {"channels": 8, "latent_channels": 2},
                      "autoencoder_schedule": SCHEDULE,
                      "flow": {"width": 40, "heads": 2, "double_blocks": 1, "single_blocks": 1},
                      "flow_schedule": SCHEDULE},
    }
    programs = {"clip": clip.main, "reader": reader.main, "diffusion": diffusion.main}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "PER_FILE", 16)
        for name, change in changes.items():
            settings = {"out": str(folder / name), "pictures": 32, **change}
            settings |= {"cache": str(folder / "pictures")} if name != "clip" else {}
            settings |= {"schedule": SCHEDULE} if name != "diffusion" else {}
            config = folder / f"{name}.yaml"
            config.write_text(json.dumps(settings))
            patch.setattr("sys.argv", [name, "--config", str(config)])
            programs[name]()
    return folder


def test_what_is_shipped_is_there_with_its_recipe(made):
    assert {f.name for f in (made / "clip/model").iterdir()} >= {
        "open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json", "recipe.json"}
    assert json.loads((made / "clip/model/recipe.json").read_text())["measured"]["pictures"] == 0
    measured = json.loads((made / "reader/model/config.json").read_text())["measured"]
    assert measured["pictures"] == 32 and 0 <= measured["mean"] <= 1
    recipe = json.loads((made / "diffusion/model/recipe.json").read_text())
    assert recipe["arguments"]["flow"]["width"] == 40
    assert not list(made.rglob("*.bin")) and not list(made.rglob("*.pt"))


def test_pairs_are_drawn_judged_and_read(made, monkeypatch, capsys):
    pipeline = {"weights": str(made / "diffusion/model"), "dtype": "float32", "call": {
        "num_inference_steps": 2, "max_sequence_length": 24}}
    quality = {"encoder": str(made / "clip/model"), "seam": None, "least": {}}
    generate(["--config", str(ROOT / "configs/data/diffusion_toy.yaml"), "--size", "32",
              "--out", str(made / "pairs"), "--counts", "{diptych: 6}", "--batch_size", "3",
              "--pipeline", json.dumps(pipeline), "--quality", json.dumps(quality)])
    assert "6 rows {'diptych': 6}" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [
        "reader", "--pairs", str(made / "pairs"), "--reader", str(made / "reader/model"),
        "--sheet", str(made / "sheet.png")])
    reader.main()
    report = json.loads(capsys.readouterr().out)
    assert report["pairs"] == 6 and 0 <= report["attributes"]["value"] <= 1
    with Image.open(made / "sheet.png") as sheet:
        assert sheet.height > 100


def test_a_set_without_toys_is_told(made, monkeypatch):
    monkeypatch.setattr("sys.argv", ["reader", "--pairs", str(made / "clip"), "--reader",
                                     str(made / "reader/model")])
    with pytest.raises(SystemExit, match="reader: .*no parquet file"):
        reader.main()
