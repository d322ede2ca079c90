"""``byname toys``, ``learn`` and ``ask`` from start to end, with a policy that knows nothing."""

import json
import re

import pytest
import yaml

from concepts.database import Database
from concepts.methods import registry, systems
from concepts.methods.learned import learned_folder
from launch import ask, learn
from launch.tools import toys
from tests.concepts.methods.colour_method import ADDRESS
from tests.concepts.tiny_encoders import save_dinov2

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(save_dinov2(tmp_path_factory.mktemp("dinov2")))


@pytest.fixture
def mine(tmp_path, tiny, encoder, monkeypatch):
    """Photos of three toys, and configs of two methods."""
    toys.main(["--out", str(tmp_path / "my"), "--count", "3", "--views", "2", "--scenes", "2"])
    monkeypatch.setitem(registry.METHODS, "colour", ADDRESS)
    common = {"policy": str(tiny["policy"]), "size": 64}
    retrieval = {"encoder": encoder, "regions": None, "cache": str(tmp_path / "cache"), "k": 2}
    for name, config in {
        "in_context": {**common, "retrieval": retrieval},
        "colour": {**common, "method": "colour", "settings": {"reach": 0.9}},
    }.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def asked(mine, method, *question):
    photos, image = mine / "my" / "photos", mine / "my" / "new" / "0.png"
    config = ["--config", str(mine / f"{method}.yaml"), "--photos", str(photos)]
    return [*config, "--max_new_tokens", "4", "--image", str(image), *question]


def test_toys_are_photos_as_a_user_keeps_them_and_say_what_to_ask(tmp_path, capsys):
    toys.main(["--out", str(tmp_path / "my"), "--count", "2", "--scenes", "3"])
    said = capsys.readouterr().out.splitlines()
    folders = sorted(path.name for path in (tmp_path / "my" / "photos").iterdir())
    assert len(folders) == 2
    assert len(list((tmp_path / "my").rglob("*.png"))) == 2 * 4 + 3 + 3
    assert said[0].split(" shows ")[1] in folders
    assert said[-1].startswith("next: byname ask --policy toybox_base --photos ")
    with pytest.raises(SystemExit, match="toys: .*my exists; name another place"):
        toys.main(["--out", str(tmp_path / "my")])
    before = capsys.readouterr().out
    toys.main(["--out", str(tmp_path / "my"), "--count", "2", "--scenes", "3"])  # the same again
    assert "they are in" in capsys.readouterr().out and not before


@pytest.mark.parametrize("method", ["in_context", "colour"])
def test_one_question_is_answered_with_who_is_there_and_why(mine, method, capsys):
    ask.main(asked(mine, method, "What is on the table?"))
    said = capsys.readouterr().out
    assert "my/photos/database.json: 3 concepts, 6 images" in said
    assert "who is there (p of 0.50 or more, by default):" in said
    lines = [line for line in said.splitlines() if line.startswith(("  + ", "  - "))]
    assert len(lines) == (2 if method == "in_context" else 3)
    assert all(re.search(r"\bp [01]\.\d\d\)$", line) for line in lines)
    assert all(("similarity" in line) == (method == "in_context") for line in lines)


def test_without_a_question_a_conversation_begins(mine, monkeypatch, capsys):
    lines = iter(["Who is it?", "Where?", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    ask.main(asked(mine, "in_context"))
    assert "ask what you like; an empty line ends" in capsys.readouterr().out
    assert next(lines, None) is None


def test_what_a_model_wrote_does_not_steer_the_terminal():
    assert ask.shown("a\x1b[2Jb\nc\u202e") == "a\ufffd[2Jb\nc\ufffd"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--photos", "x"], "about which image? give --image PHOTO"),
        (["--image", "x.jpg", "--photos", "x"], "x.jpg: "),
        (["--image", "{image}"], "whose concepts? give --photos FOLDER or --database FILE"),
        (["--image", "{image}", "--photos", "nowhere"], "nowhere is no directory and no zip"),
        (["--image", "{image}", "--database", "no.json"], "no.json cannot be read"),
        (["--image", "{image}", "--photos", "{photos}", "--method", "yolava"], "'yolava'"),
        (["--image", "{image}", "--photos", "{photos}", "--policy", "./gone"], "./gone"),
        (["--image", "{image}", "--photos", "{photos}", "--settings.show", "x"], "show must be"),
    ],
)
def test_refused_in_one_sentence_before_weights_load(mine, monkeypatch, words, sentence):
    monkeypatch.setattr(systems, "load_policy", None)
    there = {"image": mine / "my" / "new" / "0.png", "photos": mine / "my" / "photos"}
    argv = ["--config", str(mine / "in_context.yaml"), *(word.format(**there) for word in words)]
    with pytest.raises(SystemExit) as refused:
        ask.main(argv)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def test_the_config_of_the_named_method_is_read():
    assert ask.default_config(["--image", "x"]) == "configs/methods/in_context.yaml"
    assert ask.default_config(["--method", "rap"]) == "configs/methods/rap.yaml"
    assert ask.default_config(["--method=rap"]) == "configs/methods/rap.yaml"
    assert ask.default_config(["--method", "none"]) is None


