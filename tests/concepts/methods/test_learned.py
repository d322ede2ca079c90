"""What was learned is kept beside the database: read back, named where it is stale, removed."""

import json

import pytest
import torch
from PIL import Image

from concepts.concept import Concept, renamed
from concepts.methods.learned import LearnedStore, learned_folder, safe_name

BO = Concept("bo", ("bo.png",), "<bo> is a red plate.", "plate")


@pytest.fixture
def place(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "bo.png")
    return learned_folder(tmp_path / "database.json")


def store(place, kind="yollava", policy="p", settings="s", **changes):
    return LearnedStore(place, kind, policy, settings, **changes)


def vectors(seed=0):
    return {"tokens": torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))}


def test_what_was_learned_is_read_back_and_lies_beside_the_database(place):
    assert place.name == "database.json.learned"
    n_bytes = store(place).save(BO, vectors(), {"seconds": 1.5, "n_parameters": 12})
    tensors, facts = store(place).load(BO)
    assert torch.equal(tensors["tokens"], vectors()["tokens"])
    assert (facts["seconds"], facts["n_parameters"], facts["name"]) == (1.5, 12, "bo")
    files = sorted((place / "yollava").iterdir())
    assert [file.suffix for file in files] == [".json", ".safetensors"]
    assert n_bytes == sum(file.stat().st_size for file in files) == store(place).size("bo")
    assert store(place).names() == ["bo"]


def test_a_method_may_learn_facts_alone(place):
    store(place, "r2p").save(BO, {}, {"fingerprint": {"colour": "red"}})
    assert store(place, "r2p").load(BO)[0] == {}
    assert store(place).load(BO) is None, "another method's"


@pytest.mark.parametrize(
    ("changes", "concept", "why"),
    [
        ({"policy": "other"}, BO, "another policy"),
        ({"settings": "other"}, BO, "other settings"),
        ({}, Concept("bo", ("bo.png",), "<bo> is a blue plate.", "plate"), "another text"),
        ({}, Concept("bo", ("bo.png", "bo.png"), BO.info, "plate"), "other pictures"),
        ({}, Concept("bo", ("gone.png",), BO.info, "plate"), "other pictures"),
    ],
)
def test_stale_files_are_named_once_and_not_used(place, capsys, changes, concept, why):
    store(place).save(BO, vectors(), {})
    other = store(place, **changes)
    assert other.load(concept) is None and other.load(concept) is None
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "'bo'" in said[0] and why in said[0]
    other.save(concept, vectors(1), {})
    assert other.load(concept) is not None and not capsys.readouterr().out


def test_a_picture_painted_over_is_another_picture(place):
    kept = store(place)
    kept.save(BO, vectors(), {})
    Image.new("RGB", (9, 9), "blue").save(place.parent / "bo.png")
    assert kept.load(BO) is None


@pytest.mark.parametrize("ending", [".safetensors", ".json"])
@pytest.mark.parametrize("content", [b"", b"{", b"\x08\0\0\0\0\0\0\0{}      ", b"[1]", None])
def test_damaged_and_half_written_files_are_named_and_do_not_count(place, ending, content, capsys):
    kept = store(place)
    kept.save(BO, vectors(), {})
    file = next((place / "yollava").glob(f"*{ending}"))
    file.unlink() if content is None else file.write_bytes(content)
    assert store(place).load(BO) is None
    gone = content is None and ending == ".json"  # nothing says that there was something
    assert capsys.readouterr().out.endswith("it is learned again\n") is not gone
    kept.save(BO, vectors(), {})
    assert store(place).load(BO) is not None


def test_a_kill_between_the_two_files_leaves_nothing_that_counts(place):
    kept = store(place)
    kept.save(BO, vectors(), {})
    tensors = next((place / "yollava").glob("*.safetensors"))
    old = tensors.read_bytes()
    kept.save(BO, vectors(1), {})
    tensors.write_bytes(old)
    assert store(place).load(BO) is None


def test_a_renamed_concept_keeps_what_does_not_depend_on_its_name(place):
    kept = store(place)
    kept.save(BO, vectors(), {"n_parameters": 12})
    kept.rename("bo", "mia")
    assert kept.names() == ["mia"] and len(list((place / "yollava").iterdir())) == 2
    tensors, facts = kept.load(renamed(BO, "mia"))
    assert torch.equal(tensors["tokens"], vectors()["tokens"]) and facts["n_parameters"] == 12
    kept.rename("mia", "Mia")  # one name to captions, and one file
    assert kept.names() == ["Mia"] and kept.load(renamed(BO, "Mia")) is not None
    by_name = store(place, "myvlm", names_matter=True)
    by_name.save(BO, vectors(), {})
    by_name.rename("bo", "mia")
    assert by_name.names() == []


def test_removing_leaves_no_file(place):
    kept = store(place)
    kept.save(BO, vectors(), {})
    kept.remove("bo")
    kept.remove("nobody")
    assert kept.load(BO) is None and not list((place / "yollava").iterdir())
    (place / "yollava" / "x.json").write_text(json.dumps(["no", "facts"]))
    assert kept.names() == []


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "CON", "é", "小白", "x" * 80, "a b"])
def test_any_name_is_a_file_name(name, place):
    assert safe_name(name).isprintable() and "/" not in safe_name(name)
    assert len(safe_name(name).encode()) < 150
    concept = Concept(name, ("bo.png",))
    store(place).save(concept, {}, {})
    assert store(place).load(concept) is not None
    assert {file.parent for file in place.rglob("*") if file.is_file()} == {place / "yollava"}


def test_names_that_captions_tell_apart_have_files_of_their_own():
    assert safe_name("Bo") == safe_name("bo")
    assert len({safe_name(name) for name in ("a b", "ab", "a/b", "a.b")}) == 4
