"""The tiny models load with their libraries' own loaders, and learn what they are trained on."""

import random
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from diffusers import AutoPipelineForText2Image
from PIL import Image

from benchmarks.toybox.generated_pairs import ClassifiedPair, draw_sheet, report
from data_gen.images.encoders import load_encoder
from data_gen.synthesis.object_texts import object_texts
from data_gen.synthesis.pair_maker import join_halves
from data_gen.toybox.identity import KINDS, draw_identity, from_number
from data_gen.toybox.models.attribute_classifier import (
    AttributeClassifier,
    ClassifierShape,
    classifier_accuracy,
    pair_halves,
    labels,
    load_attribute_classifier,
    classify_toys,
    classifier_loss,
    save_attribute_classifier,
)
from data_gen.toybox.models.autoencoder import (
    AutoencoderShape,
    build_autoencoder,
    encode_all,
    restoration,
    standardise,
)
from data_gen.toybox.models.clip import (
    ClipShape,
    build_clip,
    clip_caption,
    clip_loss,
    retrieval,
    save_clip,
)
from data_gen.toybox.models.diffusion import (
    FlowShape,
    build_pipeline,
    flow_loss,
    trained_parts,
)
from data_gen.toybox.models.images import (
    PER_FILE,
    drawn,
    drawn_pairs,
    drawn_scenes,
)
from data_gen.toybox.models.tokenizer import UNKNOWN, toybox_words, word_tokenizer
from data_gen.toybox.pairs import draw_pair, item_words, pair_words, read_item
from launch.generate import read
from tests.data_gen.tiny_pipelines import LENGTH, save_flux

ROOT = Path(__file__).parents[2]
TINY = ClipShape(image_px=32, vision_width=32, vision_layers=1, text_width=32, text_layers=1,
                 embed=16)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return drawn_pairs(tmp_path_factory.mktemp("pairs"), 1, 32, 0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return drawn_scenes(tmp_path_factory.mktemp("scenes"), 1, 32, 0, {0: 1, 1: 1, 2: 1})


# ---- pictures and words ----


def test_pairs_show_one_toy_twice_and_their_words_can_be_read():
    for i in range(30):
        rng = random.Random(i)
        identity = draw_identity(rng, held_out=False)
        pair = draw_pair(rng, identity, 32)
        assert pair.image.size == (64, 32) and pair.scenes[0] != pair.scenes[1]
        assert read_item(item_words(identity)) == identity
        known = word_tokenizer(toybox_words(), 24)(
            pair_words(item_words(identity), pair.scenes)).input_ids
        assert UNKNOWN not in known and len(known) <= 24
    assert read_item("red bear with red spots and blue crown") is None  # no legal toy
    assert read_item("a bear") is None


def test_the_config_asks_in_the_words_that_the_model_was_trained_on():
    _, config = read(["--config", str(ROOT / "configs/data/diffusion_toy.yaml")])
    texts = object_texts(config["texts"], 0)
    seen = set()
    for i in range(200):
        asked = texts.of(i)
        identity = read_item(asked.item)
        assert identity and identity.kind == asked.category
        seen.add(identity.kind)
        prompt = config["prompt"].replace("{item}", asked.item)
        for k, scene in enumerate(asked.scenes):
            prompt = prompt.replace(f"{{scene_{k}}}", scene)
        assert prompt == pair_words(asked.item, asked.scenes)
    assert seen == set(KINDS)


def test_drawing_goes_on_behind_the_last_whole_file(tmp_path):
    asked = []

    def draw(i: int):
        asked.append(i)
        if len(asked) == PER_FILE + 3:
            raise KeyboardInterrupt
        return Image.new("RGB", (4, 4), (i % 256, 0, 0)), {"i": i}

    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path, 2 * PER_FILE, draw, "x")
    asked.append(-1)
    data = drawn(tmp_path, 2 * PER_FILE, draw, "x")
    assert asked[PER_FILE + 4 :] == list(range(PER_FILE, 2 * PER_FILE))
    assert [fact["i"] for fact in data.facts] == list(range(2 * PER_FILE))
    assert data.batch([255, 0])[:, 0, 0, 0].tolist() == [1, -1]


# ---- CLIP ----


def test_the_clip_loads_with_open_clip_and_gives_the_same_vectors(tmp_path, scenes):
    torch.manual_seed(0)
    model, tokenizer, config = build_clip(TINY)
    save_clip(model.eval(), tokenizer, config, tmp_path, {"made": "here"})
    loaded, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    words = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    caption = "one toy, red bear with white stripes and blue top hat"
    picture = Image.fromarray(np.array(scenes.files[0][0]))
    with torch.no_grad():
        assert torch.allclose(loaded.encode_text(words([caption])), model.encode_text(
            tokenizer([caption], padding="max_length", return_tensors="pt").input_ids), atol=1e-2)
        assert torch.allclose(loaded.encode_image(preprocess(picture)[None]),
                              model.encode_image(scenes.batch([0])), atol=1e-2)
    encoder = load_encoder(str(tmp_path), "cpu")
    assert encoder.dim == 16 and encoder.texts([caption]).shape == (1, 16)


