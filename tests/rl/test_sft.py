"""What supervised training imitates, and of which tokens the loss is made."""

import json

import pytest
import torch
from datasets import Dataset, Features, Value
from transformers import TrainingArguments
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from data_gen.rows import FEATURES, read_rows, write_rows
from data_gen.toybox.rows import ToyboxSettings, toybox_rows
from rewards.names import find_names
from rl.policy.boxes import add_box_frame
from rl.policy.loading import load_policy
from rl.settings import StartupError
from rl.sft import (
    Decisive,
    SFTTrainer,
    SupervisedSettings,
    examples,
    mixed,
    target_of,
)
from tests.tiny import save_tiny_policy, tiny_rows


def dataset(rows: list[dict]) -> Dataset:
    extra = {"target": Value("string")} if "target" in rows[0] else {}
    return Dataset.from_list(
        [{c: row[c] for c in (*FEATURES, *extra)} for row in rows],
        features=Features({**FEATURES, **extra}),
    )


def toys(n: int = 8, **settings) -> list[dict]:
    counts = {"object_consistency": n, "visual_localization": n, "identity_consistency": n}
    return list(
        toybox_rows(
            counts,
            5,
            ToyboxSettings(
                targets=True,
                named_share=1.0,
                expected={1: 0.6, 2: 0.4},
                reference_px=32,
                query_px=64,
                **settings,
            ),
        )
    )


def test_boxes_are_written_in_the_frame_of_the_policy():
    row = {"box": [0.25, 0.5, 0.5, 1.0], "answer": None}
    for frame, box in (
        ([64.0, 32.0], [16, 16, 32, 32]),
        ([1000.0, 1000.0], [250, 500, 500, 1000]),
        ([1.0, 1.0], [0.25, 0.5, 0.5, 1.0]),
    ):
        assert json.loads(target_of({**row, "box_frame": frame})) == {"bbox_2d": box}


def test_answers_are_the_truth_and_captions_name_everybody_due(tmp_path):
    _, processor = load_policy(save_tiny_policy(tmp_path))
    found = add_box_frame(dataset(toys()), processor, "qwen2_5_vl")
    for row in found:
        text = target_of(row)
        if row["task"] == "object_consistency":
            assert text == row["answer"]
        elif row["task"] == "visual_localization":
            # The toybox draws at the size at which this policy looks: its own targets say the same.
            assert json.loads(text) == json.loads(row["target"])
        else:
            written = find_names(text, {*row["names"], *row["absent_names"]})
            assert written.written == set(row["names"]) and not written.unlisted
    assert target_of({"box": None, "answer": None}) is None
    assert target_of({"box": None, "answer": None, "target": " "}) is None


def test_reasons_are_imitated_with_their_answer_where_there_are_any():
    row = {"box": None, "answer": "A", "target": "<think>...</think><answer>A</answer>"}
    assert target_of(row) == row["target"]
    assert target_of({**row, "target": None}) == target_of({**row, "target": " "}) == "A"


def test_the_loss_is_of_the_answers_alone(tmp_path):
    """Other words in the prompt, behind the same logits, cannot change it: only answers count."""
    model, processor = load_policy(save_tiny_policy(tmp_path))
    rows = add_box_frame(dataset(toys(3)), processor, "qwen2_5_vl")
    collate = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    batch = collate([examples(rows)[i] for i in range(len(rows))])
    for i, row in enumerate(rows):
        ids = batch["labels"][i][batch["labels"][i] != -100]
        said = processor.tokenizer.decode(ids, skip_special_tokens=True)
        assert said.strip() == target_of(row)
        assert processor.tokenizer.eos_token_id in ids
        # On the right of the answer there is nothing but padding: the trainer drops the mask.
        end = int(batch["attention_mask"][i].sum())
        assert batch["attention_mask"][i, :end].all()

    trainer = SFTTrainer(
        model=model, args=TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to=[])
    )
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
        logits = model(**{k: v for k, v in batch.items() if k != "labels"}).logits[:, :-1]
    labels = batch["labels"][:, 1:]
    per_token = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels, reduction="none", ignore_index=-100
    )
    lengths = (labels != -100).sum(1)
    want = (per_token.sum(1) / lengths.sqrt()).sum() / lengths.sqrt().sum()
    torch.testing.assert_close(loss, want, atol=1e-5, rtol=1e-5)

    ends = processor.tokenizer.eos_token_id
    trainer.weigh = lambda tokens: torch.where(tokens == ends, 3.0, 1.0)
    with torch.no_grad():
        loss = trainer.compute_loss(model, dict(batch))
    weights = (labels != -100) * torch.where(labels == ends, 3.0, 1.0) / lengths.sqrt()[:, None]
    torch.testing.assert_close(loss, (weights * per_token).sum() / weights.sum())


def test_tokens_that_decide_weigh_more_and_no_others(tmp_path):
    _, processor = load_policy(
        save_tiny_policy(tmp_path / "tiny"), freeze_vision=False, freeze_projector=False
    )
    tokenizer = processor.tokenizer
    text = "style: A mosaic 1, B pixel art 15\n<answer>B</answer>"
    tokens = torch.tensor(tokenizer.encode(text, add_special_tokens=False))
    weights = Decisive(tokenizer, r"(?<= )\d+|(?<=>)[AB]", 8)(tokens)

    def heavy(tokens, weights):
        return "".join(tokenizer.decode([t]) for t in tokens[weights == 8]).replace(" ", "")

    assert heavy(tokens, weights) == "115B"
    assert set(weights.tolist()) == {1.0, 8.0}
    # Of several answers one after the other each is weighed as it is alone.
    both = torch.cat([tokens, torch.tensor([tokenizer.eos_token_id]), tokens])
    of_both = Decisive(tokenizer, r"(?<= )\d+|(?<=>)[AB]", 8)(both)
    assert of_both[: len(tokens)].equal(weights) and of_both[len(tokens) + 1 :].equal(weights)
    assert Decisive(tokenizer, "nowhere", 8)(tokens).eq(1).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decisive": "(yes", "decisive_weight": 2}, "is no regular expression"),
        ({"decisive_weight": 2}, "weighs no tokens"),
        ({"decisive": "yes", "decisive_weight": 0}, "must be a number above 0"),
        ({"decisive": "yes", "decisive_weight": float("nan")}, "must be a number above 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(settings, said):
    with pytest.raises(StartupError, match=said):
        SupervisedSettings(name="run", rows="rows", policy="toybox_base", **settings)


def test_general_rows_have_their_share(tmp_path):
    rows, general = dataset(tiny_rows(12)), dataset(tiny_rows(2, seed=9))
    both = mixed(rows, general, 0.25)
    assert len(both) == 16 and both["id"][:12] == rows["id"][:]
    assert both["id"][12:] == [*general["id"], *general["id"]]
    assert mixed(rows, None, 0.25) is rows and mixed(rows, general, 0) is rows


def test_read_rows_keeps_what_is_to_be_imitated(tmp_path):
    write_rows(
        toys(2),
        tmp_path / "rows",
        seed=0,
        generator="test",
        extra_features={"target": Value("string")},
    )
    assert all(read_rows(tmp_path / "rows")["target"])
