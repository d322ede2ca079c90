"""Toys for the tests."""

import random

from data_gen.toybox.identity import Identity, draw_identity


def some_identities(n: int, seed: float = 0, held_out: bool = False) -> list[Identity]:
    rng = random.Random(seed)
    return [draw_identity(rng, held_out=held_out) for _ in range(n)]
