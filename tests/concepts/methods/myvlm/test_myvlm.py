"""MyVLM as a method: heads switch vectors on; where none fires the policy is untouched."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database
from concepts.methods.learned import LearnedStore, learned_folder
from concepts.methods.myvlm import targets
from concepts.methods.myvlm.heads import HeadSettings
from concepts.methods.myvlm.learning import VectorSettings
from concepts.methods.myvlm.method import MyVLM, MyVLMSettings
from concepts.methods.myvlm.questions import load_questions
from concepts.methods.prompting import conversation, load_templates
from concepts.methods.protocol import Query, Reference
from concepts.methods.registry import method_class
from data_gen.files.errors import InputError
from data_gen.rows import ICT, OCT
from rl.policy.generation import complete
from rl.policy.likelihood import yes_probabilities
from rl.policy.loading import load_policy
from tests.concepts.tiny_encoders import save_dinov2
from tests.tiny import save_tiny_policy

COLOURS = {"bo": "red", "mia": "blue", "kim": "green"}


def plate(colour, size=40):
    return Image.new("RGB", (size, size), colour)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return load_policy(save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    return MyVLMSettings(
        encoder=str(save_dinov2(folder / "dinov2")),
        cache=str(folder / "cache"),
        head=HeadSettings(steps=100, learning_rate=0.1, clip=10.0),
        head_views=2,
        vector=VectorSettings(steps=2, views=2, captions=1),
        questions="toybox",
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Two plates of each colour, and one concept whose only photo is damaged."""
    folder = tmp_path_factory.mktemp("owned")
    for name, colour in COLOURS.items():
        for size in (40, 44):
            plate(colour, size).save(folder / f"{name}{size}.png")
    found = Database(folder / "database.json")
    found.add_all(
        Concept(name, (f"{name}40.png", f"{name}44.png"), "A plate.", "plate") for name in COLOURS
    )
    plate("grey").save(folder / "torn.png")
    found.add(Concept("torn", ("torn.png",)))
    (folder / "torn.png").write_bytes(b"\x89PNG torn")
    return found


def write(query, references):
    return conversation(query, references, load_templates())


def method_of(policy, settings, database, store=None):
    return MyVLM(lambda: policy, write, settings=settings, store=store, database=database, size=64)


def store_of(database, kind="myvlm"):
    return LearnedStore(
        learned_folder(database.path), kind, "policy", "settings", names_matter=True
    )


@pytest.fixture(scope="module")
def known(policy, settings, database):
    method = method_of(policy, settings, database, store_of(database))
    concepts = database.concepts()
    monkeypatch = pytest.MonkeyPatch()
    for long in ("CAPTION_TOKENS", "ANSWER_TOKENS"):
        monkeypatch.setattr(targets, long, 6)
    negatives = [plate("white"), plate("white", 44), plate("grey"), plate("grey", 44)]
    costs = method.learn([concepts[name] for name in COLOURS], negatives)
    monkeypatch.undo()
    assert [cost.name for cost in costs] == list(COLOURS) and not costs[0].reused
    assert all(cost.n_parameters > 2 * 48 and cost.n_bytes > 0 for cost in costs)
    return method


def ask(colour, id="q", **changes):
    query = Query(id, ICT, "Describe it.", plate(colour), references=None)
    return replace(query, **changes)


def plain_rows(queries):
    return [{"prompt": write(replace(q, references=()), ()), "images": [q.image]} for q in queries]


# ---- where no head fires ----


def test_where_no_head_fires_everything_is_the_untouched_policys(known, policy):
    queries = [ask("white", "a"), ask("grey", "b", text="What is it?")]
    replies = known.reply(queries, 8)
    assert not any(one.used for reply in replies for one in reply.concepts)
    rows = plain_rows(queries)
    assert [(r.text, r.n_tokens) for r in replies] == complete(*policy, rows, 8)
    asked = [replace(q, task="multiple_choice") for q in queries]
    rows = plain_rows(asked)
    assert [p for (p,) in known.likelihoods(asked)] == yes_probabilities(
        *policy, rows, batch_size=len(rows)
    )


def test_beside_images_where_a_head_fires_the_others_are_untouched(known, policy):
    queries = [ask("white", "a"), ask("red", "b"), ask("grey", "c")]
    asked = [replace(q, task="multiple_choice") for q in queries]
    p = [p for (p,) in known.likelihoods(asked)]
    rows = plain_rows(asked)
    untouched = yes_probabilities(*policy, [rows[0], rows[2]], batch_size=2)
    assert [p[0], p[2]] == untouched
    assert p[1] not in yes_probabilities(*policy, [rows[1]])
    replies = known.reply(queries, 8)
    assert [r.id for r in replies] == ["a", "b", "c"]
    assert [(r.text, r.n_tokens) for r in replies[::2]] == complete(
        *policy, [plain_rows(queries)[i] for i in (0, 2)], 8
    )


