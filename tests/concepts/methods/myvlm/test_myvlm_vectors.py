"""Vectors behind the image's tokens: their place, their length, positions and cache."""

import pytest
import torch
from PIL import Image

from concepts.methods.myvlm.vectors import (
    attention_penalty,
    decoder_of,
    eager_attention,
    vectors_behind_image,
    with_places,
)
from data_gen.files.errors import InputError
from rl.policy.generation import complete
from rl.policy.likelihood import option_log_likelihoods
from rl.policy.loading import LoraSettings, load_policy, vision_token_ids
from tests.rl.families import save_tiny_llava, save_tiny_qwen3
from tests.tiny import save_tiny_policy

SAVE = {"qwen2.5": save_tiny_policy, "qwen3": save_tiny_qwen3, "llava": save_tiny_llava}
IMAGE, PAD, FILLER = 9, 0, 7


@pytest.fixture(scope="module", params=SAVE)
def policy(request, tmp_path_factory):
    path = SAVE[request.param](tmp_path_factory.mktemp(request.param) / "policy")
    model, processor = load_policy(path)
    return model.eval(), processor


def row(text="Describe it.", images=1, size=48):
    colours = ["red", "blue"][:images]
    content = [{"type": "image", "text": None} for _ in colours] + [{"type": "text", "text": text}]
    return {
        "prompt": [{"role": "user", "content": content}],
        "images": [Image.new("RGB", (size, size), colour) for colour in colours],
    }


def vector(model, seed=0):
    dim = decoder_of(model).get_input_embeddings().weight.shape[1]
    return torch.randn(dim, generator=torch.Generator().manual_seed(seed))


def batch(processor, rows):
    texts = processor.apply_chat_template([r["prompt"] for r in rows], add_generation_prompt=True)
    return processor(
        text=texts,
        images=[r["images"] for r in rows],
        add_special_tokens=False,
        padding=True,
        return_tensors="pt",
    )


# ---- where places are ----


def test_a_place_is_made_behind_the_last_image_and_shorter_rows_are_padded():
    ids = torch.tensor(
        [[0, 5, 9, 9, 3, 9, 9, 4], [5, 5, 5, 9, 9, 9, 9, 4], [1, 2, 3, 4, 5, 5, 5, 5]]
    )
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).long(), "grid": torch.ones(3, 3)}
    made, places = with_places(inputs, [2, 1, 0], IMAGE, PAD, FILLER)
    assert made["input_ids"].tolist() == [
        [0, 5, 9, 9, 3, 9, 9, 7, 7, 4],
        [0, 5, 5, 5, 9, 9, 9, 9, 7, 4],
        [0, 0, 1, 2, 3, 4, 5, 5, 5, 5],
    ]
    assert made["attention_mask"][1].tolist() == [0] + [1] * 9
    assert made["grid"] is inputs["grid"]
    assert (places.row.tolist(), places.at.tolist()) == ([0, 0, 1], [7, 8, 8])
    assert places.image.tolist() == [5, 5, 4] and places.width == 10


def test_a_row_without_an_image_takes_no_vector():
    with pytest.raises(InputError, match="has none"):
        with_places({"input_ids": torch.tensor([[1, 2]])}, [1], IMAGE, PAD, FILLER)


# ---- what the decoder reads ----


def test_the_decoder_reads_the_vector_with_the_length_of_an_image_token(policy):
    model, processor = policy
    rows, v = [row(), row("Say what it shows, at length.")], vector(model)
    read: dict[str, torch.Tensor] = {}

    def note(_, args, kwargs):
        for key in ("inputs_embeds", "position_ids"):
            if kwargs.get(key) is not None:
                read[key] = kwargs[key]

    with vectors_behind_image(model, processor, [v[None], torch.stack([v, -v])]) as placing:
        made = batch(placing, rows)
        # behind the vectors' own hook
        handle = decoder_of(model).register_forward_pre_hook(note, with_kwargs=True)
        model(**made)
        with_vectors, places = dict(read), placing.places
    model(**made)  # the same tokens, the filler's own embedding in the places
    handle.remove()
    embeds, plain = with_vectors["inputs_embeds"], read["inputs_embeds"]
    for k, (i, at, image) in enumerate(zip(places.row, places.at, places.image, strict=True)):
        sign = -1 if k == 2 else 1
        expected = sign * v / v.norm() * plain[i, image].norm()
        torch.testing.assert_close(embeds[i, at], expected)
    others = torch.ones(embeds.shape[:2], dtype=torch.bool)
    others[places.row, places.at] = False
    assert torch.equal(embeds[others], plain[others])
    if "position_ids" in read:  # as of any text token, in all of M-RoPE's axes
        assert torch.equal(with_vectors["position_ids"], read["position_ids"])
        at = with_vectors["position_ids"][..., places.row, places.at]
        before = with_vectors["position_ids"][..., places.row, places.at - 1]
        assert (at > before).any()


