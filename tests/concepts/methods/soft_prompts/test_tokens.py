"""Tokens outside of the tables do what rows in them would do; the policy stays as it was."""

import copy

import pytest
import torch

from concepts.methods.soft_prompts.tokens import SoftTokens, frozen
from data_gen.files.errors import InputError
from rl.policy.generation import complete
from rl.policy.loading import LoraSettings, load_policy
from tests.rl.families import save_tiny_gemma, save_tiny_llava, save_tiny_qwen3
from tests.tiny import save_tiny_policy

WORDS = [["<bo>", "<bo/1>", "<bo/2>"], ["<mia>", "<mia/1>", "<mia/2>"]]
SAVE = {
    "qwen2.5": save_tiny_policy,
    "qwen3": save_tiny_qwen3,
    "llava": save_tiny_llava,  # its head is not tied
    "gemma": save_tiny_gemma,  # its embedding is scaled
}


@pytest.fixture(scope="module", params=SAVE)
def policy(request, tmp_path_factory):
    return load_policy(SAVE[request.param](tmp_path_factory.mktemp(request.param) / "policy"))


def vectors(model, rows=3, seed=0):
    width = model.get_input_embeddings().weight.size(1)
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def text_inputs(processor, *texts):
    return processor.tokenizer(list(texts), padding=True, return_tensors="pt")


