"""From a folder of photos to an answer: learning, who is there, conversations, live edits."""

import json
import os
import random
import signal

import pytest
from PIL import Image

from concepts.concept import Concept
from concepts.database import Database, DatabaseError
from concepts.importers import photo_database
from concepts.methods import in_context, registry
from concepts.methods.assistant import Assistant, Conversation, write_question
from concepts.methods.calibration import best_threshold
from concepts.methods.finding import RetrievalSettings
from concepts.methods.forgetting import forget, rename
from concepts.methods.learned import learned_folder
from concepts.methods.myvlm.views import Augmentation, view_features
from concepts.methods.protocol import Query, Reference
from concepts.methods.systems import System
from data_gen.files.errors import InputError
from data_gen.images.encoders import load_encoder
from data_gen.rows import ICT
from data_gen.tasks.prompts import load_prompts
from rl.policy.loading import load_policy
from tests.concepts.methods.colour_method import ADDRESS
from tests.concepts.tiny_encoders import save_dinov2
from tests.tiny import save_tiny_policy

COLOURS = {"bo": (200, 50, 50), "mia": (50, 50, 200), "Kim-Lou": (50, 200, 50)}


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory):
    return save_tiny_policy(tmp_path_factory.mktemp("policy") / "policy")


@pytest.fixture(scope="module")
def policy(policy_dir):
    return load_policy(policy_dir)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_dinov2(tmp_path_factory.mktemp("dinov2")))


def paint(file, colour, seed=0):
    """A photo of patches of nearly one colour; no two look alike."""
    rng = random.Random(seed)
    image = Image.new("RGB", (5, 5))
    image.putdata([tuple(c + rng.randint(-40, 40) for c in colour) for _ in range(25)])
    file.parent.mkdir(parents=True, exist_ok=True)
    image.resize((40, 40), Image.Resampling.NEAREST).save(file)


@pytest.fixture
def photos(tmp_path):
    """Three photos of each concept, in folders called as they are."""
    for name, colour in COLOURS.items():
        for i in range(3):
            paint(tmp_path / "photos" / name / f"{i}.png", colour, f"{name}{i}")
    return tmp_path / "photos"


@pytest.fixture
def learner(photos, policy, policy_dir, monkeypatch):
    """An assistant by a method that learns."""
    monkeypatch.setitem(registry.METHODS, "colour", ADDRESS)

    def make(database=None, **changes):
        system = System("mine", str(policy_dir), method="colour", **changes)
        return Assistant(system, database or photo_database(photos), load=lambda: policy, size=40)

    return make


# ---- a folder of photos ----


def test_the_names_of_folders_are_the_names_of_concepts(photos):
    database = photo_database(photos)
    assert list(database.concepts()) == sorted(COLOURS)
    assert database.path == photos / "database.json" and not database.skipped
    database.edit("bo", info="<bo> is mine.")
    paint(photos / "ada" / "0.png", (120, 120, 120))
    (photos / "mia" / "0.png").unlink()
    again = photo_database(photos)
    assert list(again.concepts()) == ["Kim-Lou", "bo", "mia", "ada"]
    assert again.concepts()["bo"].info == "<bo> is mine."
    assert again.concepts()["mia"].images == ("mia/1.png", "mia/2.png")
    assert not (photos / "images").exists(), "photos that lie there are not copied"
    again.rename("mia", "zoe")
    assert list(photo_database(photos).concepts()) == ["Kim-Lou", "bo", "zoe", "ada"]


def test_photos_for_a_database_elsewhere_are_copied(photos, tmp_path):
    database = photo_database(photos, tmp_path / "own" / "database.json")
    assert set(database.concepts()) == set(COLOURS)
    assert len(list((tmp_path / "own" / "images").iterdir())) == 9
    assert not (photos / "database.json").exists()
    database.rename("mia", "zoe")
    again = photo_database(photos, tmp_path / "own" / "database.json")
    assert set(again.concepts()) == {"Kim-Lou", "bo", "zoe"}, "known by its photos"
    assert len(list((tmp_path / "own" / "images").iterdir())) == 9


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(DatabaseError, match="is no directory and no zip"):
        photo_database(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatabaseError, match="no usable photo"):
        photo_database(tmp_path / "empty")