def test_concepts_are_learned_renamed_and_forgotten(mine, capsys):
    file = mine / "own" / "database.json"
    config = ["--config", str(mine / "colour.yaml"), "--database", str(file)]
    negatives = ["--negatives", str(mine / "my" / "others"), "--calibrate"]
    learn.main([*config, "--photos", str(mine / "my" / "photos"), *negatives])
    said = capsys.readouterr().out
    names = list(Database(file).concepts())
    for name in names:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{name}: ")]
        assert "bytes, 3 parameters" in line and "kept" not in line
    assert "threshold 0." in said and f"of {3} photos with a concept reach it" in said
    assert said.splitlines()[-1].startswith(f"next: byname ask --config {mine / 'colour.yaml'} ")

    learn.main([*config, "--names", names[0]])
    assert f"{names[0]}: kept from before" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="holds no concept 'who'"):  # and nobody is renamed
        learn.main([*config, "--rename", f"{names[1]}=zorro", "who=me"])
    learn.main([*config, "--rename", f"{names[1]}=zorro"])
    learn.main([*config, "--names", "zorro"])
    assert "zorro: kept from before" in capsys.readouterr().out
    learn.main([*config, "--forget", "zorro", names[0]])
    said = capsys.readouterr().out
    assert "zorro is forgotten: its entry, 2 copied pictures" in said
    assert list(Database(file).concepts()) == [names[2]]
    kept = [json.loads(f.read_bytes())["name"] for f in learned_folder(file).glob("colour/*.json")]
    assert kept == [names[2]] and len(list((mine / "own" / "images").iterdir())) == 2


def test_photos_that_do_not_open_are_named_and_where_none_does_nothing_is_learned(mine, capsys):
    photos = mine / "my" / "photos"
    config = ["--config", str(mine / "colour.yaml"), "--database", str(photos / "database.json")]
    learn.main([*config, "--photos", str(photos)])
    first, *others = sorted(
        path for path in photos.iterdir() if path.is_dir() and ".json" not in path.name
    )
    for file in first.iterdir():
        file.write_bytes(b"no photo")
    capsys.readouterr()
    learn.main(config)
    said = capsys.readouterr().out
    assert f"skipped 1: 1 concept none of whose photos opens: not an image ({first.name})" in said
    assert len([line for line in said.splitlines() if ": kept from before" in line]) == 2
    learn.main([*config, "--photos", str(photos)])
    assert "learned" not in capsys.readouterr().out.splitlines()[0], "our own folder is no photo's"
    for file in (file for folder in others for file in folder.iterdir()):
        file.write_bytes(b"no photo")
    with pytest.raises(SystemExit, match="nothing was learned; skipped 3: 3 concept none of whose"):
        learn.main(config)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--names", "who"], "holds no concept 'who'; it holds"),
        (["--forget", "who"], "holds no concept 'who'; it holds"),
        (["--rename", "who"], "'who' is not OLD=NEW"),
        (["--rename", "who=me"], "holds no concept 'who'"),
        (["--negatives", "nowhere"], "nowhere is no directory and no zip"),
        (["--settings.rich", "1"], "rich"),
    ],
)
def test_learning_is_refused_in_one_sentence(mine, monkeypatch, words, sentence):
    monkeypatch.setattr(systems, "load_policy", None)
    config = ["--config", str(mine / "colour.yaml"), "--photos", str(mine / "my" / "photos")]
    with pytest.raises(SystemExit) as refused:
        learn.main([*config, *words])
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
