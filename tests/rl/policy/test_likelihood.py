import pytest
import torch

from data_gen.rows import OCT
from data_gen.toybox.rows import ToyboxSettings, toybox_row
from rl.policy.likelihood import answer_tokens, option_log_likelihoods, yes_probabilities
from rl.policy.loading import load_policy
from tests.tiny import tiny_rows


@pytest.fixture(scope="module")
def policy(policy_path):
    return load_policy(policy_path)


def test_yes_probabilities_are_the_forward_passs_own_and_do_not_depend_on_the_batch(policy):
    model, processor = policy
    rows = [toybox_row(OCT, i, 0, ToyboxSettings()) for i in range(5)]
    found = yes_probabilities(model, processor, rows, batch_size=2)
    assert len(set(found)) == 5
    yes, no = answer_tokens(processor.tokenizer)
    for row, p in zip(rows, found, strict=True):
        text = processor.apply_chat_template([row["prompt"]], add_generation_prompt=True)
        inputs = processor(text=text, images=[row["images"]], return_tensors="pt")
        with torch.inference_mode():
            last = model(**inputs).logits[0, -1].softmax(-1)
        assert p == pytest.approx(
            float(last[yes].sum() / (last[yes].sum() + last[no].sum())), abs=1e-5
        )


def test_tokens_of_the_answers_are_told_apart(policy):
    tokenizer = policy[1].tokenizer
    yes, no = answer_tokens(tokenizer)
    assert {tokenizer.decode(i).strip().lower() for i in yes} == {"yes"}
    assert {tokenizer.decode(i).strip().lower() for i in no} == {"no"}


def test_likelihoods_of_a_real_model(policy):
    """Against the model asked one token at a time, one option at a time."""
    model, processor = policy
    tokenizer = processor.tokenizer
    row = tiny_rows(3)[0]
    options = ["yes", "no", "a red box in this picture"]
    together = option_log_likelihoods(model, processor, row, options)
    for text, (total, tokens) in zip(options, together, strict=True):
        prompt = processor.apply_chat_template([row["prompt"]], add_generation_prompt=True)[0]
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokens == len(ids)
        log_p = 0.0
        for k, token in enumerate(ids):
            inputs = processor(
                text=[prompt + tokenizer.decode(ids[:k])],
                images=[row["images"]],
                add_special_tokens=False,
                return_tensors="pt",
            )
            with torch.inference_mode():
                last = model(**inputs).logits[0, -1].log_softmax(-1)
            log_p += float(last[token])
        assert total == pytest.approx(log_p, abs=1e-3)
