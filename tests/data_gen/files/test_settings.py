"""The reader of settings: YAML 1.2, a base, the command line over it, and what it refuses."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_gen.files.errors import InputError
from data_gen.files.settings import (
    Arguments,
    find_config,
    help_text,
    read_settings,
    read_yaml,
    settings_from,
    yaml_text,
)


@dataclass(kw_only=True)
class Retrieval:
    """How references are found.

    Attributes:
        encoder: what compares images.
        k: references per query.
    """

    encoder: str
    k: int = 2


@dataclass(kw_only=True)
class Settings:
    """All kinds of settings."""

    root: str = "photos"
    label: str | None = None
    side: Literal["long", "short"] = "long"
    steps: int = 3
    rate: float = field(default=0.1, metadata={"help": "The learning rate."})
    bright: bool = False  # more light
    limit: int | None = None
    rewards: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    mix: dict[str, float] | None = None
    concepts: dict[int, float] = field(default_factory=lambda: {1: 0.6, 2: 0.4})
    sizes: dict = field(default_factory=dict)
    pipeline: Mapping | None = None
    captions: dict | str | None = None
    retrieval: Retrieval | None = None
    arms: dict[str, Retrieval] = field(default_factory=dict)


@dataclass
class Needed:
    name: str
    rows: str = "rows"


def read(argv, *sections, text=None, tmp_path=None, **options):
    if text is not None:
        (tmp_path / "file.yaml").write_text(text)
        argv = ["--config", str(tmp_path / "file.yaml"), *argv]
    return read_settings(argv, *(sections or (Settings,)), **options)


def one(argv, **options) -> Settings:
    return read(argv, **options)[0]


def test_without_anything_it_is_the_defaults():
    assert one([]) == Settings()


@pytest.mark.parametrize(
    ("argv", "key", "value"),
    [
        (["--steps", "5"], "steps", 5),
        (["--steps=1_000"], "steps", 1000),
        (["--steps", "-1"], "steps", -1),
        (["--rate", "1e-5"], "rate", 1e-5),
        (["--rate", "1"], "rate", 1),
        (["--root", "2024_05"], "root", "2024_05"),
        (["--root", "1e-5"], "root", "1e-5"),
        (["--root", "null"], "root", "null"),
        (["--root", "true"], "root", "true"),
        (["--root", "a: b: [c"], "root", "a: b: [c"),
        (["--root="], "root", ""),
        (["--root=--x"], "root", "--x"),
        (["--label", "null"], "label", None),
        (["--label", "2024_05"], "label", "2024_05"),
        (["--limit", "null"], "limit", None),
        (["--bright"], "bright", True),
        (["--bright", "false"], "bright", False),
        (["--bright", "yes"], "bright", True),
        (["--side", "short"], "side", "short"),
        (["--rewards", "a", "2024_05"], "rewards", ["a", "2024_05"]),
        (["--rewards", "a", "--steps", "3", "--rewards", "b"], "rewards", ["a", "b"]),
        (["--rewards", "[a, 2024_05]"], "rewards", ["a", "2024_05"]),
        (["--rewards", "a"], "rewards", ["a"]),
        (["--weights", "1", "0.5"], "weights", [1, 0.5]),
        (["--mix", "{a: 1, b: 1e-1}"], "mix", {"a": 1, "b": 0.1}),
        (["--mix.a", "1", "--mix.b=2e0"], "mix", {"a": 1, "b": 2.0}),
        (["--sizes.full.oct", "100"], "sizes", {"full": {"oct": 100}}),
        (["--concepts.1", "0.5"], "concepts", {1: 0.5, 2: 0.4}),
        (["--concepts.3", "0.5"], "concepts", {1: 0.6, 2: 0.4, 3: 0.5}),
        (["--pipeline", "null"], "pipeline", None),
        (["--captions", "file.json"], "captions", "file.json"),
        (["--captions", "{scores: [bleu]}"], "captions", {"scores": ["bleu"]}),
        (["--retrieval.encoder", "2024_05"], "retrieval", Retrieval(encoder="2024_05")),
        (
            ["--retrieval", "{encoder: imagenet, k: 4}"],
            "retrieval",
            Retrieval(encoder="imagenet", k=4),
        ),
        (["--arms.base.encoder", "x"], "arms", {"base": Retrieval(encoder="x")}),
        (["--steps", "3", "--steps", "4"], "steps", 4),
        (["--mix", "{a: 1}", "--mix.b", "2", "--mix.b", "3"], "mix", {"a": 1, "b": 3}),
        (["--mix.b", "2", "--mix", "{a: 1}"], "mix", {"a": 1}),
    ],
)
def test_the_command_line(argv, key, value):
    found = one(argv)
    assert getattr(found, key) == value
    assert type(getattr(found, key)) is type(value)
    assert all(
        getattr(found, f.name) == getattr(Settings(), f.name)
        for f in fields(Settings)
        if f.name != key
    )


def test_a_file_is_yaml_1_2(tmp_path):
    found = one(
        [],
        tmp_path=tmp_path,
        text="""
