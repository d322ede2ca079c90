"""Name-binding and name-copying rows are answered truly."""

import random
import re

import pytest

from data_gen.toybox.curriculum.naming import (
    NameBindingSettings,
    name_binding_row,
    name_copying_row,
)
from data_gen.toybox.curriculum.perception import (
    LIST_ASK,
    NAMED_LIST_ASK,
)
from data_gen.toybox.rows import (
    ToyboxSettings,
)


@pytest.mark.parametrize("style", ["list", "card", "sentences"])
@pytest.mark.parametrize("seed", range(10))
def test_who_is_who_is_answered_by_facts_of_one_toy_only(seed, style):
    binding = NameBindingSettings(styles={style: 1})
    row = name_binding_row(random.Random(seed), 3, ToyboxSettings(), binding)
    turns = [message["content"] for message in row["messages"]]
    speech = re.compile(r"It is an? (\w+) (\w+) with (.+) on its belly and (.+)\.")
    names = {}
    for line in (part["text"] for part in turns[0][:-2]):
        name = re.search("<(.+)>", line)[1]
        read = speech.search(line)
        names[name] = (
            read.groups() if read else re.split(r"[:,.]\s*", line.replace(f"<{name}>", ""))
        )
    for said in turns[1][0]["text"].split("; "):
        *facts, name = said.split(", ")
        true_of = [n for n, known in names.items() if set(facts) <= set(known)]
        assert true_of == [name[1:-1]] and facts
    ask, seen = turns[2][0]["text"], turns[3][0]["text"]
    if ask == NAMED_LIST_ASK:
        looks, mark_said, worn_said, name = seen.split(" [")[0].split(", ")
        assert (*looks.split(), mark_said, worn_said) == names[name[1:-1]]
    else:
        assert ask == LIST_ASK and "<" not in seen


@pytest.mark.parametrize("seed", range(5))
def test_name_copying_rows_repeat_the_names(seed):
    row = name_copying_row(random.Random(seed), ToyboxSettings())
    listed, called, following = (row["messages"][i]["content"][0]["text"] for i in (1, 3, 5))
    assert listed.count("[") == len(row["images"]) == 1
    assert row["messages"][2]["content"][0]["text"] == f"Say these names: {called}."
    names = called.split(", ")
    before = row["messages"][4]["content"][0]["text"].removeprefix("Who comes after ")[:-1]
    assert names[names.index(before) + 1] == following and len(set(names)) == len(names) >= 4
