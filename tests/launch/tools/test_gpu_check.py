"""`make gpu` on the toybox's policy: the real sections, at a size at which a CPU has them soon."""

import json
from dataclasses import replace

import pytest

from launch.tools import gpu_check
from launch.tools.gpu_check import main


@pytest.fixture
def out(tmp_path, monkeypatch, one_thread):
    """Where it writes; one case, of few tokens."""
    case = replace(gpu_check.CASES["tiny"]["box, dropout"], completion=3, prompt=60)
    monkeypatch.setitem(gpu_check.CASES, "tiny", {"box, dropout": case})
    return tmp_path / "check"


def check(out, *extra: str) -> tuple[int, str, dict]:
    """(exit status, Markdown, JSON) of a run."""
    status = main(["--shape", "tiny", "--rounds", "1", "--out", str(out), *extra])
    text = (out / "gpu_check.md").read_text()
    return status, text, json.loads((out / "gpu_check.json").read_text())


def test_every_section_says_what_it_found(out):
    sections = ["--sections", "device", "equality", "speed", "vllm"]
    status, text, found = check(out, *sections)
    assert status == 0 and found["failed"] == [], text
    assert found["device"]["versions"]["torch"] in text
    shared, apart = found["equality"]["logps"]
    assert 0 < shared < 1.25 * apart < 0.1 and found["equality"]["fused"]
    runs = found["speed"]["box, dropout"]
    assert all(runs[which]["seconds"]["reference"] > 0 for which in ("stock", "ours"))
    row = next(line for line in text.splitlines() if line.startswith("| 60 / 3 (box, dropout) |"))
    head = next(line for line in text.splitlines() if line.startswith("| prompt / completion |"))
    assert row.count("|") == head.count("|") and row.endswith("| not counted |")
    assert "vLLM is not installed" in text or found["vllm"]["text"] < 1e-3


def test_a_section_that_fails_stops_no_other_and_late_ones_do_not_begin(out, monkeypatch):
    def broken(*given):
        raise RuntimeError("CUDA error: no kernel image\nand much more")

    monkeypatch.setattr(gpu_check, "distances", broken)
    status, text, found = check(out, "--sections", "equality", "device")
    assert status == 1 and found["failed"] == ["equality"]
    assert "FAILED: RuntimeError: CUDA error: no kernel image\n" in text
    assert found["device"]["versions"]["python"] in text.split("## device")[1]
    status, text, _ = check(out, "--sections", "speed", "--minutes", "0")
    assert status == 0 and "Not begun: 0 minutes were over." in text


def test_the_3b_needs_a_gpu_and_sections_have_names(out, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    assert main(["--out", str(out)]) == 2
    assert "there is no GPU; give --shape tiny" in capsys.readouterr().err
    assert main(["--sections", "speeed", "--out", str(out)]) == 2
    assert "sections must be of device, equality, speed, vllm, zero2" in capsys.readouterr().err
    assert not out.exists()