def test_without_an_image_or_without_concepts_handed_over_no_head_looks(known, policy):
    text = ask("red", image=None)
    row = {"prompt": write(replace(text, references=()), ()), "images": []}
    assert [(r.text, r.n_tokens) for r in known.reply([text], 8)] == complete(*policy, [row], 8)
    assert known.reply([ask("red", references=())], 8)[0].concepts == ()


# ---- where heads fire ----


def test_the_head_of_the_right_concept_fires(known):
    for name, colour in COLOURS.items():
        (reply,) = known.reply([ask(colour)], 4)
        assert [one.name for one in reply.concepts if one.used] == [name]
        assert reply.concepts[0].p == pytest.approx(known.recognize([(plate(colour), name)])[0])
    assert known.recognize([(plate("white"), "bo")])[0] < 0.5


def test_several_that_fire_add_a_vector_each(known):
    open_to_all = method_of(
        known.load(), replace(known.settings, threshold=0.0), known.database, known.store
    )
    query = ask("red")
    _, (evidence,) = open_to_all.rows([query])
    assert [one.used for one in evidence] == [True] * 3 and evidence[0].name == "bo"
    assert open_to_all._vectors(query, evidence).shape == (3, 48)
    asked = replace(query, task="multiple_choice")
    assert open_to_all.likelihoods([asked]) != known.likelihoods([asked])


def test_a_caption_is_asked_for_as_its_vector_was_learned(known):
    caption, named = ask("red"), ask("red", text="Tell me of <bo>.")
    question = ask("red", task="multiple_choice", text="What is it?")
    rows, _ = known.rows([caption, named, question, ask("white")])
    said = ["This picture shows <bo>." in str(row["prompt"]) for row in rows]
    assert said == [True, False, False, False]


def test_pictures_with_a_vector_are_brought_to_its_size_and_no_others(known, monkeypatch):
    at_96 = replace(known.settings, vector=replace(known.settings.vector, side=96))
    monkeypatch.setattr(known, "settings", at_96)
    queries = [ask("red"), ask("white", "q2"), ask("blue", "q3", image=plate("blue", 48))]
    rows, evidence = known.rows([known.open(query) for query in queries])
    fired = [any(one.used for one in of) for of in evidence]
    assert fired == [True, False, True]
    assert [row["images"][-1].size for row in rows] == [(96, 96), (40, 40), (96, 96)]
    monkeypatch.setattr(known, "settings", replace(at_96, shows="reference", threshold=0.7))
    shown, _ = known.rows([known.open(query) for query in queries])
    assert shown[0]["images"][-1].size == (40, 40) and known.least == 0.7


def test_controls_put_no_vector_a_random_or_anothers_in_a_vectors_place(known):
    query, found = ask("red"), {}
    for control in ("", "no_vector", "random", "other"):
        settings = replace(known.settings, control=control)
        method = method_of(known.load(), settings, known.database, known.store)
        _, (evidence,) = method.rows([query])
        found[control] = method._vectors(query, evidence)
    assert len(found["no_vector"]) == 0
    assert found["random"].shape == found[""].shape and not torch.equal(found["random"], found[""])
    assert torch.equal(found["other"][0], known._learned["mia"]["caption"])


def test_of_concepts_that_are_handed_over_only_those_are_looked_for(known):
    mia = ask("red", references=(Reference("mia", plate("blue"), "A plate."),))
    assert [(one.name, one.used) for one in known.reply([mia], 4)[0].concepts] == [("mia", False)]
    unknown = ask("red", references=(Reference("zed", plate("red")),))
    assert known.reply([unknown], 4)[0].concepts == ()


def test_a_benchmarks_conversation_loses_the_concepts_that_it_introduces(known):
    references = (Reference("bo", plate("red"), "A plate."), Reference("mia", plate("blue")))
    query = ask("red", references=references)
    told = replace(query, prompt=write(query, references))
    (row,), _ = known.rows([told])
    assert row["images"] == [told.image]
    assert "shows <bo>. " in str(row["prompt"]) and "plate" not in str(row["prompt"])
    assert "mia" not in str(row["prompt"]) and "Describe it." in str(row["prompt"])
    assert row["prompt"][0] == told.prompt[0]
    gate = method_of(
        known.load(), replace(known.settings, shows="reference"), known.database, known.store
    )
    (row,), (evidence,) = gate.rows([told])
    assert row["images"] == [references[0].image, told.image] and evidence[0].used
    assert "<bo>" in str(row["prompt"]) and "<mia>" not in str(row["prompt"])
    (row,), _ = gate.rows([query])
    assert "<bo>" in str(row["prompt"]) and len(row["images"]) == 2


