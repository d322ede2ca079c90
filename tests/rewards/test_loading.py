"""Rewards by address: what loads, what is bound, and the one sentence for every mistake."""

import pytest
from trl.trainer.utils import get_callable_name, is_async_callable

import rewards
from rewards.loading import (
    RewardError,
    check_columns,
    load_reward,
    load_rewards,
    required_columns,
)
from tests.places import ROOT

EXAMPLE = f"{ROOT / 'tests/rewards/example_reward.py'}:mentions_colour"
COLUMNS = ["id", "task", "prompt", "images", "answer", "box", "names", "absent_names", "source"]


@pytest.fixture
def plugin(tmp_path):
    """A function that writes a reward file and returns the address of `f` in it."""

    def write(source, name="f"):
        path = tmp_path / "mine.py"
        path.write_text(source, encoding="utf-8")
        return f"{path}:{name}"

    return write


# --- what works ------------------------------------------------------------------------------


def test_the_readmes_reward_of_ones_own(batch):
    reward = load_reward(EXAMPLE)
    assert reward.__name__ == "mentions_colour"
    assert required_columns(reward) == ("task",)
    assert reward(**batch(["<bo> on a red sofa", "<bo> naps"], "identity_consistency")) == [1, 0]
    assert reward(**batch(["red"], "object_consistency")) == [None]


@pytest.mark.parametrize("name", rewards.__all__)
def test_every_reward_of_this_package_has_an_address(name):
    needs = {
        "caption_facts": {"reader": "data_gen.toybox.facts:read_facts"},
        "mention_binding": {"reader": "data_gen.toybox.facts:read_names"},
        "caption_questions": {
            "judge": "data_gen.files.judge:answer_questions",
            "judge_settings": {"url": "http://localhost:8000/v1", "model": "judge"},
        },
    }
    reward = load_reward(f"rewards:{name}", needs.get(name))
    assert getattr(reward, "func", reward) is getattr(rewards, name)


