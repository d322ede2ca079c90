"""Yo'LLaVA learns a concept with a frozen policy of any family, and can be stopped at any time."""

import random
import shutil
from dataclasses import replace

import pytest
import torch

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods import prompting, protocol
from concepts.methods.learned import LearnedStore, learned_folder
from concepts.methods.protocol import Query, Reference
from concepts.methods.soft_prompts import examples, yollava
from concepts.methods.soft_prompts.examples import words_of
from concepts.methods.soft_prompts.phrasings import load_phrasings
from concepts.methods.soft_prompts.yollava import YoLLaVA, YoLLaVASettings
from concepts.retrieval import Found
from data_gen.files.errors import InputError
from data_gen.images.photos import at_side, open_photo
from data_gen.rows import ICT, OCT
from rl.policy.loading import LoraSettings, load_policy
from tests.rl.families import save_tiny_llava, save_tiny_qwen3
from tests.tiny import drawing, save_tiny_policy

QUICK = YoLLaVASettings(
    tokens=3,
    hard_negatives=0,
    random_negatives=4,
    epochs=5,
    batch_size=6,
    learning_rate=0.02,
    select_after=1,
    start="embeddings",
)
SAVE = {"qwen2.5": save_tiny_policy, "qwen3": save_tiny_qwen3, "llava": save_tiny_llava}


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Family -> policy; ``lora`` is a Qwen2.5-VL with random adapters."""
    where = tmp_path_factory.mktemp("policies")
    found = {name: load_policy(save(where / name)) for name, save in SAVE.items()}
    torch.manual_seed(0)
    model, processor = load_policy(where / "qwen2.5", lora=LoraSettings(r=2))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0, 0.1)
    return {**found, "lora": (model, processor)}


@pytest.fixture(scope="module", autouse=True)
def short_answers():
    """Random policies never end an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "TRAIT_TOKENS", 2)
        patch.setattr(examples, "CAPTION_TOKENS", 2)
        yield


@pytest.fixture
def database(tmp_path):
    """Two concepts of two photos each."""
    rng, concepts = random.Random(0), []
    for name, colour in (("bo", "red"), ("mia", "blue")):
        files = []
        for i in range(2):
            files.append(f"{name}{i}.png")
            drawing(rng, colour)[0].save(tmp_path / files[-1])
        concepts.append(Concept(name, tuple(files), category="toy"))
    made = Database(tmp_path / "database.json")
    made.add_all(concepts)
    return made


@pytest.fixture(scope="module")
def negatives():
    rng = random.Random(1)
    return [drawing(rng, colour)[0] for colour in ("green", "yellow", "purple", "brown", "cyan")]