def test_two_folders_that_are_one_name_are_refused_and_change_nothing(photos):
    paint(photos / "BO" / "0.png", (90, 90, 90))
    with pytest.raises(DatabaseError, match="the folders 'BO' and 'bo' would be one concept, 'bo'"):
        photo_database(photos)
    assert not (photos / "database.json").exists()
    (photos / "BO").rename(photos.parent / "BO")
    before = photo_database(photos).path.read_bytes()
    (photos.parent / "BO").rename(photos / "BO")
    with pytest.raises(DatabaseError, match="rename one of them"):
        photo_database(photos)
    assert (photos / "database.json").read_bytes() == before
    # A concept that was renamed keeps its photos when another folder gets its new name.
    (photos / "BO").rename(photos.parent / "BO")
    photo_database(photos).rename("mia", "zoe")
    paint(photos / "zoe" / "0.png", (70, 90, 20))
    with pytest.raises(DatabaseError, match="'mia' and 'zoe' would be one concept, 'zoe'"):
        photo_database(photos)


# ---- asking ----


def test_references_of_who_is_there_stand_in_the_prompt(photos, policy, policy_dir, encoder):
    retrieval = RetrievalSettings(encoder=encoder, regions=None, k=2, cache=str(photos / "cache"))
    assistant = Assistant(
        System("mine", str(policy_dir), retrieval), photo_database(photos), load=lambda: policy
    )
    assert assistant.learn() == [] or all(cost.seconds == 0 for cost in assistant.learn())
    answer = assistant.ask(photos / "mia" / "1.png", max_new_tokens=4)
    assert {one.name for one in answer.concepts} >= {"mia"} and len(answer.concepts) == 2
    assert all(0 <= one.p <= 1 and -1 <= one.similarity <= 1 for one in answer.concepts)
    assert [one.used for one in answer.concepts] == [one.p >= 0.5 for one in answer.concepts]
    named = assistant.ask(photos / "mia" / "1.png", "Is <bo> here?", max_new_tokens=4)
    assert "bo" in named.names and isinstance(named.text, str)
    alone = assistant.ask(None, "What is <bo> like?", max_new_tokens=4)
    assert alone.names == ["bo"]


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_each_concept_is_judged_once(photos, policy, policy_dir, encoder, monkeypatch, gate):
    """By the gate, where the method has one: it does not ask again before the answer."""
    asked = []

    def probabilities(model, processor, rows, **_):
        asked.extend(rows)
        return [0.5] * len(rows)

    monkeypatch.setattr(in_context, "yes_probabilities", probabilities)
    retrieval = RetrievalSettings(encoder=encoder, regions=None, k=2, cache=str(photos / "cache"))
    settings = in_context.InContextSettings(gate=gate)
    system = System("mine", str(policy_dir), retrieval, settings=settings)
    assistant = Assistant(system, photo_database(photos), load=lambda: policy)
    talk = Conversation(photos / "mia" / "1.png")
    assert assistant.least == gate
    for turns in (1, 2):
        answer = assistant.say(talk, "What is here?", max_new_tokens=4)
        assert len(asked) == 2 * turns and len(answer.names) == (0 if gate else 2)


def test_a_question_is_written_as_it_was_typed_and_a_caption_asked_for_as_in_training():
    image = Image.new("RGB", (8, 8))
    shown = [Reference("bo", image, "<bo> is red.")]
    (turn,) = write_question(Query("q", ICT, "How many {toys}?", image), shown)
    words = [part["text"] for part in turn["content"] if part["type"] == "text"]
    assert "<bo> is red." in words[0] and words[-1] == "How many {toys}?"
    assert [part["type"] for part in turn["content"]].count("image") == 2
    (turn,) = write_question(Query("q", ICT, "What is it?", None), shown)
    assert [part["type"] for part in turn["content"]].count("image") == 1
    (turn,) = write_question(Query("q", ICT, "", image), [])
    assert turn["content"][-1]["text"] in load_prompts()[ICT]["ask"]


