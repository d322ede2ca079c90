"""RAP's recipe from start to end: rows with noise concepts, general rows, a few steps."""

import re

import pytest

import launch.generate
import launch.sft
from data_gen.rows import OCT, VLT, read_rows
from tests.launch.launching import log
from tests.places import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


def test_rows_with_noise_and_general_ones_are_trained_on(tiny, tmp_path, capsys):
    sizes = ["--reference_px", "16", "--query_px", "16"]
    counts = {
        "rap_toybox": "{object_consistency: 8, visual_localization: 8, identity_consistency: 8}",
        "rap_general": "{description: 6}",
    }
    for name, number in counts.items():
        config = ["--config", str(ROOT / "configs" / "data" / f"{name}.yaml")]
        out = ["--out", str(tmp_path / name), "--counts", number]
        launch.generate.main([*config, *out, *sizes])
    rows = read_rows(tmp_path / "rap_toybox")
    numbers = {
        len(images)
        for task, images in zip(rows["task"], rows["images"], strict=True)
        if task in (OCT, VLT)
    }
    assert numbers & {3, 4}, "noise concepts beside the one that is asked about"
    status = launch.sft.main(
        [
            *("--config", str(ROOT / "configs" / "sft" / "rap_toybox.yaml")),
            *(
                "--rows",
                str(tmp_path / "rap_toybox"),
                "--general_rows",
                str(tmp_path / "rap_general"),
            ),
            *("--policy", str(tiny["policy"]), "--output_root", str(tmp_path / "runs")),
            *("--max_steps", "3", "--logging_steps", "1", "--use_cpu", "true"),
        ]
    )
    assert status == 0
    assert re.search(
        r"24 of .*rap_toybox.*\n.*6 of .*rap_general mixed in", capsys.readouterr().out
    )
    losses = [entry["loss"] for entry in log(tmp_path / "runs" / "rap_toybox") if "loss" in entry]
    assert len(losses) == 3 and all(loss > 0 for loss in losses)
    assert (tmp_path / "runs" / "rap_toybox" / "policy" / "model.safetensors").exists()