root: 2024_05          # a text stays as it was written
label: on
rate: 1e-5
steps: 40_960
limit: null
sizes: {full: {oct: 1e-3, answer: no, day: 2024-05-01, time: 1:30, hex: 0x10, ten: 010}}
rewards: [a, 3]
captions: on
""",
    )
    assert (found.root, found.label, found.rate, found.steps) == ("2024_05", "on", 1e-5, 40_960)
    assert found.sizes == {
        "full": {
            "oct": 1e-3,
            "answer": "no",
            "day": "2024-05-01",
            "time": "1:30",
            "hex": 16,
            "ten": 10,
        }
    }
    assert found.rewards == ["a", "3"] and found.captions == "on"


def test_anchors_and_merges_are_read(tmp_path):
    text = "sizes:\n  a: &a {oct: 1, vlt: 2}\n  b: {<<: *a, vlt: 3}\n"
    assert one([], text=text, tmp_path=tmp_path).sizes["b"] == {"oct": 1, "vlt": 3}


def test_parts_are_laid_over_what_the_file_has(tmp_path):
    text = "pipeline: {class: Flux, call: {steps: 16, scale: 4.0}}\nretrieval: {encoder: x, k: 3}\n"
    found = one(
        ["--pipeline.call.steps", "4", "--retrieval.encoder", "imagenet"],
        text=text,
        tmp_path=tmp_path,
    )
    assert found.pipeline == {"class": "Flux", "call": {"steps": 4, "scale": 4.0}}
    assert found.retrieval == Retrieval(encoder="imagenet", k=3)
    assert one(["--pipeline", "{class: SD}"], text=text, tmp_path=tmp_path).pipeline == {
        "class": "SD"
    }


def test_a_base_lies_under_the_file_that_names_it(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "base.yaml").write_text("steps: 7\nroot: a\nmix: {x: 1, y: 2}\n")
    (tmp_path / "sub/own.yaml").write_text("base: ../base.yaml\nroot: b\nmix.y: 3\n")
    argv = ["--config", str(tmp_path / "sub/own.yaml")]
    assert one(argv) == Settings(steps=7, root="b", mix={"x": 1, "y": 3})
    assert one([*argv, "--steps", "8"]).steps == 8
    assert read_yaml(tmp_path / "sub/own.yaml") == {
        "steps": 7,
        "root": "b",
        "mix": {"x": 1, "y": 3},
    }
    (tmp_path / "third.yaml").write_text("base: sub/own.yaml\n")
    with pytest.raises(InputError, match=r"own.yaml has a base, too; only one level"):
        one(["--config", str(tmp_path / "third.yaml")])
    (tmp_path / "sub/own.yaml").write_text("base: nowhere.yaml\n")
    with pytest.raises(InputError, match=r"cannot read .*sub/nowhere.yaml: No such file"):
        one(argv)


@pytest.mark.parametrize(
    ("argv", "text", "sentence"),
    [
        (["--step", "3"], None, r"^command line: unknown option '--step'; did you mean 'steps'\?$"),
        ([], "stepps: 3", r"file.yaml: unknown key 'stepps'; did you mean 'steps'\?$"),
        (["--steps", "abc"], None, "^command line: 'steps' must be a whole number, not 'abc'$"),
        ([], "steps: abc", "file.yaml: 'steps' must be a whole number, not 'abc'$"),
        ([], "steps: true", "'steps' must be a whole number, not True"),
        ([], "steps: 3.0", "'steps' must be a whole number, not 3.0"),
        ([], "bright: 1", "'bright' must be true or false, not 1"),
        ([], "rate: fast", "'rate' must be a number, not 'fast'"),
        ([], "root: [a]", r"'root' must be a text, not \['a'\]"),
        ([], "root: null", "'root' must be a text, not None"),
        ([], "side: wide", "'side' must be 'long' or 'short', not 'wide'"),
        ([], "rewards: a", "'rewards' must be a list in which each is a text, not 'a'"),
        (
            [],
            "mix: {a: x}",
            "'mix' must be a mapping from a text to a number or null, not {'a': 'x'}",
        ),
        (["--limit", "x"], None, "'limit' must be a whole number or null, not 'x'"),
        (["--sizes", "{a: ["], None, "--sizes is not YAML"),
        (["--steps"], None, "--steps needs a value"),
        (["--steps", "1", "2"], None, "--steps takes one value, not 1 2"),
        (["steps", "1"], None, "write settings as --key value, not 'steps'"),
        (["--steps.x", "1"], None, "'steps.x' cannot be set, as 'steps' is 3"),
        ([], "retrieval: {k: 2}", r"'retrieval': 'encoder' is missing \(what compares images\)"),
        ([], "retrieval: {encoder: x, kk: 2}", "'retrieval': unknown key 'kk'"),
        ([], "arms: {base: {encoder: x, k: a}}", "'arms.base': 'k' must be a whole number"),
        ([], "steps: 1\nsteps: 2", r"'steps' is given twice \(line 2\)"),
        ([], "sizes: {a: 1, a: 2}", "'a' is given twice"),
        ([], "a: [1", "file.yaml is not YAML"),
        ([], "- a", "file.yaml holds no settings"),
        ([], "", "file.yaml holds no settings"),
        (["--config"], None, "--config needs a file"),
        (
            ["--config", "nowhere.yaml"],
            None,
            "^cannot read nowhere.yaml: No such file or directory$",
        ),
    ],
)
def test_it_refuses_with_one_sentence(tmp_path, argv, text, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        one(argv, text=text, tmp_path=tmp_path)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("root: x  # caf\u00e9".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.yaml: is not UTF-8 text \(at byte 14\)"):
        one(["--config", str(tmp_path / "latin.yaml")])


def test_missing_settings_and_what_a_class_refuses_are_named(tmp_path):
    with pytest.raises(InputError, match="command line: 'name' is missing"):
        read([], Needed)
    with pytest.raises(InputError, match="file.yaml: 'name' is missing"):
        read([], Needed, text="rows: x", tmp_path=tmp_path)

    @dataclass
    class Strict:
        share: float = 0.0

        def __post_init__(self):
            if self.share > 1:
                raise ValueError(f"share is {self.share};\nit must be at most 1")

    with pytest.raises(InputError, match="^command line: share is 2; it must be at most 1$"):
        read(["--share", "2"], Strict)
    with pytest.raises(InputError, match="'share' is set from 'part'"):
        read(["--share", "1"], Strict, refuse={"share": "is set from 'part'"})


def test_several_sections_functions_and_what_is_chosen():
    def maker(path: str, *, seed: int, size: int = 512, templates: dict | None = None):
        """Rows.

        Args:
            path: where the files are.
            size: of images,
                in pixels.
        """

    arguments = Arguments(maker, frozenset({"seed", "templates"}), {"prompts": str | None})

    def choose(values):
        assert values["name"] == "folders" and values["rows"] == "rows"
        return arguments

    argv = ["--name", "folders", "--path", "2024_05", "--prompts", "x.yaml"]
    needed, given = read(argv, Needed, choose=choose)
    assert needed == Needed("folders") and given == {"path": "2024_05", "prompts": "x.yaml"}
    with pytest.raises(InputError, match="'size' must be a whole number"):
        read([*argv, "--size", "x"], Needed, choose=choose)
    with pytest.raises(InputError, match=r"'path' is missing \(where the files are\)"):
        read(argv[:2], Needed, choose=choose)
    with pytest.raises(InputError, match="unknown option '--seed'"):
        read([*argv, "--seed", "1"], Needed, choose=choose)
    assert read(["--name", "x"], Needed, choose=lambda values: None) == (Needed("x"),)
    assert settings_from({"path": "a"}, arguments, "source") == {"path": "a"}
    with pytest.raises(InputError, match="^source: unknown key 'pth'; did you mean 'path'"):
        settings_from({"pth": "a"}, arguments, "source")
    with pytest.raises(InputError, match="source must be a mapping of settings, not 3"):
        settings_from(3, arguments, "source")


def test_values_before_the_first_option_may_belong_to_one():
    assert read(["a", "--rows", "b"], Needed, positional="name") == (Needed("a", "b"),)


def test_help_names_types_defaults_and_help(capsys):
    with pytest.raises(SystemExit) as stop:
        read(
            ["--help"],
            Settings,
            Needed,
            library=(Needed,),
            program="byname x",
            doc="Do it.\n\n    byname x --config c.yaml\n\nIt is done.\n",
        )
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert said.startswith("usage: byname x [--config FILE] [--key value ...]\n\nDo it.\n\n    by")
    assert "--rate float                    The learning rate. (default: 0.1)" in said
    assert "more light (default: false)" in said and "--label str|null" in said
    assert "--rows" not in said and "and 2 more of Needed: --help all prints them" in said
    everything = help_text([Settings, Needed], "all", library=[Needed])
    assert "--rows str" in everything and "--rate" in everything
    assert help_text([Settings, Needed], "LEARN", library=[Needed]).split()[0] == "--rate"
    assert "no setting" in help_text([Settings], "nothing like it")


def test_help_shows_the_settings_of_what_is_chosen(capsys):
    def choose(values):
        if values["name"] != "retrieval":
            raise InputError("name must be retrieval")
        return Retrieval

    for argv, there in (
        (["--help"], False),
        (["--help", "--name", "retrieval"], True),
        (["--name", "x", "--help"], False),
    ):
        with pytest.raises(SystemExit):
            read(argv, Needed, choose=choose, listing="names: retrieval")
        said = capsys.readouterr().out
        assert ("references per query." in said) == there == ("names: retrieval" not in said)


class Colour(enum.Enum):
    RED = "red"


@dataclass
class OfLibrary:
    colour: Colour | str = Colour.RED
    report: None | str | list[str] = None
    place: Path = Path("x")


def test_types_of_libraries():
    (found,) = read(
        ["--colour", "red", "--report", "wandb", "tensorboard", "--place", "2_0"], OfLibrary
    )
    assert found.colour in ("red", Colour.RED) and found.report == ["wandb", "tensorboard"]
    assert found.place == Path("2_0")
    assert read(["--report", "none"], OfLibrary)[0].report == "none"


def test_shipped_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("configs/data/toybox.yaml").is_file()
    assert read_yaml("configs/data/toybox.yaml")["generator"] == "toybox"
    (tmp_path / "configs/data").mkdir(parents=True)
    (tmp_path / "configs/data/toybox.yaml").write_text("generator: mine\n")
    assert read_yaml("configs/data/toybox.yaml") == {"generator": "mine"}


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(TEXTS)
def test_a_text_is_read_as_it_was_typed(text):
    assert one([f"--root={text}"]).root == text
    assert one([f"--retrieval.encoder={text}"]).retrieval.encoder == text


@given(st.dictionaries(TEXTS, PLAIN, max_size=4))
def test_what_yaml_writes_is_read_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("yaml") / "file.yaml"
    path.write_text(yaml_text({"sizes": value}), encoding="utf-8")
    assert read_yaml(path) == {"sizes": value}
    assert one(["--config", str(path)]).sizes == value


@given(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_were_typed(whole, number):
    found = one([f"--steps={whole}", f"--rate={number!r}", "--weights", repr(number), str(whole)])
    assert (found.steps, found.rate, found.weights) == (whole, number, [number, whole])