@torch.no_grad()
def test_logits_equal_those_of_a_policy_with_longer_tables(policy):
    """The tables of a second copy are resized, and hold the vectors as rows."""
    model, processor = policy
    longer = copy.deepcopy(model)
    tokens = SoftTokens(processor, WORDS)
    inputs, outputs = (
        [vectors(model, seed=i) for i in (0, 1)],
        [vectors(model, 3, i) for i in (2, 3)],
    )
    asked = text_inputs(
        tokens.processor, "<bo> is <bo/1><bo/2>. <mia> is <mia/1><mia/2>. Is it <bo>?"
    )
    with tokens.in_model(model, inputs, outputs):
        found = model(**asked).logits
    tied = longer.get_output_embeddings().weight is longer.get_input_embeddings().weight
    longer.resize_token_embeddings(len(tokens.processor.tokenizer), mean_resizing=False)
    flat = [i for of in tokens.ids for i in of]
    scale = getattr(longer.get_input_embeddings(), "embed_scale", torch.tensor(1.0))
    longer.get_input_embeddings().weight[flat] = torch.cat(inputs) / scale
    if tied:  # one table: the columns are scored by hand
        hidden = longer(**asked, output_hidden_states=True).hidden_states[-1]
        expected = hidden @ torch.cat(outputs).T
    else:
        longer.get_output_embeddings().weight[flat] = torch.cat(outputs)
        expected = longer(**asked).logits[..., flat]
    torch.testing.assert_close(found[..., flat], expected, rtol=1e-4, atol=1e-4)
    old = len(processor.tokenizer)
    torch.testing.assert_close(
        found[..., :old], longer(**asked).logits[..., :old], rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_a_name_can_be_written_only_where_it_stands_in_the_prompt(policy):
    model, processor = policy
    tokens = SoftTokens(processor, WORDS)
    both = [vectors(model, seed=i) for i in (0, 1)]
    asked = text_inputs(tokens.processor, "<bo> is <bo/1><bo/2>.", "Who is <mia> today?", "Who?")
    with tokens.in_model(model, both, [v[:1] for v in both]):
        last = model(**asked, logits_to_keep=1).logits[:, -1]
    names = last[:, [of[0] for of in tokens.ids]].isfinite().tolist()
    assert names == [[True, False], [False, True], [False, False]]
    learned = [i for of in tokens.ids for i in of[1:]]
    assert not last[:, learned].isfinite().any()  # without columns they are never written


def test_the_inside_of_a_tag_is_one_token_and_the_same_letters_elsewhere_are_not(policy):
    _, processor = policy
    tokenizer = SoftTokens(processor, [[*WORDS[0]], ["<Tomáš>"]]).processor.tokenizer
    text = "<Tomáš> is about as bold as <bo>, <bob> or bo; <bo/1>"
    read = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(read) == processor.tokenizer.decode(
        processor.tokenizer.encode(text, add_special_tokens=False)
    )
    assert len(tokenizer.encode("<bo>", add_special_tokens=False)) == 3
    learned = [i for i in read if i >= len(processor.tokenizer)]
    assert len(learned) == len(set(learned)) == 3


def test_a_tokenizer_that_cannot_be_taught_names_is_refused(policy):
    _, processor = policy
    slow = copy.copy(processor)
    slow.tokenizer = copy.copy(processor.tokenizer)
    slow.tokenizer.__class__ = type("Slow", (type(processor.tokenizer),), {"is_fast": False})
    with pytest.raises(InputError, match="Slow is no tokenizer of the library"):
        SoftTokens(slow, WORDS)


def test_a_name_is_generated_and_read_back_between_its_brackets(policy):
    model, processor = policy
    tokens = SoftTokens(processor, WORDS[:1])
    content = [{"type": "text", "text": "<bo> is <bo/1><bo/2>. Who?"}]
    row = {"prompt": [{"role": "user", "content": content}], "images": []}
    template = tokens.processor.apply_chat_template
    with torch.no_grad():  # a column that fits the last hidden state better than any other
        asked = text_inputs(tokens.processor, template(row["prompt"], add_generation_prompt=True))
        found = vectors(model)
        with tokens.in_model(model, [found], [found[:1]]):
            hidden = model(**asked, output_hidden_states=True).hidden_states[-1][0, -1]
    with tokens.in_model(model, [found], [1000 * hidden[None]]):
        (text, _), *_ = complete(model, tokens.processor, [row], 1)
    assert text == "bo"


def test_outside_of_the_context_the_policy_is_bit_for_bit_what_it_was(policy):
    model, processor = policy
    asked = text_inputs(processor, "Is <bo> in this picture?")
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        before = model(**asked).logits
        with SoftTokens(processor, WORDS).in_model(
            model, [vectors(model), vectors(model)], [vectors(model, 1)] * 2
        ):
            pass
        assert torch.equal(model(**asked).logits, before)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert "<bo>" not in processor.tokenizer.get_vocab()
    assert "forward" not in model.get_input_embeddings().__dict__


def test_below_adapters_gradients_reach_the_vectors_and_nothing_else(tmp_path):
    save_tiny_policy(tmp_path)
    model, processor = load_policy(tmp_path, lora=LoraSettings(r=2, dropout=0.5))
    model.train()
    tokens = SoftTokens(processor, WORDS[:1])
    inputs, outputs = vectors(model).requires_grad_(), vectors(model, 1, seed=1).requires_grad_()
    asked = text_inputs(tokens.processor, "<bo> is <bo/1><bo/2>. Is it <bo>?")
    with frozen(model):
        with tokens.in_model(model, [inputs], [outputs]):
            model(**asked).logits[:, -1].log_softmax(-1)[:, tokens.ids[0][0]].sum().backward()
        assert not model.training
    assert (inputs.grad != 0).any(1).all() and (outputs.grad != 0).all()
    assert all(p.grad is None for p in model.parameters())
    assert model.training and any(p.requires_grad for p in model.parameters())


def test_a_concept_cannot_take_the_name_of_a_token_of_the_policy(tmp_path):
    processor = load_policy(save_tiny_policy(tmp_path))[1]
    processor.tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    with pytest.raises(InputError, match="'image': <image> is a token of the policy"):
        SoftTokens(processor, [["<image>", "<image/1>"]])


def test_no_name_can_be_a_token_of_another_concept(tmp_path):
    processor = load_policy(save_tiny_policy(tmp_path))[1]
    with pytest.raises(InputError, match="'bo/1' beside another whose token <bo/1> is"):
        SoftTokens(processor, [["<bo>", "<bo/1>"], ["<bo/1>", "<bo/1/1>"]])
