import json

import pytest

from benchmarks.harness.predictions import predict, row_digest
from benchmarks.harness.systems import check_policy, fingerprint, parse_policies
from rl.policy.boxes import box_frames
from rl.policy.generation import generate
from tests.tiny import tiny_rows


@pytest.fixture(scope="module")
def rows():
    """Rows of one to two references, and two without pictures."""
    return tiny_rows(9, text_only=2)


def options(**changes):
    return {"fingerprint": "p", "max_new_tokens": 6, "batch_size": 4, **changes}


def must_not_load():
    raise AssertionError("nothing to ask, so nothing to load")


def test_a_batch_says_what_one_row_alone_says(policy, rows):
    model, processor = policy
    together = generate(model, processor, rows, max_new_tokens=6, batch_size=5)
    alone = [generate(model, processor, [row], max_new_tokens=6, batch_size=1)[0] for row in rows]
    assert together == alone
    assert len({text for text, _ in together}) > 1  # else the order would not show
    assert all(0 <= n <= 6 for _, n in together)


def test_order_does_not_depend_on_length(policy, rows):
    model, processor = policy
    forward = generate(model, processor, rows, max_new_tokens=4, batch_size=3)
    backward = generate(model, processor, rows[::-1], max_new_tokens=4, batch_size=3)
    assert forward == backward[::-1]


def test_length_leaves_the_end_out(policy, rows):
    model, processor = policy
    eos = processor.tokenizer.eos_token_id
    first = model.generation_config.eos_token_id
    counted = []

    class Ended:
        """A model that says three tokens, the end, and padding."""

        config, generation_config, device = model.config, model.generation_config, model.device

        def eval(self):
            return self

        def generate(self, input_ids, **_):
            import torch

            words = processor.tokenizer("yes no yes")["input_ids"]
            pad = processor.tokenizer.pad_token_id
            counted.append(len(words))
            new = torch.tensor([words + [eos, pad, pad]] * len(input_ids))
            return torch.cat([input_ids, new], dim=1)

    text, length = generate(Ended(), processor, rows[:1], max_new_tokens=9, batch_size=1)[0]
    assert (text, length) == ("yes no yes", counted[0]) and first == eos


def test_vision_tokens_are_never_written(policy, rows):
    model, processor = policy
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    seen = []
    plain = model.generate

    def spy(**kwargs):
        seen.append(kwargs)
        return plain(**kwargs)

    model.generate = spy
    try:
        generate(model, processor, rows[:1], max_new_tokens=1, batch_size=1)
    finally:
        del model.generate
    assert image in seen[0]["suppress_tokens"] and seen[0]["do_sample"] is False


def test_predictions_are_kept_and_used_again(policy, rows, tmp_path):
    path = tmp_path / "base" / "set.jsonl"
    first = predict(lambda: policy, rows, path, **options(wants_box=True))
    assert [p.id for p in first] == [row["id"] for row in rows]
    assert predict(must_not_load, rows, path, **options(wants_box=True)) == first
    assert first[1].box_frame == [64.0, 64.0] and first[-1].box_frame is None  # no picture

    # A kill: two lines gone and one torn.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]) + "\n" + lines[-3][:20])
    asked = []
    again = predict(lambda: asked.append(1) or policy, rows, path, **options(wants_box=True))
    assert again == first and asked == [1]
    assert len(path.read_text().splitlines()) == len(rows)

    # A subset, and then the whole: nothing is lost.
    assert predict(must_not_load, rows[:2], path, **options(wants_box=True)) == first[:2]
    predict(lambda: policy, rows[:2], path, **options(wants_box=True, fingerprint="q"))
    assert len(path.read_text().splitlines()) == len(rows)


@pytest.mark.parametrize("change", [
    {"fingerprint": "q"}, {"max_new_tokens": 5}, {"rows": "other question"}])
def test_another_policy_limit_or_row_is_asked_anew(policy, rows, tmp_path, change):
    path = tmp_path / "set.jsonl"
    predict(lambda: policy, rows[:2], path, **options())
    changed = [dict(row) for row in rows[:2]]
    if change.pop("rows", None):
        changed[0]["prompt"] = [{"role": "user", "content": [
            *changed[0]["prompt"][0]["content"], {"type": "text", "text": "Really?"}]}]
    asked = []
    predict(lambda: asked.append(1) or policy, changed, path, **options(**change))
    assert asked == [1]


def test_digest_sees_pictures(rows):
    other = {**rows[0], "images": rows[0]["images"][::-1]}
    assert row_digest(rows[0]) == row_digest(dict(rows[0])) != row_digest(other)


def test_frames(policy, rows):
    model, processor = policy
    assert box_frames(model, processor, rows[:2]) == [[64.0, 64.0]] * 2
    assert box_frames(model, processor, rows[:1], "thousand") == [[1000.0, 1000.0]]


def test_policies_are_named_and_checked(policy_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/policy", "b/policy"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    found = parse_policies(["base=a/policy", "b/policy"])
    assert [(p.label, p.path) for p in found] == [("base", "a/policy"), ("b/policy", "b/policy")]
    assert [p.label for p in parse_policies(["a/policy", "b/policy"])] == ["a/policy", "b/policy"]
    with pytest.raises(ValueError, match="two policies are called 'x'"):
        parse_policies(["x=a/policy", "x=b/policy"])
    with pytest.raises(ValueError, match="two policies"):
        parse_policies(["a/policy", "a/policy"])
    with pytest.raises(ValueError, match="no policy"):
        parse_policies([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"holds neither config\.json"):
        check_policy("empty")
    for missing in ("./nowhere", "/no/where/at/all", "runs/a/b/policy"):
        with pytest.raises(ValueError, match="there is no such directory"):
            check_policy(missing)


def test_fingerprints_follow_content(policy_dir, tmp_path):
    import shutil

    copy = shutil.copytree(policy_dir, tmp_path / "copy")
    assert fingerprint(str(copy)) == fingerprint(str(policy_dir))
    (copy / "README.md").write_text("a model card")
    assert fingerprint(str(copy)) == fingerprint(str(policy_dir))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    changed = fingerprint(str(copy))
    assert changed != fingerprint(str(policy_dir))

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps(
        {"base_model_name_or_path": str(copy), "peft_type": "LORA"}))
    before = fingerprint(str(adapter))
    weights.write_bytes(weights.read_bytes()[:-1] + b"y")
    assert fingerprint(str(adapter)) != before  # the base changed
