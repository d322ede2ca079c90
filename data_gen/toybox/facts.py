"""The truth of a scene as a column of its row, and how far a caption agrees with it: in what it
says of the toys, and in which of them it calls by which name.

A caption's claims (:func:`data_gen.toybox.language.read_caption`) are matched one to one with the
toys of the scene, in the way that makes most of them true. A second description of a toy, or one of
a toy that is not there, is an extra claim whose attributes are all wrong.

A name stands on the toy that the description under it fits best, and a toy with two names has none
(:func:`name_places`).
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from data_gen.toybox.identity import Identity
from data_gen.toybox.language import read_caption, read_descriptions
from data_gen.toybox.scene import Scene
from rewards.names import names_written

Attributes = dict[str, str]

_MAX_CLAIMS = 64  # beyond it a caption is degenerate; all further claims count as wrong


def facts_of(scene: Scene, names: Mapping[Identity, str]) -> str:
    """The six attributes of every toy in a scene, and its name or null, as the JSON text of a row's
    column ``facts``.

    Args:
        names: toy -> its name, for the toys that have one, in the scene or not.
    """
    toys = [toy.identity for toy in scene.toys]
    return json.dumps(
        {"toys": [asdict(toy) for toy in toys], "names": [names.get(toy) for toy in toys]}
    )


def read_facts(text: str, facts: str) -> tuple[int, int, int]:
    """The reader of ``rewards:caption_facts`` for toybox rows.

    Args:
        text: a caption; any text.
        facts: what :func:`facts_of` gave.

    Returns:
        Attribute values that the caption claims, those of them that are true, and those that there
        are: six for each toy.
    """
    toys = json.loads(facts)["toys"]
    claims = read_caption(text)
    return sum(map(len, claims)), true_attributes(claims, toys), sum(map(len, toys))


def read_names(text: str, facts: str) -> dict[str, list[bool]]:
    """The reader of ``rewards:mention_binding`` for toybox rows.

    Args:
        text: a caption; any text.
        facts: what :func:`facts_of` gave.

    Returns:
        :func:`name_places`, with a toy that is not there as another toy.

    Raises:
        ValueError: the facts do not say which toy has which name.
    """
    truth = json.loads(facts)
    if "names" not in truth:
        raise ValueError(
            "the facts of these rows do not say which toy has which name; generate the rows anew"
        )
    places = name_places(text, truth["toys"], truth["names"])
    return {name: [bool(own) for own in where] for name, where in places.items()}


def name_places(
    text: str,
    toys: Sequence[Attributes],
    names: Sequence[str | None],
    absent: Iterable[str] = (),
) -> dict[str, list[bool | None]]:
    """On which toys a caption puts names.

    Args:
        text: a caption; any text.
        toys: the truth, all attributes of each toy.
        names: the name of each toy, or None.
        absent: names that no toy of the scene bears.

    Returns:
        For each of these names that the text writes, one entry for each thing under which it stands
        (:func:`data_gen.toybox.language.read_descriptions`): True for the toy that bears it, False
        for another one, None for a description that fits no toy of the scene
        (:func:`fitting_toys`). No entry where it stands under no description. Descriptions that fit
        one toy only are one thing, but for those that contradict the one which fits it best: they
        fit none, since that toy is described already. A thing under two names that toys of the
        scene bear is nobody's: False for both, so that it does not pay to leave open who is who.

        Where a description fits two toys alike, such as *a red cat* in a scene of two, it may bear
        the name of either.
    """
    bearers = {name: i for i, name in enumerate(names) if name is not None}
    listed = {*bearers, *absent}
    described = read_descriptions(text, listed)
    claims = [one.attributes for one in described]
    fits = [fitting_toys(c, toys) if n < _MAX_CLAIMS else set() for n, c in enumerate(claims)]
    for i, toy in enumerate(toys):
        same = [n for n, there in enumerate(fits) if there == {i}]
        best = max((claims[n] for n in same), key=partial(_agreeing, toy), default={})
        for n in same:
            if any(best.get(k, v) != v for k, v in claims[n].items()):
                fits[n] = set()
    # Thing -> places of its descriptions: a toy, or a description that fits several or none.
    things: dict[Hashable, list[int]] = {}
    for n, there in enumerate(fits):
        things.setdefault(frozenset(there) if len(there) == 1 else n, []).append(n)
    places: dict[str, list[bool | None]] = {name: [] for name in names_written(text, listed)}
    for of in things.values():
        there = set().union(*(described[n].names for n in of)) & listed
        alone = len(there & bearers.keys()) == 1
        for name in there:
            own = alone and bearers.get(name) in fits[of[0]]
            places.setdefault(name, []).append(own if fits[of[0]] else None)
    return places


def fitting_toys(claim: Attributes, toys: Sequence[Attributes]) -> set[int]:
    """Which toys of a scene a description fits best: those that agree with it in the most
    attributes, if that is half of what it says or more; of these the ones whose kind it has, then
    the ones whose colour, so that what is half of one toy and half of another is one of them."""
    agree = [{k for k, v in claim.items() if toy.get(k) == v} for toy in toys]
    ranks = [(len(same), "kind" in same, "colour" in same) for same in agree]
    best = max(ranks, default=(0, False, False))
    if 2 * best[0] < len(claim):
        return set()
    return {i for i, rank in enumerate(ranks) if rank == best}


def _agreeing(toy: Attributes, claim: Attributes) -> int:
    return sum(toy.get(k) == v for k, v in claim.items())


def true_attributes(claims: Sequence[Attributes], toys: Sequence[Attributes]) -> int:
    """How many claimed attribute values are true, under the best one-to-one matching.

    Args:
        claims: what is said of each toy; some attributes may be missing.
        toys: the truth, all attributes of each toy; about eight toys at most.

    Returns:
        A count, at most the number of claimed attributes.
    """
    agree = [[_agreeing(toy, claim) for toy in toys] for claim in claims[:_MAX_CLAIMS]]
    # best[m]: most true attributes with the toys of bit set m already matched.
    best = {0: 0}
    for row in agree:
        after = dict(best)
        for taken, score in best.items():
            for i, gain in enumerate(row):
                if gain and not taken >> i & 1:
                    now = taken | 1 << i
                    after[now] = max(after.get(now, 0), score + gain)
        best = after
    return max(best.values())
