"""Learning a vector: on every family and under LoRA, with and without the penalty; its targets."""

import json

import pytest
import torch
from PIL import Image

from concepts.concept import Concept
from concepts.methods.myvlm import targets as myvlm_targets
from concepts.methods.myvlm.learning import VectorSettings, learn_vector
from concepts.methods.myvlm.questions import load_questions
from concepts.methods.myvlm.targets import (
    Target,
    caption_requests,
    caption_targets,
    owners_captions,
    question_targets,
    saying_who,
    whole_sentences,
    with_name,
)
from concepts.methods.myvlm.vectors import eager_attention, vectors_behind_image
from concepts.methods.soft_prompts.tokens import frozen
from data_gen.files.errors import InputError
from rl.policy.loading import LoraSettings, load_policy
from tests.rl.families import save_tiny_llava, save_tiny_qwen3
from tests.tiny import save_tiny_policy

SAVE = {"qwen2.5": save_tiny_policy, "qwen3": save_tiny_qwen3, "llava": save_tiny_llava}
TEN = VectorSettings(steps=10, views=1, captions=1, batch_size=2, penalty=0.0)
IMAGES = [Image.new("RGB", (48, 48), colour) for colour in ("red", "orange")]
BO = Concept("bo", category="bear")


@pytest.fixture(scope="module", params=[*SAVE, "qwen2.5 with LoRA"])
def policy(request, tmp_path_factory):
    family, _, lora = request.param.partition(" with ")
    path = SAVE[family](tmp_path_factory.mktemp(family) / "policy")
    model, processor = load_policy(path, lora=LoraSettings(r=2, alpha=4) if lora else None)
    if lora:  # an adapter that has been trained
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.02)
    return model, processor


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("plain") / "policy"))


def targets():
    request = caption_requests(1, "bo")[0]
    return [Target(i, request, "yes, <bo> is here.") for i in range(len(IMAGES))]


def test_ten_steps_lower_the_loss_and_change_no_weight(policy):
    model, processor = policy
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    asked = {name for name, p in model.named_parameters() if p.requires_grad}
    with frozen(model):
        vector, losses = learn_vector(model, processor, IMAGES, targets(), TEN)
    assert len(losses) == 10 and losses[-1] < losses[0]
    assert float(vector.norm()) == pytest.approx(1, abs=1e-5)
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert asked == {name for name, p in model.named_parameters() if p.requires_grad}


def test_the_penalty_lowers_the_attention_that_is_paid_to_the_vector(plain):
    model, processor = plain
    paid = []
    for penalty in (0.0, 300.0):
        how = VectorSettings(steps=12, views=1, captions=1, batch_size=2, penalty=penalty)
        with frozen(model):
            vector, _ = learn_vector(model, processor, IMAGES, targets(), how)
        paid.append(attention_to(model, processor, vector))
    assert paid[1] < paid[0]


def attention_to(model, processor, vector):
    watched = []
    texts = processor.apply_chat_template([targets()[0].prompt], add_generation_prompt=True)
    with (
        torch.no_grad(),
        eager_attention(model),
        vectors_behind_image(model, processor, [vector[None]], watched) as placing,
    ):
        made = placing(
            text=texts, images=[[IMAGES[0]]], add_special_tokens=False, return_tensors="pt"
        )
        model(**made)
        at = int(placing.places.at[0])
    return sum(float((weights[0, :, at + 1 :, at] ** 2).mean()) for weights in watched[0])


def test_augmented_views_and_several_captions_are_drawn_by_the_seed(plain):
    model, processor = plain
    requests = caption_requests(3, "bo")
    several = [Target(0, request, f"<bo> number {i}.") for i, request in enumerate(requests)]
    how = VectorSettings(steps=3, views=3, batch_size=4)
    with frozen(model):
        vector, losses = learn_vector(model, processor, IMAGES[:1], several, how)
        again, repeated = learn_vector(model, processor, IMAGES[:1], several, how)
    assert len(set(losses)) == 3
    assert torch.equal(vector, again) and losses == repeated  # the seed's


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"views": 0}, {"penalty": -1.0}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        VectorSettings(**wrong)


# ---- targets ----


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("A red bear stands.", "A red bear, <bo>, stands."),
        ("There is a Bear. A bear!", "There is a Bear, <bo>. A bear!"),
        ("A bearded man.", "This is <bo>. A bearded man."),
        ("", "This is <bo>."),
        ("I see <bo>, a bear.", "I see <bo>, a bear."),
    ],
)
def test_a_caption_gets_the_name_behind_its_category(caption, named):
    assert with_name(caption, BO) == named


