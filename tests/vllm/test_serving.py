"""An exported model behind vLLM's server, asked by the client of docs/serving.md."""

import base64
import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import redirect_stdout

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import launch.export
from rl.policy.loading import LoraSettings, load_policy
from tests.places import ROOT
from tests.vllm.engines import mixed_rows, need_vllm, save_tiny_qwen2_5

need_vllm()

TOKENS = 24
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "VLLM_NO_USAGE_STATS": "1"}
PROGRAM = """
import sys
import tests.vllm.cpu
tests.vllm.cpu.prepare()  # in the processes that it starts, too: they read this file
if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main
    sys.exit(main())
"""


def fenced(start: str) -> str:
    """The block of docs/serving.md that begins so."""
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(start)]
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(the adapter, the model made of it and its base, in fp32)."""
    place = tmp_path_factory.mktemp("export")
    base = save_tiny_qwen2_5(place / "base")
    mixed_rows(place / "rows")
    model, processor = load_policy(base, lora=LoraSettings(4, 8, 0.0))
    model.save_pretrained(place / "policy")
    processor.save_pretrained(place / "policy")
    file = place / "policy" / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    trained = {
        name: torch.randn(value.shape, generator=generator) if "lora_B" in name else value
        for name, value in load_file(file).items()
    }
    save_file(trained, file, metadata={"format": "pt"})
    words = ["--rows", place / "rows", "--out", place / "mine", "--dtype", "float32"]
    given = [place / "policy", *words, "--check_rows", "2", "--max_new_tokens", "4"]
    assert launch.export.main([str(word) for word in given]) == 0
    return place / "policy", place / "mine"


@pytest.fixture(scope="module")
def port(exported, tmp_path_factory):
    """Of the server, which the command of the docs starts."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        number = free.getsockname()[1]
    name, verb, _, *options = shlex.split(fenced("vllm serve"))
    assert (name, verb, options[-2]) == ("vllm", "serve", "--port")
    options[-1] = str(number)
    on_a_cpu = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    place = tmp_path_factory.mktemp("server")
    log, program = place / "log", place / "program.py"
    program.write_text(PROGRAM)
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, program, verb, str(exported[1]), *options, *on_a_cpu],
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 900
        while not _answers(number):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()[-6000:]
            time.sleep(1)
        yield number
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=5) as reply:
            return reply.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_docs_client_gets_what_the_adapter_answers(exported, port, tmp_path, monkeypatch):
    for name, colour in (("bo", "brown"), ("mia", "grey"), ("query", "teal")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    code = fenced("import base64").replace(":8000/", f":{port}/")
    assert "max_tokens=256" in code
    said, scope = io.StringIO(), {}
    with redirect_stdout(said):
        exec(code.replace("max_tokens=256", f"max_tokens={TOKENS}"), scope)

    images = [Image.open(f"{name}.jpg").convert("RGB") for name in ("bo", "mia", "query")]
    texts = re.findall(r'text\("(.*?)"\)', code)
    parts = [{"type": "image"} if i % 2 == 0 else {"type": "text"} for i in range(6)]
    for part, words in zip(parts[1::2], texts, strict=True):
        part["text"] = words
    wanted = {}
    for name, path in (("adapter", exported[0]), ("base", exported[0].parent / "base")):
        model, processor = load_policy(path)
        asked = processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        inputs = processor(text=[asked], images=[images], return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=TOKENS)
        new = ids[0, inputs["input_ids"].size(1) :]
        wanted[name] = processor.decode(new, skip_special_tokens=True)
        reply = scope["reply"]
        assert reply.usage.prompt_tokens == inputs["input_ids"].size(1)  # expanded once
    assert said.getvalue().rstrip("\n") == wanted["adapter"].rstrip("\n")
    assert wanted["adapter"] != wanted["base"] and len(wanted["adapter"]) > 10


def test_the_server_takes_as_many_pictures_as_it_was_told(port):
    """Nine where the docs' command allows eight are refused with a sentence, not cut."""
    made = io.BytesIO()
    Image.new("RGB", (64, 64)).save(made, "PNG")
    data = base64.b64encode(made.getvalue()).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    body = {"model": "mine", "messages": [{"role": "user", "content": [picture] * 9}]}
    request = urllib.request.Request(
        f"http://localhost:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    assert refused.value.code == 400
    assert "At most 8 image(s)" in refused.value.read().decode()