def test_a_conversation_is_answered_in_view_of_what_was_said(learner, photos):
    assistant = learner()
    talk = Conversation(photos / "bo" / "0.png")
    asked = []
    reply = assistant.method.reply
    assistant.method.reply = lambda queries, n: asked.extend(queries) or reply(queries, n)
    for question in ("Who is it?", "Where?", "Why?"):
        assistant.say(talk, question, 4)
    assert [words for words, _ in talk.turns] == ["Who is it?", "Where?", "Why?"]
    roles = [message["role"] for message in asked[-1].prompt]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    said = [message["content"][-1]["text"] for message in asked[-1].prompt]
    assert said[1] == talk.turns[0][1] and said[4] == "Why?"


# ---- learning ----


def test_who_is_there_is_what_the_method_learned(learner, photos):
    assistant = learner()
    costs = assistant.learn()
    assert [cost.name for cost in costs] == ["Kim-Lou", "bo", "mia"]
    assert all(not c.reused and c.n_bytes > 0 and c.n_parameters == 3 for c in costs)
    assert assistant.ask(photos / "bo" / "2.png", max_new_tokens=2).names == ["bo"]
    assert assistant.learn() == [] and all(c.reused for c in learner().learn())


def test_a_database_is_followed_while_the_process_answers(learner, photos):
    assistant = learner()
    assistant.ask(photos / "bo" / "0.png", max_new_tokens=2)
    other = Database(photos / "database.json")  # as another process would
    paint(photos / "ada" / "0.png", (120, 120, 120))
    other.add(Concept("ada", ("ada/0.png",)))
    assert assistant.ask(photos / "ada" / "0.png", max_new_tokens=2).names == ["ada"]
    rename(other, "ada", "eve")
    assert assistant.ask(photos / "ada" / "0.png", max_new_tokens=2).names == ["eve"]
    assert assistant.method.learn([other.concepts()["eve"]])[0].reused
    forget(other, ["eve"])
    assert assistant.ask(photos / "ada" / "0.png", max_new_tokens=2).names == []


def test_a_database_edited_during_learning_is_learned_as_it_is_then(learner, photos):
    assistant = learner()
    learn = assistant.method.learn

    def edited_meanwhile(concepts, *rest):
        found = learn(concepts, *rest)
        if "bo" in assistant.database.concepts() and len(concepts) == 3:
            paint(photos / "bo" / "9.png", (40, 40, 40))
            other = Database(photos / "database.json")
            other.edit("bo", images=("bo/9.png",))
            other.remove("mia")
        return found

    assistant.method.learn = edited_meanwhile
    costs = assistant.learn()
    assert [cost.name for cost in costs] == ["Kim-Lou", "bo", "mia"]
    assert assistant.who(photos / "bo" / "9.png")[0].name == "bo"
    assert {one.name for one in assistant.who(photos / "bo" / "9.png")} == {"bo", "Kim-Lou"}


def test_a_concept_forgotten_while_it_is_learned_leaves_nothing(learner, photos):
    assistant = learner()
    learn = assistant.method.learn

    def forgotten_meanwhile(concepts, *rest):
        other = Database(photos / "database.json")
        if "mia" in other.concepts():
            forget(other, ["mia"])
        return learn(concepts, *rest)  # which writes what it learned of her

    assistant.method.learn = forgotten_meanwhile
    assert "mia" in [cost.name for cost in assistant.learn()]
    assert assistant.method.store.names() == ["Kim-Lou", "bo"]


def test_a_photo_replaced_during_learning_makes_what_was_learned_stale(learner, photos, capsys):
    assistant = learner()
    concept = assistant.database.concepts()["bo"]
    store = assistant.method.store
    assert store.load(concept) is None  # learning begins
    paint(photos / "bo" / "0.png", (40, 40, 40), "new")
    store.save(concept, {}, {"seconds": 0.0})
    assert learner().method.store.load(concept) is None
    assert "other pictures; it is learned again" in capsys.readouterr().out


def test_a_kill_during_learning_loses_nothing_that_was_learned(learner, photos):
    assistant = learner()
    child = os.fork()
    if not child:
        save = assistant.method.store.save

        def save_then_die(*args):
            save(*args)
            os.kill(os.getpid(), signal.SIGKILL)

        assistant.method.store.save = save_then_die
        assistant.learn()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert [c.reused for c in learner().learn()] == [True, False, False]