def test_only_the_direction_of_a_vector_counts(policy):
    model, processor = policy
    logits = []
    for scale in (1.0, 250.0):
        with vectors_behind_image(model, processor, [scale * vector(model)[None]]) as placing:
            logits.append(model(**batch(placing, [row()])).logits)
    torch.testing.assert_close(*logits)
    with vectors_behind_image(model, processor, [vector(model, 1)[None]]) as placing:
        assert not torch.allclose(logits[0], model(**batch(placing, [row()])).logits)


@torch.no_grad()
def test_generation_with_its_cache_equals_whole_forward_passes(policy):
    """Positions of the tokens that follow, and what was cached, are right."""
    model, processor = policy
    rows, vectors = [row(), row("And this one?", images=2)], [vector(model)[None]] * 2
    barred = vision_token_ids(model, processor)
    with vectors_behind_image(model, processor, vectors) as placing:
        made = batch(placing, rows)
        start = made["input_ids"].shape[1]
        written = model.generate(
            **made, max_new_tokens=5, min_new_tokens=5, do_sample=False, suppress_tokens=barred
        )[:, start:]
        inputs, shape = dict(made), made["input_ids"].shape
        of_tokens = [key for key, value in inputs.items() if value.shape == shape]
        end = model.generation_config.eos_token_id
        for k in range(5):
            logits = model(**inputs).logits[:, -1]
            logits[:, [*barred, end]] = -torch.inf
            new = logits.argmax(-1, keepdim=True)
            assert written[:, k].tolist() == new[:, 0].tolist()
            for key in of_tokens:
                ends = {"input_ids": new, "attention_mask": torch.ones_like(new)}
                more = ends.get(key, torch.zeros_like(new))
                inputs[key] = torch.cat([inputs[key], more], dim=1)


def test_options_are_scored_with_the_vector(policy):
    model, processor = policy
    options = ("yes", "no, it is not")
    found = []
    for seed in (0, 1):
        of = [vector(model, seed)[None]] * len(options)
        with vectors_behind_image(model, processor, of) as placing:
            found.append(option_log_likelihoods(model, placing, row(), options))
    assert found[0] != found[1]
    with (
        torch.no_grad(),
        vectors_behind_image(model, processor, [vector(model)[None]]) as placing,
    ):
        logits = model(**batch(placing, [row()])).logits[0, -1].log_softmax(-1)
    first = processor.tokenizer.encode("yes", add_special_tokens=False)
    if len(first) == 1:
        assert found[0][0][0] == pytest.approx(float(logits[first[0]]), abs=1e-4)


def test_without_the_context_the_policy_is_as_before(policy):
    model, processor = policy
    before = complete(model, processor, [row()], 6)
    logits = model(**batch(processor, [row()])).logits
    with vectors_behind_image(model, processor, [vector(model)[None]]) as placing:
        model(**batch(placing, [row()]))
    assert torch.equal(logits, model(**batch(processor, [row()])).logits)
    assert before == complete(model, processor, [row()], 6)


# ---- attention ----


def test_the_penalty_is_the_mean_square_of_the_attention_to_the_vector_or_of_its_own():
    ids = torch.tensor([[0, 9, 9, 4, 4]])
    _, places = with_places({"input_ids": ids}, [1], IMAGE, PAD, FILLER)  # at 3 of 6
    mask = torch.tensor([[0, 1, 1, 1, 1, 1]])
    weights = torch.zeros(1, 2, 6, 6)
    weights[0, 0, 4, 3], weights[0, 1, 5, 3] = 0.5, 0.4  # paid to the vector
    weights[0, 0, 3, 1] = 0.9  # paid by it
    weights[0, :, 0, 3] = 7.0  # padding, which counts for nothing
    column = attention_penalty([weights, weights], places, mask, "column")
    assert float(column) == pytest.approx(2 * (0.25 + 0.16) / 4)  # 2 layers; 2 tokens x 2 heads
    row_ = attention_penalty([weights], places, mask, "row")
    assert float(row_) == pytest.approx(0.81 / 6)  # 3 tokens x 2 heads


@pytest.mark.parametrize("lora", [False, True])
def test_the_decoders_attention_can_be_watched_and_its_way_comes_back(policy, lora, tmp_path):
    model, processor = policy
    if lora:
        from peft import get_peft_model

        model.save_pretrained(tmp_path / "base")
        processor.save_pretrained(tmp_path / "base")
        model, processor = load_policy(tmp_path / "base")
        model = get_peft_model(model, LoraSettings(r=2, alpha=4).config_for(model)).eval()
    config = decoder_of(model).config
    way, watched = config._attn_implementation, []
    with (
        torch.no_grad(),
        eager_attention(model),
        vectors_behind_image(model, processor, [vector(model)[None]], watched) as placing,
    ):
        made = batch(placing, [row()])
        model(**made)
    assert config._attn_implementation == way
    (layers,) = watched
    length = made["input_ids"].shape[1]
    assert len(layers) == 2 and layers[0].shape == (1, 4, length, length)
    torch.testing.assert_close(layers[0].sum(-1), torch.ones(1, 4, length))