def test_the_clip_learns(scenes):
    torch.manual_seed(0)
    model, tokenizer, _ = build_clip(TINY)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    losses = []
    for step in range(12):
        loss = clip_loss(model, tokenizer, scenes, range(32), 0, step % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    found = retrieval(model.eval(), tokenizer, scenes, batch=32)
    assert found["images"] >= 96 and 0 <= found["text of an image"] <= 1


def test_captions_say_what_is_there(scenes):
    rng = random.Random(0)
    for fact in scenes.facts[:60]:
        said = clip_caption(rng, fact)
        assert said.startswith({1: "one toy", 2: "two toys"}[len(fact["toys"])])
        assert all(from_number(n).kind in said for n in fact["toys"])
    assert clip_caption(rng, {"toys": [], "scene": "plain sky wall"}) == "no toy, plain sky wall"


# ---- the reader ----


def test_the_reader_learns_and_is_read_back(tmp_path, pairs):
    torch.manual_seed(0)
    model = AttributeClassifier(ClassifierShape(32, (16, 32)))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    picks = range(24)
    losses = []
    for step in range(25):
        loss = classifier_loss(model, pairs, picks, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1
    pictures, truth = pair_halves(pairs, picks)
    model.eval()
    right = classifier_accuracy(classify_toys(model, pictures), truth)
    assert right["colour"] > 0.5  # of pictures it was trained on
    save_attribute_classifier(model, tmp_path, {"measured": right})
    with torch.no_grad():
        for name, scores in load_attribute_classifier(tmp_path)(pictures).items():
            assert torch.allclose(scores, model(pictures)[name], atol=0.05)
    with pytest.raises(FileNotFoundError, match="holds no reader"):
        load_attribute_classifier(tmp_path / "nowhere")


def test_agreement_counts_attributes_and_whole_toys():
    truth = [draw_identity(random.Random(i), held_out=True) for i in range(2)]
    read = [dict(vars(identity)) for identity in truth]
    assert set(classifier_accuracy(read, truth).values()) == {1.0}
    read[0]["kind"] = next(k for k in KINDS if k != truth[0].kind)
    found = classifier_accuracy(read, truth)
    assert found["kind"] == found["all six"] == 0.5 and found["colour"] == 1
    assert labels(truth)["kind"].tolist() == [KINDS.index(i.kind) for i in truth]


def test_a_report_on_pairs_and_its_sheet(tmp_path):
    toys = [draw_identity(random.Random(i), held_out=True) for i in range(3)]
    half = Image.new("RGB", (16, 16), "red")
    as_read = [dict(vars(toy)) for toy in toys]
    other = {**as_read[1], "kind": next(k for k in KINDS if k != toys[1].kind)}
    swapped = {**as_read[2], "kind": next(k for k in KINDS if k != toys[2].kind)}
    read = [ClassifiedPair(toys[0], (half, half), (as_read[0], as_read[0])),  # as asked
            ClassifiedPair(toys[1], (half, half), (as_read[1], other)),  # one half is another toy
            ClassifiedPair(toys[2], (half, half), (swapped, swapped))]  # both are the same wrong toy
    found = report(read)
    assert found["pairs that agree"]["value"] == pytest.approx(2 / 3)
    assert found["pairs as asked"]["value"] == pytest.approx(1 / 3)
    assert found["attributes"]["value"] == pytest.approx(1 - 3 / 36)
    assert found["attributes of held-out toys"] == found["attributes"]
    assert found["attributes that agree"]["value"] == pytest.approx(1 - 1 / 18)
    draw_sheet(read, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 300


# ---- the diffusion model ----


def test_the_pipeline_loads_with_diffusers_and_draws(tmp_path):
    save_flux(tmp_path)
    pipeline = AutoPipelineForText2Image.from_pretrained(tmp_path)
    assert type(pipeline).__name__ == "FluxPipeline"
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("two pictures of red bear", height=16, width=32, num_inference_steps=2,
                       max_sequence_length=LENGTH,
                       generator=torch.Generator().manual_seed(0)).images[0]
    assert picture.size == (32, 16)
    assert join_halves((picture.crop((0, 0, 16, 16)), picture.crop((16, 0, 32, 16)))).size == (35, 18)


def test_flow_and_autoencoder_learn(pairs):
    torch.manual_seed(0)
    autoencoder = build_autoencoder(AutoencoderShape(channels=8, latent_channels=2, blocks=1))
    latents = encode_all(autoencoder, pairs)[:16].float()
    standardise(autoencoder, latents)
    config = autoencoder.config
    latents = (latents - config.shift_factor) * config.scaling_factor
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05
    assert 0 < restoration(autoencoder, pairs, 8) < 40
    pipeline = build_pipeline(FlowShape(width=40, heads=2, double_blocks=1, single_blocks=1,
                                        text_width=16, text_layers=1), autoencoder)
    parts = trained_parts(pipeline)
    optimizer = torch.optim.AdamW(parts.parameters(), 3e-3)
    prompts = [pair_words(item_words(from_number(fact["toy"])), fact["scenes"])
               for fact in pairs.facts[:16]]
    losses = []
    for step in range(20):
        loss = flow_loss(pipeline, latents, prompts, torch.Generator().manual_seed(step % 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.1
    assert all(p.grad is not None for name, p in parts.named_parameters()
               if name.startswith(("clip.", "t5.")) and "layer_norm2" not in name)