def test_a_concept_that_cannot_be_learned_is_named_and_the_others_are_learned(learner, photos):
    assistant = learner()
    for file in (photos / "bo").iterdir():
        file.write_bytes(b"no photo")
    assert [cost.name for cost in assistant.learn()] == ["Kim-Lou", "mia"]
    assert assistant.skipped.line().endswith("none of whose photos opens: not an image (bo)")
    assert assistant.ask(photos / "mia" / "0.png", max_new_tokens=2).names == ["mia"]


def test_a_concept_whose_photos_broke_is_left_out_of_answers_and_thresholds(
    photos, policy, policy_dir, encoder
):
    retrieval = RetrievalSettings(encoder=encoder, regions=None, k=3, cache=str(photos / "cache"))
    assistant = Assistant(
        System("mine", str(policy_dir), retrieval), photo_database(photos), load=lambda: policy
    )
    (photos / "mia" / "0.png").write_bytes(b"no photo")  # the others still open
    for file in (photos / "bo").iterdir():
        file.write_bytes(b"no photo")
    for _ in range(2):  # counted once
        answer = assistant.ask(photos / "mia" / "1.png", "Are <bo> and <mia> here?", 2)
        assert {one.name for one in answer.concepts} == {"Kim-Lou", "mia"}
        assert "mia" in answer.names
    assert assistant.ask(None, "What are <bo> and <mia> like?", 2).names == ["mia"]
    assert assistant.skipped["concept none of whose photos opens: not an image"] == 1
    found = assistant.calibrate()
    assert found.n_positives == 1 + 2, "mia's third photo, and two of Kim-Lou's"
    with pytest.raises(InputError, match="no photo of 'bo' can be used .*not an image"):
        assistant.method.reference("bo")
    paint(photos / "bo" / "0.png", COLOURS["bo"])
    assert "bo" in assistant.ask(photos / "mia" / "1.png", "Is <bo> here?", 2).names


def test_what_another_policy_learned_is_named_and_learned_again(learner, tmp_path, capsys):
    assistant = learner()
    assistant.learn()
    other = save_tiny_policy(tmp_path / "other", seed=1)
    again = Assistant(
        System("other", str(other), method="colour"), assistant.database, load=assistant.method.load
    )
    capsys.readouterr()
    assert [cost.reused for cost in again.learn()] == [False] * 3
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and all("another policy; it is learned again" in line for line in said)


# ---- the threshold ----


def test_the_threshold_separates_and_lies_in_the_middle_of_the_widest_gap():
    found = best_threshold([0.9, 0.8, 0.7], [0.1, 0.3])
    assert found.value == pytest.approx(0.5) and found.weighted == 1
    mixed = best_threshold([0.9, 0.4], [0.6, 0.1])
    assert mixed.weighted == pytest.approx(0.75)
    assert best_threshold([0.5], [0.5]).weighted == pytest.approx(0.5)
    with pytest.raises(InputError, match="photos with a concept and photos without"):
        best_threshold([], [0.5])


def test_it_is_chosen_from_the_owners_photos_kept_and_used(learner, photos):
    for i in range(4):
        paint(photos.parent / "others" / f"{i}.png", (215, 215, 215), i)
    assistant = learner(negatives=str(photos.parent / "others"))
    assistant.learn()
    found = assistant.calibrate()
    assert found.weighted == 1 and found.n_positives == 6 and found.n_negatives == 3 * (4 + 6)
    assert learner(negatives=str(photos.parent / "others")).threshold == found
    assert learner(settings=assistant.method.Settings(reach=0.4)).threshold is None
    assert assistant.ask(photos.parent / "others" / "0.png", max_new_tokens=2).names == []


def test_there_must_be_something_to_choose_it_from(learner, photos, tmp_path):
    single = Database(tmp_path / "one" / "database.json")
    single.add(Concept("bo", (str(photos / "bo" / "0.png"),)))
    assistant = learner(single)
    assistant.learn()
    with pytest.raises(InputError, match="every concept has one photo, which is its reference"):
        assistant.calibrate()
    single.edit("bo", images=[str(photos / "bo" / f"{i}.png") for i in range(2)])
    with pytest.raises(InputError, match="one concept alone; name a folder of photos without it"):
        assistant.calibrate()


# ---- forgetting ----


