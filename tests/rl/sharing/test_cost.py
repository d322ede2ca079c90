"""Which groups share a forward pass, and what it is predicted to cost."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import Qwen2_5_VLConfig

from rl.sharing.cost import (
    ForwardPass,
    Prices,
    packed_cost,
    plan_passes,
    predicted_ratio,
    prices_of,
    unshared_cost,
)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(2, 400), st.integers(1, 200))
def test_costs_of_groups(branches, n, prompt, completion):
    whole = [
        ForwardPass(
            [list(range(i * branches, (i + 1) * branches)) for i in range(n)], prompt, completion
        )
    ]
    free = Prices(pair=0, scored=0)
    tokens = packed_cost(n, branches, prompt, completion, free)
    assert tokens == n * (prompt - 1 + branches * (completion + 1))
    assert tokens <= unshared_cost(n * branches, prompt, completion, free)
    assert predicted_ratio(whole, prompt, completion, free) <= 1
    # What is scored is the same on both sides: the dearer it is, the less there is to gain.
    dear = Prices(pair=0, scored=100)
    assert predicted_ratio(whole, prompt, completion, dear) >= predicted_ratio(
        whole, prompt, completion, free
    )


lengths = st.tuples(st.integers(1, 400), st.integers(1, 200), st.integers(1, 8))


@given(st.lists(lengths, min_size=1, max_size=6), st.integers(1, 24), st.booleans())
def test_groups_go_together_as_is_cheapest(shapes, rows, even):
    """No other way to cut the sorted groups is cheaper; nothing is lost; no pass is too large."""
    prices, groups, row = Prices(pair=1e-3, scored=0.4), [], 0
    for *_, size in shapes:
        groups.append(list(range(row, row + size)))
        row += size
    prompts, completions, _ = zip(*shapes, strict=True)
    passes = plan_passes(groups, prompts, completions, rows, prices, even=even)
    assert sorted(group for each in passes for group in each.groups) == groups
    for each in passes:
        held = [groups.index(group) for group in each.groups]
        assert each.prompt == max(prompts[n] for n in held)
        assert each.completion == max(completions[n] for n in held)
        assert len(held) == 1 or sum(len(groups[n]) for n in held) <= rows
    if even:
        assert [group for each in passes for group in each.groups] == groups
        return
    order = [group for each in passes for group in each.groups]
    for cuts in product([False, True], repeat=len(order) - 1):
        others, part = [], [order[0]]
        for cut, group in zip(cuts, order[1:], strict=True):
            others, part = ([*others, part], [group]) if cut else (others, [*part, group])
        others.append(part)
        if any(len(part) > 1 and sum(map(len, part)) > rows for part in others):
            continue
        cost = sum(
            ForwardPass(
                part,
                max(prompts[groups.index(g)] for g in part),
                max(completions[groups.index(g)] for g in part),
            ).cost(prices)
            for part in others
        )
        assert sum(each.cost(prices) for each in passes) <= cost * (1 + 1e-9)


def test_prices_of_the_paper_s_model():
    text = Qwen2_5_VLConfig().text_config
    text.hidden_size, text.num_hidden_layers, text.intermediate_size = 3584, 28, 18944
    text.num_attention_heads, text.num_key_value_heads, text.vocab_size = 28, 4, 152064
    prices = prices_of(text, attention=1.0)
    assert 1 / prices.pair == pytest.approx(32_500, rel=0.01)  # keys as dear as a token's layers
    assert prices.scored == pytest.approx(0.0835, rel=0.01)  # 545 M of 6.53 G
    assert prices_of(text, attention=3.0).pair == pytest.approx(3 * prices.pair)