def test_whether_a_concept_is_there_is_answered_by_its_head(known):
    def asked(colour, text):
        return ask(colour, task=OCT, text=text, references=(Reference("bo", plate("red")),))

    queries = [asked("red", "Is <bo> here?"), asked("blue", "Is <bo> here?")]
    assert [r.text for r in known.reply(queries, 4)] == ["yes", "no"]
    assert known.likelihoods(queries) == [
        [p] for p in known.recognize([(q.image, "bo") for q in queries])
    ]


def test_boxes_and_options_are_asked_with_vectors(known, policy):
    boxes = known.locate([(plate("red"), "bo"), (plate("blue"), "mia")])
    assert len(boxes) == 2
    query = ask("red", task="multiple_choice", options=("yes", "no"))
    (((first, n), _),) = known.likelihoods([query])
    assert first < 0 and n >= 1


# ---- what was learned ----


def test_what_was_learned_is_read_back_and_answers_equally(known, policy, settings, database):
    again = method_of(policy, settings, database, store_of(database))
    costs = again.learn([database.concepts()[name] for name in COLOURS])
    assert all(cost.reused for cost in costs)
    fresh = method_of(policy, settings, database, store_of(database))  # asked without learning
    queries = [ask("red", "a"), ask("blue", "b"), ask("white", "c")]
    asked = [replace(q, task="multiple_choice") for q in queries]
    assert known.likelihoods(asked) == again.likelihoods(asked) == fresh.likelihoods(asked)
    assert known.reply(queries, 6) == fresh.reply(queries, 6)


def test_a_forgotten_concept_is_gone_from_memory_and_disk(policy, settings, database):
    settings = replace(settings, shows="reference")  # its head alone
    store = store_of(database, "forgetful")
    method = method_of(policy, settings, database, store)
    method.learn([database.concepts()["bo"]])
    assert store.names() == ["bo"] and method.recognize([(plate("red"), "bo")])[0] > 0.5
    method.forget(["bo", "nobody"])
    assert store.names() == [] and list(store.folder.iterdir()) == []
    with pytest.raises(InputError, match="'bo' has not been learned"):
        method.recognize([(plate("red"), "bo")])


def test_heads_alone_load_no_weights(settings, database):
    def never():
        raise AssertionError("weights were loaded")

    gate = MyVLM(never, write, settings=replace(settings, shows="reference"), database=database)
    (cost,) = gate.learn([database.concepts()["bo"]])
    assert cost.n_parameters == 2 * 32 + 2 and gate.recognize([(plate("red"), "bo")])[0] > 0.5


def test_what_cannot_be_learned_is_named_before_weights_load(settings, database, tmp_path):
    def never():
        raise AssertionError("weights were loaded")

    method = MyVLM(never, write, settings=settings, database=database)
    torn = replace(database.concepts()["bo"], name="torn", images=("torn.png",))
    with pytest.raises(InputError, match="no photo of 'torn' can be used"):
        method.learn([torn])
    plate("red").save(tmp_path / "bo.png")
    alone = Database(tmp_path / "database.json")
    alone.add(Concept("bo", ("bo.png",)))
    with pytest.raises(InputError, match="nothing to tell it from"):
        MyVLM(never, write, settings=settings, database=alone).learn([alone.concepts()["bo"]])
    method = MyVLM(never, write, settings=replace(settings, encoder="no such"), database=database)
    with pytest.raises(InputError, match="encoder of the heads"):
        method.learn([database.concepts()["bo"]])


@pytest.mark.parametrize(
    "wrong", [{"threshold": 2.0}, {"head_views": 0}, {"questions": "none.yaml"}]
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError):
        MyVLMSettings(**wrong)


@pytest.mark.parametrize("wrong", [{"batch_size": 1}, {"steps": 0}])
def test_a_head_that_would_learn_from_nothing_is_refused(wrong):
    with pytest.raises(InputError, match="a head needs"):
        HeadSettings(**wrong)


def test_edited_questions_are_learned_anew(settings, tmp_path):
    file = tmp_path / "questions.yaml"
    found = []
    for words in ("Where is {name}?", "What is {name}?"):
        file.write_text(f"thing: [{words!r}]\nperson: [{words!r}]\n")
        load_questions.cache_clear()
        found.append(MyVLM.learned_from(replace(settings, questions=str(file))))
    assert found[0] != found[1]


def test_the_registry_knows_it_and_thresholds_need_no_learning_anew(settings):
    assert method_class("myvlm") is MyVLM
    other = replace(settings, threshold=0.9)
    assert MyVLM.learned_from(settings) == MyVLM.learned_from(other)
    assert MyVLM.learned_from(settings) != MyVLM.learned_from(replace(settings, seed=1))