def test_nothing_of_a_forgotten_concept_is_left(learner, photos, policy, policy_dir, encoder):
    own = photo_database(photos, photos.parent / "own" / "database.json")
    assistant = learner(own)
    assistant.learn()
    cache = photos.parent / "cache"
    retrieval = RetrievalSettings(encoder=encoder, regions=None, cache=str(cache))
    shown = Assistant(System("s", str(policy_dir), retrieval), own, load=lambda: policy)
    shown.who(photos / "bo" / "0.png")
    own_photos = [own.image_path(image) for image in own.concepts()["bo"].images]
    view_features(load_encoder(encoder), own_photos, 2, Augmentation(), cache)  # as of heads
    before = [path for path in (*own.root.rglob("*"), *cache.rglob("*")) if path.is_file()]
    (gone,) = forget(own, ["BO"], [cache])
    assert (gone.name, gone.n_learned, gone.n_pictures, gone.n_vectors) == ("bo", 1, 3, 3 + 6)
    assert gone.photos == ()
    left = [path for path in (*own.root.rglob("*"), *cache.rglob("*")) if path.is_file()]
    assert len(before) - len(left) == 2 + 3 + 9
    for path in left:
        assert "bo" not in path.stem.split("-")
        assert b'"bo"' not in path.read_bytes() and b"<bo>" not in path.read_bytes()
    assert "bo" not in [one.name for one in assistant.who(photos / "bo" / "0.png")]
    assert "bo" not in [one.name for one in shown.who(photos / "bo" / "0.png")]
    assert (photos / "bo" / "0.png").exists(), "the owner's own"


def test_shared_pictures_stay_and_unknown_names_touch_nothing(learner, photos):
    own = Database(photos.parent / "own" / "database.json")
    own.add(Concept("bo", (str(photos / "bo" / "0.png"),)))
    own.add(Concept("twin", (str(photos / "bo" / "0.png"),)))
    with pytest.raises(DatabaseError, match="no concept 'who'; it holds bo, twin"):
        forget(own, ["bo", "who"])
    own.add(Concept("mia", (str(photos / "mia" / "0.png"),)))
    text = own.path.read_text()
    own.path.write_text(text.replace('"<twin>": {', '"<bo>": {}, "<twin>": {'))
    with pytest.raises(DatabaseError, match="gives '<bo>' twice, and an edit would lose one"):
        forget(own, ["mia"])
    assert own.image_path(own.concepts()["mia"].images[0]).exists(), "nothing is lost"
    own.path.write_text(text)
    (gone,) = forget(own, ["bo"])
    assert gone.n_pictures == 0 and own.image_path(own.concepts()["twin"].images[0]).exists()


def test_what_is_left_of_a_concept_without_a_usable_entry_can_be_forgotten(learner, photos):
    own = photo_database(photos, photos.parent / "own" / "database.json")
    learner(own).learn()
    (copy,) = [own.image_path(image) for image in own.concepts()["bo"].images[:1]]
    for image in own.concepts()["mia"].images[1:]:
        own.image_path(image).unlink()
    content = json.loads(own.path.read_bytes())
    content["concept_dict"]["<mia>"]["info"] = 3  # no usable entry
    del content["concept_dict"]["<bo>"]  # by hand
    own.path.write_text(json.dumps(content))
    assert list(own.concepts()) == ["Kim-Lou"]
    mia, bo = forget(own, ["mia", "BO"])
    assert (mia.name, mia.n_learned, mia.n_pictures) == ("mia", 1, 1)
    assert (bo.n_learned, bo.n_pictures) == (1, 0) and copy.exists(), "nobody says whose it is"
    assert list(json.loads(own.path.read_bytes())["concept_dict"]) == ["<Kim-Lou>"]
    with pytest.raises(DatabaseError, match="no concept 'mia'; it holds Kim-Lou"):
        forget(own, ["mia"])


def test_what_depends_on_its_name_is_learned_again_after_a_renaming(learner, monkeypatch):
    assistant = learner()
    monkeypatch.setattr(type(assistant.method), "names_matter", True)
    learner().learn()
    rename(assistant.database, "bo", "ben")
    files = [file.name for file in learned_folder(assistant.database.path).rglob("*")]
    assert not [name for name in files if name.startswith(("bo", "ben"))]
    assert [c.reused for c in learner().learn()] == [True, False, True]
