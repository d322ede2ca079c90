"""What can be guessed of rows: nothing of those that are made here, and every leak that is planted.

A few hundred rows find what is worth ten points or more, and are right by chance some points more
often than the prior in one guess of many; ``byname generate --leaks`` looks at thousands.
"""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from data_gen.files.errors import InputError
from data_gen.leaks.cues import COUNTS, cues_of, thumbnails
from data_gen.leaks.guessing import LEAST_ROWS, Guess, guess_boxes, interval
from data_gen.leaks.report import find_leaks, leak, rows_in, text
from data_gen.rows import ICT, OCT, VLT, encode_image, write_rows
from data_gen.rows.indexed import Skipped
from data_gen.tasks.builder import SourceRows
from data_gen.tasks.questions import Reference, identity_consistency_row
from data_gen.tasks.subjects import Scene, Source, Subject, View
from data_gen.tasks.views import Shares
from data_gen.toybox.rows import ToyboxSettings, draw_identities, toybox_row, toybox_rows
from data_gen.toybox.scene import compose
from data_gen.toybox.subjects import toy_source
from tests.places import ROOT

SMALL: dict[str, Any] = {"reference_px": 16, "query_px": 24}
N = 320
CHANCE = 0.05


def leaks(rows, encode=thumbnails) -> set[tuple[str, str]]:
    """Question and cue of each leak; the part before the colon of a question is its task."""
    return {(g.question.split(": ")[0], g.cue) for g in find_leaks(rows, encode) if leak(g)}


def config(name: str) -> dict:
    return yaml.safe_load((ROOT / f"configs/data/{name}.yaml").read_text())


def toys_in_scenes(n: int) -> Source:
    """Scenes of two or three toys, each of which is seen alone too."""
    rng, subjects, scenes = random.Random(7), [], []
    for s in range(n):
        toys = draw_identities(rng, 2 + s % 2, ToyboxSettings())
        scene = compose(rng, toys, 48)
        places = range(len(subjects), len(subjects) + len(toys))
        for place, toy, box in zip(places, scene.toys, scene.boxes, strict=True):
            alone = compose(rng, [toy.identity], 24).image
            views = (
                View(f"s{s}#{place}", lambda image=scene.image: image, box, image=f"s{s}"),
                View(f"alone#{place}", lambda image=alone: image),
            )
            subjects.append(Subject(f"toy-{place}", views, toy.identity.kind))
        scenes.append(Scene(f"s{s}", tuple(places)))
    return Source("scenes", subjects, scenes)


# ---- what is made here tells nothing ----


@pytest.mark.parametrize("name", [None, "toybox", "toybox_full", "rl_vs_sft"])
def test_the_toybox_tells_nothing_with_the_settings_of_shipped_configs(name):
    """``None``: the generator's own, where a config says nothing."""
    shipped = config(name) if name else {}
    told = {k: v for k, v in shipped.items() if k in ToyboxSettings.__dataclass_fields__}
    settings = replace(ToyboxSettings(**told), **SMALL)
    found = find_leaks(toybox_rows({OCT: N, ICT: N}, 4, settings), thumbnails)
    assert len(found) >= 10 and not [g for g in found if g.low > g.prior + CHANCE]
    assert all(g.prior < 0.6 for g in found if "is this name?" not in g.question)


def test_two_rows_about_one_query_tell_nothing_either():
    settings = ToyboxSettings(paired_rows=True, **SMALL)
    found = find_leaks(toybox_rows({OCT: N, ICT: N}, 4, settings), thumbnails)
    assert len(found) >= 10 and not [g for g in found if g.low > g.prior + CHANCE]


def test_where_the_number_of_references_tells_it_is_found():
    settings = ToyboxSettings(
        combinations={"1/2/0": 3, "1/2/1": 1, "2/2/0": 1, "2/2/1": 3}, **SMALL
    )
    found = find_leaks(toybox_rows({ICT: N}, 4, settings))
    assert any(leak(g) for g in found if g.question == f"{ICT}: is a name expected?")


def test_the_mixture_of_the_paper_can_be_answered_unseen():
    settings = ToyboxSettings(combinations=config("toybox_repic")["combinations"], **SMALL)
    table = text(find_leaks(toybox_rows({ICT: 120}, 0, settings)))
    assert f"{ICT}: is a name expected? has nearly always the same answer" in table


@pytest.mark.parametrize(
    ("name", "source", "paired"),
    [
        ("folders", toy_source(60, 0, size=24, views=3), False),
        ("folders", toy_source(60, 0, size=24, views=3), True),
        ("subjects200k", toy_source(60, 1, size=24), False),
        ("detection", toys_in_scenes(40), False),
    ],
)
def test_sources_tell_nothing_with_the_shares_of_shipped_configs(name, source, paired):
    told = config(name)
    counts = {k: v for k, v in told.items() if k.endswith("_counts")}
    shares = {
        k: told[f"{k}_share"]
        for k in ("absent", "hard", "info", "named", "mirrored", "padded")
        if f"{k}_share" in told
    }
    shares = Shares(**shares, **counts, paired_rows=paired)
    rows = SourceRows(source, 1, shares=shares, size=32)
    made = [rows.make(task, i) for task in (OCT, ICT) for i in range(N)]
    assert not any(isinstance(row, Skipped) for row in made)
    found = find_leaks(made, thumbnails)
    assert len(found) >= 10 and not [g for g in found if g.low > g.prior + CHANCE]


# ---- what is planted is found, where it is ----


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """OCT rows; without changes nothing tells their answers."""
    return [toybox_row(OCT, i, 0, ToyboxSettings(info_share=0.5, **SMALL)) for i in range(N)]


