import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache

from rl.sharing import decode
from rl.sharing.decode import Rows, SharedPromptCache, attention

K, HEADS, D, P = 2, 2, 8, 5


class Twice:
    """The same keys and values in a shared cache and, copied for each row, in plain tensors."""

    def __init__(self, sizes: list[int], padding: list[int]):
        N = len(sizes)
        self.group = torch.tensor([n for n, size in enumerate(sizes) for _ in range(size)])
        mask = torch.arange(P) >= torch.tensor(padding)[:, None]
        prefilled = DynamicCache()
        keys, values = torch.randn(2, N, K, P, D)
        prefilled.update(keys, values, 0)
        self.shared = SharedPromptCache(prefilled, mask, self.group)
        self.keys, self.values = keys[self.group], values[self.group]
        self.seen = mask[self.group]

    def draw(self):
        """One more token of each row: attention by both, (B, 1, H, D) each."""
        B = self.keys.size(0)
        query = torch.randn(B, K * HEADS, 1, D)
        key, value = torch.randn(2, B, K, 1, D)
        ours = attention(
            query, *self.shared.update(key, value, 0), 0.3, self.shared.layers[0].prompt
        )
        self.keys, self.values = (
            torch.cat([x, new], 2) for x, new in ((self.keys, key), (self.values, value))
        )
        self.seen = torch.cat([self.seen, torch.ones(B, 1, dtype=torch.bool)], 1)
        theirs = scaled_dot_product_attention(
            query,
            *(x.repeat_interleave(HEADS, 1) for x in (self.keys, self.values)),
            attn_mask=self.seen[:, None, None],
            scale=0.3,
        )
        return ours, theirs.transpose(1, 2)

    def keep(self, rows):
        self.shared.batch_select_indices(rows)
        self.keys, self.values, self.seen = self.keys[rows], self.values[rows], self.seen[rows]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, P)), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.data(),
)
@pytest.mark.parametrize("fused", [True, False])
@settings(deadline=None, max_examples=40)
def test_it_is_attention_to_prompt_and_own_tokens(fused, shapes, seed, data):
    """Groups of any sizes, prompts of any lengths, tokens beyond the first room, rows that go; by
    fused kernels and without."""
    with pytest.MonkeyPatch.context() as patch:
        if not fused:
            patch.setattr(decode, "kernel_differs", lambda *given: True)
        draw_and_compare(shapes, seed, data)


def draw_and_compare(shapes, seed, data):
    torch.manual_seed(seed)
    both = Twice(*zip(*shapes, strict=True))
    for drawn in (3, 20):
        for _ in range(drawn):
            ours, theirs = both.draw()
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert both.shared.get_seq_length() == both.keys.size(2)
        rows = range(both.keys.size(0))
        both.keep(torch.tensor(sorted(data.draw(st.sets(st.sampled_from(rows), min_size=1)))))


def test_prompts_are_held_once_and_dropped_when_nobody_needs_them():
    both = Twice([4, 4, 4], [0, 1, 2])
    assert both.shared.layers[0].prompt.keys.size(0) == 3
    both.draw()
    both.keep(torch.tensor([0, 3, 8]))  # nobody of the second prompt
    prompt = both.shared.layers[0].prompt
    assert prompt.keys.size(0) == 2 and prompt.rows.group.tolist() == [0, 0, 1]
    assert both.shared.layers[0].keys.size(0) == 3


def test_rows_know_their_places():
    rows = Rows.of(torch.tensor([0, 0, 0, 1, 2, 2]))
    assert rows.slots.tolist() == [[0, 1, 2], [3, 0, 0], [4, 5, 0]]
    assert rows.place.tolist() == [0, 1, 2, 3, 6, 7]
    assert Rows.of(torch.tensor([0, 0, 1, 1])).place is None
