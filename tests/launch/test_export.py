"""Export: what is written answers as the adapter did, and loads in plain transformers."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import launch.export as program
from data_gen.rows import read_rows
from rl.exporting.merging import Replies, compare
from rl.policy.generation import complete
from rl.policy.loading import LoraSettings, load_policy
from rl.sampler import plain_row

ROW = {"task": "t", "box": None, "box_frame": None, "answer": None, "names": ["bo"]}
ROW |= {"absent_names": ["kit"]}
BOX = ROW | {"task": "visual_localization", "box": [0.0, 0.0, 0.5, 0.5], "box_frame": [100, 100]}


@pytest.fixture(scope="module")
def adapter(tiny, tmp_path_factory):
    """A LoRA adapter that does something: as a run leaves it."""
    run = tmp_path_factory.mktemp("run")
    model, processor = load_policy(tiny["policy"], lora=LoraSettings(4, 8, 0.0))
    model.save_pretrained(run / "policy")
    processor.save_pretrained(run / "policy")
    file = run / "policy" / "adapter_model.safetensors"
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.03 if "lora_B" in name else value
        for name, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})
    (run / "config.resolved.yaml").write_text(
        f"name: mine\npolicy: {tiny['policy']}\nlora_r: 4\nhub_token: hf_abcdefghijklmnopq\n"
        f"reward_settings: {{preference: {{files: [{tiny['policy']}]}}}}\n"
    )
    return run / "policy"


def given(tiny, policy, out, *extra) -> list[str]:
    common = [] if "--check_rows" in extra else ["--check_rows", "9", "--max_new_tokens", "12"]
    place = ["--rows", str(tiny["rows"]), "--out", str(out), "--device", "cpu"]
    return [str(policy), *place, *common, *extra]


@pytest.mark.usefixtures("one_thread")
def test_merged_in_fp32_it_is_the_same_model_in_plain_transformers(tiny, adapter, tmp_path, capsys):
    out = tmp_path / "out"
    assert program.main(given(tiny, adapter, out, "--dtype", "float32")) == 0
    said = capsys.readouterr().out
    assert f"wrote {out}/" in said and f"next: vllm serve {out}" in said

    plain = AutoModelForImageTextToText.from_pretrained(out, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(out)
    unmerged, ours = load_policy(adapter)
    rows = [plain_row(row) for row in read_rows(tiny["rows"]).select(range(3))]
    text = processor.apply_chat_template([rows[0]["prompt"]], add_generation_prompt=True)
    inputs = processor(text=text, images=[rows[0]["images"]], return_tensors="pt")
    with torch.inference_mode():
        merged, before = plain(**inputs).logits, unmerged(**inputs).logits
        with unmerged.disable_adapter():
            base = unmerged(**inputs).logits
    torch.testing.assert_close(merged, before, atol=1e-5, rtol=1e-5)
    assert (base - before).abs().max() > 0.01  # the adapter does something
    assert complete(plain, processor, rows, 12) == complete(unmerged, ours, rows, 12)

    names = {path.name for path in out.iterdir()}
    assert {"config.json", "generation_config.json", "tokenizer_config.json", "README.md"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl"))]
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card and "| merged in fp32 |" in card
    assert "hf_abc" not in card and str(tiny["policy"].parent) not in card


@pytest.mark.usefixtures("one_thread")
def test_rounded_weights_are_compared_as_they_lie_on_the_disk(tiny, adapter, tmp_path, capsys):
    out = tmp_path / "out"
    assert program.main(given(tiny, adapter, out)) == 0
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    differ = {line[0].strip(): float(line[1]) for line in lines if "float" in str(line[:1])}
    (exact,) = [float(line[1]) for line in lines if line and "merged in fp32" in line[0]]
    assert exact < 1e-5 < differ["written as bfloat16"]  # rounding is what changes it
    written = AutoModelForImageTextToText.from_pretrained(out, dtype="auto")
    assert written.dtype == torch.bfloat16


def test_a_merge_that_changes_answers_is_refused_unless_told():
    rows = [ROW | {"id": "a"}, ROW | {"id": "b", "answer": "yes"}]
    before = Replies(["This is <bo>.", "yes"], [-0.5, -0.1])
    after = Replies(["<bo> is red.", "no"], [-0.75, -0.1])
    found = compare(rows, before, after, program.said)
    assert (found.logp, found.same, found.changed) == (0.25, 0.0, [("b", "yes", "no")])
    settings = program.ExportSettings(policy="p", out="o", rows="r")
    with pytest.raises(
        ValueError,
        match="rounded to bfloat16, the policy answers 1 of 2 rows otherwise .row 'b': 'yes' became"
        " 'no'.; nothing was written: give --dtype float16 or float32",
    ):
        program.refuse_changes(settings, found, 2)
    program.refuse_changes(replace(settings, accept_changes=True), found, 2)
    program.refuse_changes(settings, compare(rows, before, before, program.said), 2)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--dtype", "int8"], "dtype is 'int8'; it must be one of bfloat16, float16, float32"),
        (["--check_rows", "0"], "check_rows is 0; it must be at least 1"),
        (["--out", "."], ". is there already; give another --out"),
        (["--public", "true"], "give --push OWNER/NAME"),
        (["--push", "mine"], "push is 'mine'; it must be OWNER/NAME"),
        (["--push", "a/b/c"], "push is 'a/b/c'; it must be OWNER/NAME"),
        (["--push", "me/mine"], "push needs a token of the hub: `hf auth login`, or set HF_TOKEN"),
    ],
)
def test_mistakes_are_refused_before_weights_load(
    tiny, tmp_path, monkeypatch, capsys, changed, said
):
    monkeypatch.setattr(program, "get_token", lambda: None)
    monkeypatch.setattr(program.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(program, "load_policy", lambda *_, **__: pytest.fail("weights were loaded"))
    args = given(tiny, tiny["policy"], tmp_path / "out")
    if changed[0] in args:
        args[args.index(changed[0]) + 1] = changed[1]
    else:
        args += changed
    assert program.main(args) == 2
    assert said in capsys.readouterr().err


def test_offline_nothing_is_pushed(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program.constants, "HF_HUB_OFFLINE", True)
    assert program.main(given(tiny, tiny["policy"], tmp_path / "out", "--push", "me/mine")) == 2
    assert "push needs the hub, and HF_HUB_OFFLINE is set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "before", "after", "same"),
    [
        (ROW, "This is <bo> on a chair.", "<bo> sits on a red chair.", True),
        (ROW, "This is <bo>.", "This is <kit>.", False),
        (ROW, "This is <bo>.", "This is <bo> with <zed>.", False),
        (ROW, "A toy.", "This is <bo>.", False),
        (ROW | {"answer": "yes"}, "Yes", " yes ", True),
        (ROW | {"answer": "yes"}, "yes", "no", False),
        (BOX, '{"bbox_2d": [0, 0, 50, 50]}', '{"bbox_2d": [1, 0, 50, 49]}', True),
        (BOX, '{"bbox_2d": [0, 0, 50, 50]}', '{"bbox_2d": [50, 50, 90, 90]}', False),
    ],
)
def test_what_a_reply_says(row, before, after, same):
    assert (program.said(row, before) == program.said(row, after)) == same


def test_recall_is_of_expected_names_alone():
    rows = [ROW, ROW | {"names": ["bo", "kit"]}, ROW | {"answer": "yes"}, ROW | {"names": []}]
    texts = ["<bo>", "<kit> alone", "<bo>", "nobody"]
    assert program.recall(rows, texts) == pytest.approx(2 / 3)
    assert program.recall(rows[2:], texts[2:]) is None