def of_negatives(rows, change):
    return [row | change(row) if row["answer"] == "no" else row for row in rows]


def compressed(row):
    import io

    buffer = io.BytesIO()
    row["images"][-1].save(buffer, "jpeg", quality=30)
    return {"images": [row["images"][0], Image.open(io.BytesIO(buffer.getvalue()))]}


def padded(row):
    padded = Image.new("RGB", (24, 24), "white")
    padded.paste(row["images"][-1].resize((20, 20)), (2, 2))
    return {"images": [row["images"][0], padded]}


def larger(row):
    return {"images": [row["images"][0], row["images"][-1].resize((28, 24))]}


def polite(row):
    (message,) = row["prompt"]
    *parts, last = message["content"]
    content = [*parts, last | {"text": "Please. " + last["text"]}]
    return {"prompt": [message | {"content": content}]}


def darker(row):
    return {"images": [row["images"][0], row["images"][-1].point(lambda v: v // 2)]}


@pytest.mark.parametrize(
    ("change", "cue"),
    [
        (compressed, "the query's file"),
        (padded, "its file beside the others'"),
        (larger, "numbers and sizes"),
        (polite, "words of the prompt"),
        (darker, "the query image"),
    ],
)
def test_what_sets_negatives_apart_is_found(rows, change, cue):
    assert (OCT, cue) in leaks(of_negatives(rows, change))


def test_rows_whose_number_of_references_tells_are_found():
    """As the toybox's captions were: nobody expected with one reference or two, else with more."""
    told = ToyboxSettings(
        combinations={"1/1/0": 2, "2/1/0": 1, "2/1/1": 1, "3/2/2": 1, "3/2/1": 1}, **SMALL
    )
    assert (ICT, "numbers and sizes") in leaks(toybox_rows({ICT: N}, 0, told), None)


def test_names_that_stand_first_are_found():
    rng, made = random.Random(0), []
    for i in range(300):
        names = rng.sample(["Ada", "Bo", "Cem", "Dara", "Eli"], 2)
        references = [Reference(name, Image.new("RGB", (8, 8))) for name in names]
        query = Image.new("RGB", (8, 8))
        made.append(
            identity_consistency_row(
                rng, str(i), references, [True, False], query, source=f"made: {i}"
            )
        )
    assert (ICT, "place in the prompt, lengths") in leaks(made)


def test_boxes_that_are_always_about_the_same_are_hit_by_one_box_for_all():
    rng = np.random.default_rng(0)
    boxes = np.array([0.3, 0.3, 0.7, 0.7]) + rng.normal(0, 0.02, (200, 4))
    one, seen = guess_boxes(boxes, rng.normal(size=(200, 3)), list(map(str, range(200))))
    assert one.right > 0.95 and seen.prior == one.right
    anywhere = rng.uniform(0, 0.8, (200, 2))
    boxes = np.concatenate([anywhere, anywhere + 0.15], axis=1)
    (one,) = guess_boxes(boxes, np.zeros((200, 0)), list(map(str, range(200))))
    assert one.right < 0.2 and not leak(one)


# ---- what is looked at ----


def test_names_and_the_owners_words_are_no_cue():
    rng = random.Random(0)
    references = [
        Reference("Ada", Image.new("RGB", (8, 8)), "It is a small red dog. It barks."),
        Reference("Bo", Image.new("RGB", (8, 8))),
    ]
    row = identity_consistency_row(
        rng, "r", references, [False, True], Image.new("RGB", (16, 8)), source="x: a/1 + b/2 | b/3"
    )
    (cues,) = cues_of([row], thumbnails)
    assert "NAME" in cues.words and not {"Ada", "Bo", "dog", "barks"} & set(
        cues.words.replace(".", " ").split()
    )
    assert cues.expected == [False, True] and cues.names == [(3, 32), (2, 0)]
    numbers = dict(zip(COUNTS, cues.counts, strict=True))
    assert (numbers["images"], numbers["references"], numbers["query width"]) == (3, 2, 16)
    assert (cues.shown, cues.seen) == ("a", "b") and len(cues.query) == 192


def test_rows_with_a_damaged_image_are_left_out(rows):
    good = rows[0] | {"images": [encode_image(image) for image in rows[0]["images"]]}
    cut = {"bytes": good["images"][1]["bytes"][:200], "path": None}
    assert len(list(cues_of([good, good | {"images": [good["images"][0], cut]}]))) == 1


def test_a_set_on_disk_is_read_and_few_rows_say_nothing(tmp_path):
    made = list(toybox_rows({VLT: 6, OCT: 6}, 0, ToyboxSettings(**SMALL)))
    write_rows(made, tmp_path / "set", seed=0, generator="toybox")
    assert (
        len(list(rows_in(tmp_path / "set"))) == 12 and len(list(rows_in(tmp_path / "set", 5))) == 5
    )
    with pytest.raises(InputError, match=f"no question has {LEAST_ROWS} rows"):
        text(find_leaks(rows_in(tmp_path / "set")))


def test_the_interval_is_over_identities_and_the_margin_is_two_points():
    hits = np.array([1.0] * 50 + [0.0] * 50)
    alone = interval(hits, np.arange(100))
    together = interval(hits, np.arange(100) // 25)
    assert alone[0] > together[0] and alone[1] < together[1]
    assert Guess("q", "c", 100, 0.5, 0.56, 0.525, 0.6).leaks
    assert not Guess("q", "c", 100, 0.5, 0.56, 0.515, 0.6).leaks