def test_a_caption_of_a_concept_without_a_category_still_gets_its_name():
    assert with_name("A mug.", Concept("bo")) == "This is <bo>. A mug."
    assert with_name("A c++ (old) book.", Concept("bo", category="c++ (old)")).count("<bo>") == 1


def test_a_request_says_who_is_there_behind_the_picture():
    picture, system = {"type": "image", "text": None}, {"role": "system", "content": []}
    words = {"type": "text", "text": "Describe it."}
    asked = [system, {"role": "user", "content": [picture, words]}]
    told = saying_who(asked, ["bo", "mia", "kim"])
    assert told[0] == system and told[1]["content"][0] == picture
    assert told[1]["content"][1]["text"] == "This picture shows <bo>, <mia> and <kim>. Describe it."
    assert words["text"] == "Describe it." and saying_who(asked, []) == asked


def test_a_caption_that_was_cut_ends_with_a_sentence():
    assert whole_sentences("A bear. It has a") == "A bear."
    assert whole_sentences("no end") == "no end" and whole_sentences("") == ""


def test_the_owners_captions_are_read_where_there_are_some(tmp_path):
    file = tmp_path / "1.jpg"
    assert owners_captions(file, "bo") == []
    captions = {"1.jpg": ["sks on a table", "<sks>!", "tasks", "Bo: <bo> sits"], "2.jpg": "sks"}
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    assert owners_captions(file, "bo") == ["<bo> on a table", "<bo>!", "Bo: <bo> sits"]
    assert owners_captions(tmp_path / "2.jpg", "bo") == ["<bo>"]
    assert owners_captions(tmp_path / "3.jpg", "bo") == []


@pytest.mark.parametrize("content", ["{", "[1]", '{"1.jpg": [1]}', '{"1.jpg": 5}', "\x00"])
def test_captions_that_are_none_are_refused_with_what_they_should_be(tmp_path, content):
    (tmp_path / "captions.json").write_text(content)
    with pytest.raises(InputError, match=r"captions.json cannot be read as captions"):
        owners_captions(tmp_path / "1.jpg", "bo")


def test_captions_and_answers_are_the_policys_own(plain, tmp_path, monkeypatch):
    model, processor = plain
    for long in ("CAPTION_TOKENS", "ANSWER_TOKENS"):
        monkeypatch.setattr(myvlm_targets, long, 6)
    files = [tmp_path / "1.jpg", tmp_path / "2.jpg"]
    (tmp_path / "captions.json").write_text('{"2.jpg": ["sks in the sun"]}')
    found = caption_targets(model, processor, BO, files, IMAGES, 3, batch_size=8)
    assert [t.picture for t in found] == [1, 1, 1, 0, 0, 0]  # the owner's come first
    assert {t.text for t in found[:3]} == {"<bo> in the sun"}
    assert all("<bo>" in t.text for t in found)
    assert len({str(t.prompt) for t in found}) == 3
    assert all("This picture shows <bo>. " in str(t.prompt) for t in found)
    questions = load_questions()["thing"]
    assert len(questions) == len(load_questions()["person"]) == 10
    asked = question_targets(model, processor, BO, IMAGES, questions, batch_size=8)
    assert all("<bo>" in str(t.prompt) and "the bear" not in t.text.lower() for t in asked)
    assert all("<name>" not in str(t.prompt) for t in asked) and len(asked) <= 20


def test_a_name_with_a_backslash_stands_in_captions_as_it_is(tmp_path):
    (tmp_path / "captions.json").write_text('{"1.jpg": ["sks in the sun"]}')
    assert owners_captions(tmp_path / "1.jpg", r"b\1") == [r"<b\1> in the sun"]


def test_questions_with_another_placeholder_are_refused(tmp_path):
    (tmp_path / "q.yaml").write_text('thing: ["What is {it}?"]\nperson: []\n')
    with pytest.raises(InputError, match="placeholder"):
        load_questions(str(tmp_path / "q.yaml"))
    with pytest.raises(InputError, match="cannot read .*none.yaml"):
        load_questions(str(tmp_path / "none.yaml"))
    assert len(load_questions("toybox")["thing"]) == 10
