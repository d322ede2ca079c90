"""Systems: how they are called, what is refused before weights load, when they have changed."""

import json
import shutil

import pytest

from benchmarks.harness.systems import parse_systems
from concepts.methods import systems
from concepts.methods.finding import RetrievalSettings
from concepts.methods.systems import (
    System,
    check_policy,
    policy_fingerprint,
    policy_loader,
    system_fingerprint,
)
from data_gen.files.errors import InputError


@pytest.fixture
def two_policies(tmp_path, monkeypatch):
    """``a/policy`` and ``b/policy``, of which only the config is there."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/policy", "b/policy"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path


def test_policies_are_named_and_checked(two_policies):
    found = parse_systems(["base=a/policy", "b/policy"])
    assert [(s.label, s.path) for s in found] == [("base", "a/policy"), ("b/policy", "b/policy")]
    assert [s.label for s in parse_systems(["a/policy", "b/policy"])] == ["a/policy", "b/policy"]
    with pytest.raises(InputError, match="two policies are called 'x'"):
        parse_systems(["x=a/policy", "x=b/policy"])
    with pytest.raises(InputError, match="two policies"):
        parse_systems(["a/policy", "a/policy"])
    with pytest.raises(InputError, match="no policy"):
        parse_systems([])
    (two_policies / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds neither config\.json"):
        check_policy("empty")
    for missing in ("./nowhere", "/no/where/at/all", "runs/a/b/policy"):
        with pytest.raises(InputError, match="there is no such directory"):
            check_policy(missing)


@pytest.mark.parametrize(
    "labels", [("a b", "a_b"), ("a/b", "a:b"), ("Base", "base"), ("é", "e\u0301")]
)
def test_labels_that_name_one_folder_are_refused(two_policies, labels):
    with pytest.raises(InputError, match="name the same folder"):
        parse_systems([f"{labels[0]}=a/policy", f"{labels[1]}=b/policy"])
    (two_policies / "r.yaml").write_text("policy: b/policy")
    with pytest.raises(InputError, match="name the same folder"):
        parse_systems([f"{labels[0]}=a/policy"], [f"{labels[1]}=r.yaml"], check=False)


@pytest.mark.parametrize("label", [".", "..", "x" * 300])
def test_a_label_that_names_no_folder_is_refused(two_policies, label):
    with pytest.raises(InputError, match="names no folder"):
        parse_systems([f"{label}=a/policy"])


def test_a_system_is_a_file_with_policy_and_retrieval(two_policies):
    (two_policies / "r.yaml").write_text(
        "policy: b/policy\nretrieval: {encoder: imagenet, regions: null, k: 3}"
    )
    found = parse_systems(["base=a/policy"], ["found=r.yaml", "r.yaml"])
    asked = RetrievalSettings(encoder="imagenet", regions=None, k=3)
    assert found == [
        System("base", "a/policy"),
        System("found", "b/policy", asked),
        System("r", "b/policy", asked),
    ]
    # `retrieval` of the evaluation is for the systems of --policy.
    own = RetrievalSettings(encoder="toybox_clip")
    assert [s.retrieval for s in parse_systems(["a/policy"], ["r.yaml"], own)] == [own, asked]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("policy: a/policy\nretrieve: {}", "unknown key 'retrieve'"),
        ("retrieval: {encoder: imagenet}", "'policy' is missing"),
        ("policy: a/policy\nretrieval: {encode: x}", "encode"),
        ("policy: a/policy\nretrieval: {k: 2}", "retrieval.encoder is missing"),
        ("policy: a/policy\nretrieval: {encoder: x, k: 0}", "not 0"),
        ("policy: a/policy\nretrieval: {encoder: x, verify: 0.5}", "'gate' in the settings"),
        ("policy: a/policy\nsettings: {gate: 2}", "gate must be a probability, not 2"),
        ("policy: a/policy\nretrieval: imagenet", "retrieval"),
        ("policy: gone", "there is no such directory"),
    ],
)
def test_a_system_file_that_cannot_be_used_is_refused(two_policies, text, sentence):
    (two_policies / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=sentence) as refused:
        parse_systems([], ["s.yaml"])
    assert "\n" not in str(refused.value)


def test_fingerprints_follow_content(policy_dir, tmp_path):
    copy = shutil.copytree(policy_dir, tmp_path / "copy")
    assert policy_fingerprint(str(copy)) == policy_fingerprint(str(policy_dir))
    (copy / "README.md").write_text("a model card")
    assert policy_fingerprint(str(copy)) == policy_fingerprint(str(policy_dir))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    changed = policy_fingerprint(str(copy))
    assert changed != policy_fingerprint(str(policy_dir))

    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(copy), "peft_type": "LORA"})
    )
    before = policy_fingerprint(str(adapter))
    weights.write_bytes(weights.read_bytes()[:-1] + b"y")
    assert policy_fingerprint(str(adapter)) != before  # the base changed


def test_a_systems_fingerprint_follows_precision_and_retrieval(policy_dir):
    plain = System("a", str(policy_dir))
    found = {system_fingerprint(plain, "float32"), system_fingerprint(plain, "bfloat16")}
    for how in ({}, {"k": 3}, {"least": 0.5}, {"regions": None}):
        settings = RetrievalSettings(encoder="imagenet", **how)
        found.add(system_fingerprint(System("a", str(policy_dir), settings), "float32"))
    assert len(found) == 6
    assert all(one.startswith(policy_fingerprint(str(policy_dir))) for one in found)
    # Neither the label nor where features are kept changes a reply.
    one, two = (
        System(label, str(policy_dir), RetrievalSettings(encoder="x", cache=cache))
        for label, cache in (("a", "b"), ("c", "d"))
    )
    assert system_fingerprint(one, "float32") == system_fingerprint(two, "float32")


def test_a_policy_is_loaded_once_and_only_when_asked_for(monkeypatch):
    loads, times = [], []

    class Model:
        def to(self, device):
            loads.append(device)
            return self

        def generate(self):
            return "said"

    monkeypatch.setattr(systems, "load_policy", lambda path, **how: (Model(), (path, how)))
    load = policy_loader(
        "p", dtype="float32", device="cpu", timed=lambda call: lambda: times.append(1) or call()
    )
    assert not loads
    model, (path, how) = load()
    assert load()[0] is model and loads == ["cpu"] and path == "p" and how["dtype"] == "float32"
    assert model.generate() == "said" and times == [1]


def test_values_of_a_config_are_laid_over_those_of_a_systems_file(two_policies):
    (two_policies / "mine.yaml").write_text(
        "policy: a/policy\nmethod: r2p\nsettings: {k: 5, images: 2}\n"
    )
    given = {"file": "mine.yaml", "policy": "b/policy", "settings": {"k": 2}}
    plain, mine = parse_systems(["a/policy"], inline={"mine": given})
    assert (mine.label, mine.path, mine.method) == ("mine", "b/policy", "r2p")
    assert (mine.settings.k, mine.settings.images) == (2, 2) and plain.path == "a/policy"
    with pytest.raises(InputError, match="systems.mine: 'policy' is missing"):
        parse_systems([], inline={"mine": {"method": "r2p"}})
    with pytest.raises(InputError, match="systems.mine must be the values of a system"):
        parse_systems([], inline={"mine": "mine.yaml"})
    with pytest.raises(InputError, match="two policies are called 'mine'"):
        parse_systems(["mine=a/policy"], inline={"mine": given})
