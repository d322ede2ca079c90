"""Prompts before and after their images are expanded, in every family."""

import pytest
from trl.data_utils import prepare_multimodal_messages

from data_gen.rows import read_rows
from rl.policy.loading import load_processor
from rl.sampler import plain_row
from rl.vllm.prompts import first_difference, images_of, unexpanded_ids
from tests.rl.families import save_tiny_idefics, save_tiny_llava, save_tiny_qwen3
from tests.tiny import save_tiny_policy, save_tiny_rows

FAMILIES = (save_tiny_policy, save_tiny_qwen3, save_tiny_llava, save_tiny_idefics)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """With two images, with three, and without any."""
    rows = read_rows(save_tiny_rows(tmp_path_factory.mktemp("rows"), 3, text_only=1))
    rows = [plain_row(row) for row in rows]
    return [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]


@pytest.mark.parametrize("save", FAMILIES, ids=lambda save: save.__name__.removeprefix("save_"))
def test_expanding_what_is_unexpanded_gives_the_trainers_ids(save, prompts, tmp_path):
    """The processor replaces each placeholder by some text of its own; the same is done here by
    hand, with the ids alone."""
    processor = load_processor(save(tmp_path / "policy"))
    image = processor.image_token_id
    for prompt in prompts:
        whole = processor.apply_chat_template(
            [prompt], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        short = unexpanded_ids(processor, prompt)
        assert short.count(image) == images_of(prompt)
        pictures = [
            part["image"]
            for message in prompt
            for part in message["content"]
            if part["type"] == "image"
        ]
        again, taken = [], iter(pictures)
        for token in short:
            if token != image:
                again.append(token)
                continue
            text = processor.image_token
            alone = processor(text=[text], images=[[next(taken)]])["input_ids"][0]
            again += alone
        assert again == whole
        assert (len(short) < len(whole)) == bool(pictures)


def test_the_first_token_is_added_once(tmp_path):
    """A template that writes it, and one that leaves it to the tokenizer."""
    processor = load_processor(save_tiny_policy(tmp_path / "policy"))
    prompt = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    plain = unexpanded_ids(processor, prompt)
    tokenizer = processor.tokenizer
    tokenizer.bos_token = "<|endoftext|>"
    first = tokenizer.bos_token_id
    template = processor.chat_template
    for chosen in ("{{ '<|endoftext|>' }}" + template, template):
        processor.chat_template = chosen
        wanted = processor.apply_chat_template(
            [prompt], add_generation_prompt=True, tokenize=True, return_dict=True
        )["input_ids"][0]
        found = unexpanded_ids(processor, prompt)
        assert found == wanted
        assert found.count(first) == (chosen != template)
    assert unexpanded_ids(processor, prompt, chat_template=template) == plain


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ([[1, 2], [3]], [[1, 2], (3,)], None),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], "token 1 of prompt 1 is 4 in the trainer and 5 in vL"),
        ([[1, 2, 2]], [[1, 2]], "prompt 0 has 3 tokens in the trainer and 2 in vLLM"),
    ],
)
def test_what_differs_is_said(ours, theirs, said):
    found = first_difference(ours, theirs)
    assert (found or "").startswith(said or "") and (found is None) == (said is None)


def test_images_are_counted_in_all_messages():
    text = {"type": "text", "text": "x"}
    assert images_of([{"role": "user", "content": "plain"}]) == 0
    assert (
        images_of(
            [
                {"role": "system", "content": [text]},
                {"role": "user", "content": [{"type": "image"}, text, {"type": "image"}]},
                {"role": "user", "content": [{"type": "image"}]},
            ]
        )
        == 3
    )