@pytest.fixture
def method(policies, database):
    """Makes a method of a family, with its store beside the database."""

    def made(family="qwen2.5", settings=QUICK, **common) -> YoLLaVA:
        folder = learned_folder(database.path)
        store = LearnedStore(folder, "yollava", family, "", root=database.path.parent)
        templates = prompting.load_templates()
        return YoLLaVA(
            lambda: policies[family],
            lambda query, references: prompting.conversation(query, references, templates),
            settings=settings,
            database=database,
            **{"store": store, "batch_size": 8, **common},
        )

    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the first test that needs it leaves what was learned of both concepts."""
    return tmp_path_factory.mktemp("kept") / "learned"


@pytest.fixture
def known(method, database, negatives, kept):
    """A method that has learned both concepts; only once, what it learned is copied."""
    folder, first = learned_folder(database.path), not kept.exists()
    if not first:
        shutil.copytree(kept, folder)
    learning = method()
    costs = learning.learn(concepts_of(database), negatives)
    assert all(cost.reused is not first for cost in costs)
    if first:
        shutil.copytree(folder, kept)
    return learning


def concepts_of(database):
    return list(database.concepts().values())


@pytest.mark.parametrize("family", ["qwen2.5", "qwen3", "llava", "lora"])
def test_every_family_learns(family, method, policies, database, negatives):
    """Some ten steps: the loss falls, a reload answers equally, all weights are bit-equal."""
    model, _ = policies[family]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    asks = [p for p in model.parameters() if p.requires_grad]
    first = method(family)
    (cost,) = first.learn(concepts_of(database)[:1], negatives)
    facts = first.store.facts("bo")
    assert facts["losses"][-1] < facts["losses"][0]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert asks == [p for p in model.parameters() if p.requires_grad]

    again = method(family)
    pairs = [(negatives[0], "bo"), (database.image_path("bo0.png"), "bo")]
    assert again.recognize(pairs) == first.recognize(pairs)
    query = Query("q", ICT, "Describe it.", negatives[0], (Reference("bo", None),))
    assert again.reply([query], 6) == first.reply([query], 6)
    untied = model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    width = model.get_input_embeddings().weight.size(1)
    assert cost.n_parameters == (1 + 3 + untied) * width
    (reused,) = again.learn(concepts_of(database)[:1])  # needs no negatives any more
    assert reused == replace(cost, reused=True, seconds=reused.seconds)


def test_learning_goes_on_where_it_was_killed_to_the_same_vectors(
    method, database, negatives, monkeypatch
):
    whole = method(settings=replace(QUICK, epochs=3), store=None)
    whole.learn(concepts_of(database)[:1], negatives)

    class Killed(Exception):
        pass

    def killed(*args, **kwargs):
        raise Killed

    stopped, save = method(settings=replace(QUICK, epochs=3)), LearnedStore.save
    saves = iter([save, save, killed])
    monkeypatch.setattr(LearnedStore, "save", lambda *a, **k: next(saves)(*a, **k))
    with pytest.raises(Killed):
        stopped.learn(concepts_of(database)[:1], negatives)
    monkeypatch.setattr(LearnedStore, "save", save)
    steps = []
    descend = yollava.descend

    def watched(model, tokens, reader, examples, exam, start, *rest):
        steps.append(start.epoch)
        return descend(model, tokens, reader, examples, exam, start, *rest)

    monkeypatch.setattr(yollava, "descend", watched)
    again = method(settings=replace(QUICK, epochs=3))
    again.learn(concepts_of(database)[:1], negatives)
    assert steps == [2]
    for key, value in whole._learned["bo"].items():
        assert torch.equal(again._learned["bo"][key], value)
    assert {file.suffix for file in again.store.folder.iterdir()} == {".json", ".safetensors"}
    assert not list((again.store.folder.parent / "yollava.unfinished").iterdir())


def test_several_concepts_stand_in_one_prompt_each_with_its_own_vectors(
    known, method, database, negatives
):
    references = (Reference("bo", None), Reference("mia", None))
    query = Query("q", ICT, "Describe it.", negatives[0], references)
    (row,), _ = known.rows([query])
    content = row["prompt"][-1]["content"]
    assert [part["type"] for part in content] == ["image", "text"]
    told = " ".join(f"{words[0]} is {''.join(words[1:])}." for words in map(_words, ("bo", "mia")))
    assert content[1]["text"].startswith(f"{told} ")
    # What is asked of one concept does not depend on what else was learned.
    pairs = [(negatives[0], "bo")]
    alone = method()
    alone.forget(["mia"])
    assert alone.recognize(pairs) == known.recognize(pairs)
    with pytest.raises(InputError, match="'mia' has not been learned"):
        alone.recognize([(negatives[0], "mia")])


def _words(name):
    return words_of(name, QUICK.tokens)


def test_a_concept_can_come_and_go_while_the_process_answers(method, database, negatives):
    answering = method()
    with pytest.raises(InputError, match="'bo' has not been learned"):
        answering.recognize([(negatives[0], "bo")])
    method().learn(concepts_of(database)[:1], negatives)  # by another process
    assert 0 < answering.recognize([(negatives[0], "bo")])[0] < 1
    database.remove("bo")
    with pytest.raises(InputError, match="'bo' has not been learned"):
        answering.recognize([(negatives[0], "bo")])


def test_who_is_asked_about_where_nobody_is_handed_over(known, method, database, negatives):
    photo = database.image_path("bo0.png")
    p = dict(zip(("bo", "mia"), known.recognize([(photo, "bo"), (photo, "mia")]), strict=True))
    queries = [
        Query("named", ICT, "What is <mia> doing?", photo, None),
        Query("nobody named", ICT, "Describe it.", photo, None),
    ]
    _, (named, recognized) = known.rows(queries)
    assert [one.name for one in named] == ["mia"]
    assert {one.name: one.p for one in recognized} == p
    assert all(one.used == (one.p >= 0.5) for one in recognized)


def test_what_is_retrieved_is_used_if_it_was_learned_and_recognized(
    known, method, database, negatives
):
    class Finds:
        owned = {}

        def find(self, query):
            return [
                Found("mia", "image", 0.9),
                Found("unlearned", "image", 0.8),
                Found("bo", "image", 0.7),
            ]

    query = Query("q", ICT, "Describe it.", negatives[0], None)
    _, (evidence,) = method(finder=Finds(), settings=replace(QUICK, least=0)).rows([query])
    assert [(e.name, e.similarity, e.used) for e in evidence] == [
        ("mia", 0.9, True),
        ("unlearned", 0.8, False),
        ("bo", 0.7, True),
    ]
    p = known.recognize([(negatives[0], "mia"), (negatives[0], "bo")])
    between = sum(p) / 2
    asked = method(finder=Finds(), settings=replace(QUICK, least=between))
    _, (evidence,) = asked.rows([query])
    assert [one.used for one in evidence] == [p[0] >= between, False, p[1] >= between]
    assert [one.p for one in evidence] == [p[0], None, p[1]]


def test_the_controls_take_the_place_of_what_was_learned(known, method, database, negatives):
    pairs = [(picture, "bo") for picture in negatives[:2]]
    p = known.recognize(pairs)
    controls = {
        name: method(settings=replace(QUICK, control=name))
        for name in ("no_tokens", "random", "other")
    }
    found = {name: control.recognize(pairs) for name, control in controls.items()}
    assert len({tuple(of) for of in (p, *found.values())}) == 4
    (row,), _ = controls["no_tokens"].rows(
        [Query("q", ICT, "Describe it.", negatives[0], (Reference("bo", None),))]
    )
    assert "<bo" not in str(row["prompt"])
    of_mia = known.store.load(database.concepts()["mia"])[0]["inputs"]
    (asked, _) = controls["other"]._asked(None).values()
    assert torch.equal(asked["inputs"], of_mia)


def test_the_personal_prompt_can_stand_in_the_system_turn(method, database, negatives):
    known = method(settings=replace(QUICK, prompt_place="system", epochs=1))
    known.learn(concepts_of(database)[:1], negatives)
    query = Query("q", ICT, "Describe it.", negatives[0], (Reference("bo", None),))
    (row,), _ = known.rows([query])
    system, user = row["prompt"]
    assert "<bo/3>" in str(system) and "<bo" not in str(user)
    assert 0 < known.recognize([(negatives[0], "bo")])[0] < 1


def test_the_released_code_trains_the_columns_of_all_tokens(method, database, negatives):
    known = method("llava", settings=replace(QUICK, output_rows="all", train_end=False, epochs=1))
    (cost,) = known.learn(concepts_of(database)[:1], negatives)
    assert cost.n_parameters == 2 * 4 * 48
    assert known._learned["bo"]["outputs"].shape == (4, 48)


def test_locate_gives_boxes_of_the_image_or_none(method, database, negatives):
    known = method(settings=replace(QUICK, epochs=1))
    known.learn(concepts_of(database)[:1], negatives)
    boxes = known.locate([(negatives[0], "bo"), (database.image_path("bo0.png"), "bo")])
    assert len(boxes) == 2
    assert all(box is None or 0 <= box[0] < box[2] <= 1 for box in boxes)


def test_a_negative_stands_beside_pictures_of_recognition_and_of_nothing_else(
    method, database, negatives, monkeypatch
):
    trained = []

    def kept(model, tokens, batches, examples, exam, start, how, done):
        sizes = [None if e.picture is None else batches.images[e.picture].size for e in examples]
        trained.append([(e.answer, size) for e, size in zip(examples, sizes, strict=True)])
        assert {batches.images[e.picture].size for e, _ in exam} == {(48, 48)}
        return replace(start, best=start.vectors)

    monkeypatch.setattr(yollava, "descend", kept)
    for beside in (1, 1, 0):
        learning = method(settings=replace(QUICK, beside=beside, side=48))
        learning.learn(concepts_of(database)[:1], negatives)
        learning.forget(["bo"])
    pairs, again, alone = trained
    assert pairs == again  # so that learning that was stopped goes on with the same pictures
    answers = set(load_phrasings().positive + load_phrasings().negative)
    answers = {answer.format(name="<bo>") for _, answer in answers}
    assert {size for answer, size in alone if answer in answers} == {(48, 48)}
    # Two of 48 x 48 side by side, as large as they are.
    assert {size for answer, size in pairs if answer in answers} == {(96, 48)}
    assert all(size in (None, (48, 48)) for answer, size in pairs if answer not in answers)
    for task, size in ((OCT, (48, 48)), (ICT, (64, 64))):
        (row,), _ = learning.rows([Query("q", task, "What?", negatives[0], ())])
        assert row["images"][0].size == size


def test_reasons_are_the_policys_own_and_as_many_of_either_answer(
    method, database, negatives, monkeypatch
):
    trained, asked = [], []

    def written(model, processor, rows, **_):
        """Of six, three of either answer: one yes and two no have the truth."""
        asked.extend(rows)
        return [
            (f"<bo>, here: {i}. {said}", 4)
            for i, said in enumerate(["yes", "no", "no", "no", "no", "yes"])
        ]

    def kept(model, tokens, batches, examples, exam, start, how, done):
        trained.extend(e for e in examples if "here:" in e.answer)
        return replace(start, best=start.vectors)

    monkeypatch.setattr(yollava, "generate", written)
    monkeypatch.setattr(yollava, "descend", kept)
    learning = method(settings=replace(QUICK, reasons=6, side=48, traits=False, captions=False))
    learning.learn(concepts_of(database)[:1], negatives)
    assert [e.answer for e in trained] == ["<bo>, here: 0. yes", "<bo>, here: 1. no"]
    assert trained[0].prompt[-1]["content"][-1]["text"].endswith("then answer yes or no.")
    # The reference is the photo as it is; what is asked about, as the tokens will see it.
    assert {tuple(i.size for i in row["images"]) for row in asked} == {((64, 64), (48, 48))}
    first, second = (open_photo(database.image_path(f"bo{i}.png"), 512) for i in range(2))
    pairs = [(first, at_side(second, 48)), (second, at_side(first, 48))]
    assert all(tuple(row["images"]) in pairs for row in asked[::2])  # never of itself


def test_after_learning_with_reasons_they_are_asked_for(
    method, database, negatives, monkeypatch, capsys
):
    learning = method(settings=replace(QUICK, reasons=2, epochs=1))
    learning.learn(concepts_of(database)[:1], negatives)
    assert "of 2 that the policy wrote, too few end with the truth" in capsys.readouterr().out
    rows = []

    def judged(model, processor, asked, **_):
        rows.extend(asked)
        return [0.25] * len(asked)

    for module in (yollava, protocol):
        monkeypatch.setattr(module, "reasoned_probabilities", judged)
    assert learning.recognize([(negatives[0], "bo")]) == [0.25]
    query = Query("q", OCT, "Is <bo> here?", negatives[0], (Reference("bo", None),))
    assert learning.likelihoods([query]) == [[0.25]]
    for row in rows:
        assert "First say what the photo shows" in row["prompt"][-1]["content"][-1]["text"]
    assert len(rows) == 2 and learning.with_reasons(query)
    assert not learning.with_reasons(replace(query, task=ICT))


def test_forgetting_leaves_nothing(method, database, negatives):
    known = method(settings=replace(QUICK, epochs=1))
    known.learn(concepts_of(database)[:1], negatives)
    known.forget(["bo", "never heard of"])
    assert not [f for f in learned_folder(database.path).rglob("*") if f.is_file()]
    with pytest.raises(InputError, match="'bo' has not been learned"):
        known.recognize([(negatives[0], "bo")])


def test_what_cannot_be_learned_is_refused_before_the_policy_loads(method, database):
    unused = method()
    unused._policy = None
    with pytest.raises(InputError, match="was given none; give it a folder"):
        unused.learn(concepts_of(database))
    for photo in ("bo0.png", "bo1.png"):
        database.image_path(photo).write_bytes(b"no picture")
    with pytest.raises(InputError, match="no photo of 'bo' can be used .*bo1.png: not an image"):
        unused.learn(concepts_of(database), [database.image_path("mia0.png")])


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"tokens": -1}, "tokens must be at least 0"),
        ({"flip": 2}, "flip must be from 0 to 1"),
        ({"beside": -0.1}, "beside must be from 0 to 1"),
        ({"side": 0}, "side must be at least 1"),
        ({"reasons": -1}, "reasons must be at least 0"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"phrasings": "nowhere.yaml"}, "cannot read nowhere.yaml"),
    ],
)
def test_settings_that_cannot_be(wrong, said):
    with pytest.raises(InputError, match=said):
        YoLLaVASettings(**wrong)


def test_how_a_concept_is_asked_about_does_not_make_what_was_learned_stale():
    learned = YoLLaVA.learned_from(QUICK)
    assert YoLLaVA.learned_from(replace(QUICK, control="random", least=0.9)) == learned
    assert YoLLaVA.learned_from(replace(QUICK, tokens=4)) != learned
    assert YoLLaVA.learned_from(replace(QUICK, phrasings="toybox")) != learned