def test_a_module_and_a_relative_file(monkeypatch, tmp_path):
    """Both are looked up from the current directory, wherever the launch script lies."""
    (tmp_path / "a_package_of_mine").mkdir()
    source = "def f(completions, **_):\n    return [0.5] * len(completions)\n"
    (tmp_path / "a_package_of_mine" / "module.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    for address in ("a_package_of_mine.module:f", "a_package_of_mine/module.py:f"):
        assert load_reward(address)(completions=["x"]) == [0.5]


def test_settings_are_bound_and_the_name_stays(batch):
    """TRL logs and stores rewards by name."""
    reward = load_reward("rewards:mention_ratio", {"floor": 1000})
    assert reward.__name__ == get_callable_name(reward) == "mention_ratio"
    assert reward(**batch(["<bo>"], "identity_consistency")) == [0]


def test_uncounted_ids_go_to_those_who_take_them(batch):
    f1, yes_no = load_rewards(
        ["rewards:mention_f1", "rewards:object_consistency"], uncounted_ids=[0, 2]
    )
    assert yes_no is rewards.object_consistency
    case = batch(["<bo> <black widow>"], "identity_consistency", completion_ids=[7] * 99 + [2])
    assert f1(**case) == [0] and rewards.mention_f1(**case) == [1]
    kept = load_reward("rewards:mention_f1", {"uncounted_ids": [9]}, uncounted_ids=[2])
    assert kept(**case) == [1], "what the config sets is not overridden"


def test_settings_by_address_or_by_name():
    specs = ["rewards:mention_f1", "rewards:visual_localization"]
    settings = {"rewards:mention_f1": {"floor": 5}, "visual_localization": {"threshold": 0.75}}
    f1, boxes = load_rewards(specs, settings, weights=[1, 0.5])
    assert f1.keywords == {"floor": 5} and boxes.keywords == {"threshold": 0.75}


def test_a_setting_may_fill_what_would_be_a_column(plugin):
    address = plugin(
        "def f(completions, *, wanted, **_):\n    return [wanted for _ in completions]\n"
    )
    assert required_columns(load_reward(address)) == ("wanted",)
    bound = load_reward(address, {"wanted": 0.25})
    assert required_columns(bound) == () and bound(completions=["x"]) == [0.25]


def test_a_callable_is_given_by_its_address(plugin):
    """A reader of captions, which this package must not import."""
    reader = plugin("def read(caption, facts):\n    return 4, 2, 5\n", "read")
    facts = load_reward("rewards:caption_facts", {"reader": reader})
    assert facts(["a red bear"], facts=["..."]) == [pytest.approx(2 / 4 * 2 / 5)]
    with pytest.raises(RewardError, match="reader of rewards:caption_facts 'nowhere' is not an"):
        load_reward("rewards:caption_facts", {"reader": "nowhere"})
    with pytest.raises(RewardError, match="needs a reader"):
        load_reward("rewards:caption_facts")


def test_async_rewards_stay_async(plugin):
    address = plugin("async def f(completions, *, scale=1, **_):\n    return [scale]\n")
    assert is_async_callable(load_reward(address, {"scale": 2}))


def test_a_file_is_run_once(plugin):
    source = "def f(completions, **_): pass\ndef g(completions, **_): pass\n"
    f, g = load_rewards([plugin(source), plugin(source, "g")])
    assert f.__globals__ is g.__globals__


# --- columns ---------------------------------------------------------------------------------


def test_columns_of_this_packages_rewards():
    columns = {name: required_columns(getattr(rewards, name)) for name in rewards.__all__}
    assert columns == {
        "copying": ("task",),
        "caption_facts": ("facts",),
        "caption_length": ("task",),
        "caption_questions": ("questions",),
        "mention_balanced": ("task", "names", "absent_names"),
        "mention_binding": ("task", "names", "absent_names", "facts"),
        "mention_f1": ("task", "names", "absent_names"),
        "mention_ratio": ("task", "names"),
        "object_consistency": ("task", "answer"),
        "preference_accuracy": ("task", "answer"),
        "preference_format": ("task",),
        "profile_similarity": ("task", "liked_profile", "disliked_profile"),
        "repetition": ("task",),
        "visual_localization": ("task", "box", "box_frame"),
    }


def test_data_with_all_columns_pass():
    columns = [*COLUMNS, "box_frame", "facts", "questions", "liked_profile", "disliked_profile"]
    check_columns([getattr(rewards, name) for name in rewards.__all__], columns)


def test_all_missing_columns_in_one_sentence(plugin):
    mine = load_reward(plugin("def f(completions, *, mood, tone='', **_): pass\n"))
    with pytest.raises(RewardError) as error:
        check_columns([rewards.visual_localization, mine], COLUMNS)
    assert "'visual_localization' asks for 'box_frame'; 'f' asks for 'mood';" in str(error.value)
    assert "tone" not in str(error.value) and "\n" not in str(error.value)


def test_a_column_that_trl_keeps_to_itself(plugin):
    mine = load_reward(plugin("def f(completions, *, prompt, **_): pass\n"))
    with pytest.raises(RewardError, match="TRL passes as 'prompts'"):
        check_columns([mine], COLUMNS)


def test_a_setting_with_the_name_of_a_column(plugin):
    """TRL passes every column, so the column would win without a word."""
    mine = load_reward(plugin("def f(completions, *, source='', **_): pass\n"), {"source": "me"})
    with pytest.raises(RewardError, match="'source' is a setting .* and a column"):
        check_columns([mine], COLUMNS)


# --- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mention_f1", "is not an address; write module:function"),
        ("rewards:", "is not an address"),
        (":f", "is not an address"),
        ("rewards:mention_f2", "has no function 'mention_f2'; did you mean 'mention_f1'"),
        ("rewards:__all__", "is not a function but \\["),
        ("rewards.loading:RewardError", "is not a function but <class"),
        ("no_such_package:f", "no_such_package does not import, ModuleNotFoundError"),
        ("no/such/file.py:f", "there is no file 'no/such/file.py'"),
        ("rewards.parsing:yes_or_no", r"must end in \*\*_"),
    ],
)
def test_wrong_addresses(address, message):
    with pytest.raises(RewardError, match=message) as error:
        load_reward(address)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def f(completions, **_:\n", "does not import, SyntaxError"),
        ("import nothing_like_it\n", "does not import, ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "does not import, SystemExit"),
        ("open('words.txt')\n", "does not import, FileNotFoundError.*words.txt"),
        ("g = 1\n", "has no function 'f'"),
        ("f = 1\n", "is not a function but 1"),
        ("def f(completions): pass\n", r"must end in \*\*_"),
        ("def f(completions, /, **_): pass\n", "takes 'completions' by position"),
    ],
)
def test_wrong_files(source, message, plugin):
    with pytest.raises(RewardError, match=message):
        load_reward(plugin(source))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flor": 5}, "no setting 'flor' but 'floor', 'uncounted_ids', 'unit'"),
        ({"completions": []}, "no setting 'completions'"),
        ({"unit": "lines"}, "refuses its settings: unit is 'lines'"),
        ({"floor": "many"}, "refuses its settings"),
        (["floor"], "settings of reward .* are a list"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(RewardError, match=message):
        load_reward("rewards:mention_f1", settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": {"mention_f2": {}}}, "settings for 'mention_f2', but the rewards are"),
        ({"settings": {"x": {}, "mention_f1": {}}}, "settings for 'x', but the rewards are"),
        ({"weights": [1, 2]}, "but 1 rewards need one number each"),
        ({"weights": [float("nan")]}, "one number each"),
        ({"specs": ["rewards:copying"] * 2}, "'copying' is listed twice"),
        (
            {"settings": {"mention_f1": {"floor": 1}, "rewards:mention_f1": {"floor": 2}}},
            "under its address and its name",
        ),
    ],
)
def test_wrong_lists(arguments, message):
    with pytest.raises(RewardError, match=message):
        load_rewards(**{"specs": ["rewards:mention_f1"]} | arguments)
