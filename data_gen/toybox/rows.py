"""Build OCT, VLT, ICT and description rows from toybox scenes, with target answers for SFT.

Row ``i`` of a task depends only on the seed, the split, the task and ``i``: any row can be built by
itself, in any process, and a larger set begins with the rows of a smaller one.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from datasets import Value

from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.indexed import IndexedRows
from data_gen.tasks.names import draw_names
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.questions import (
    Reference,
    draw_caption_style,
    identity_consistency_row,
    object_consistency_row,
    visual_localization_row,
)
from data_gen.toybox.identity import HALVES, Identity, draw_identity, hard_negative
from data_gen.toybox.language import LENGTHS, caption
from data_gen.toybox.scene import Box, Scene, compose

Key = TypeVar("Key")

DESCRIPTION = "description"
SPLITS = ("train", "heldout", *HALVES)


@dataclass
class ToyboxSettings:
    """What the rows are like. Shares are probabilities in 0-1."""

    split: str = "train"  # of the identities: train | heldout | validation, test (its halves)
    reference_px: int = 64  # side of reference images
    query_px: int = 96  # side of query images; several toys need the room
    hard_share: float = 0.5  # OCT negatives that differ in one attribute only
    oct_toys: dict[int, float] = field(default_factory=lambda: {1: 0.7, 2: 0.3})
    vlt_toys: dict[int, float] = field(default_factory=lambda: {2: 0.4, 3: 0.35, 4: 0.25})
    vlt_hard_share: float = 0.2  # VLT scenes in which another toy is a hard negative
    concepts: dict[int, float] = field(default_factory=lambda: {1: 0.45, 2: 0.35, 3: 0.2})
    distractors: dict[int, float] = field(default_factory=lambda: {0: 0.4, 1: 0.4, 2: 0.2})
    absent_share: float = 0.1  # ICT rows with no reference's toy in the query
    unlisted_share: float = 0.15  # ICT queries with a toy that has no reference
    info_share: float = 0.1  # references that come with their description
    describe_toys: dict[int, float] = field(
        default_factory=lambda: {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
    )
    targets: bool = False  # add a column `target`: the answer that SFT trains on
    named_share: float = 0.15  # caption targets that use the names
    # Weights of short, medium and long caption targets, without names and with names.
    lengths: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.2])
    named_lengths: list[float] = field(default_factory=lambda: [0.1, 0.25, 0.65])
    prompts: str | None = None  # template file; None: data_gen/tasks/prompts/default.yaml

    def __post_init__(self):
        if self.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        for name in ("oct_toys", "vlt_toys", "concepts", "distractors", "describe_toys"):
            setattr(self, name, {int(k): float(v) for k, v in getattr(self, name).items()})

    @property
    def half(self) -> str | None:
        """The split, where it is one of the halves of the held-out identities."""
        return self.split if self.split in HALVES else None


def toybox_rows(counts: dict[str, int], seed: int, settings: ToyboxSettings) -> IndexedRows:
    """``counts[task]`` rows of each task, one task after the other.

    Args:
        counts: task -> number of rows; tasks are those of :data:`BUILDERS`.
        seed: rows of the same seed and settings are the same, byte for byte.

    Raises:
        InputError: a task that the toybox does not have, or templates that cannot be used.
    """
    for task in counts:
        if task not in BUILDERS:
            raise InputError(f"the toybox makes {', '.join(BUILDERS)}; not {task!r}")
    return IndexedRows(
        counts,
        lambda task, index: toybox_row(task, index, seed, settings),
        columns={"target": Value("string")} if settings.targets else {},
        fingerprint=fingerprint_of(str(load_templates(settings))),
    )


def toybox_row(task: str, index: int, seed: int, settings: ToyboxSettings) -> dict:
    """Row ``index`` of a task. See :func:`toybox_rows`."""
    row_id = f"toybox-{settings.split}-{seed}-{task}-{index}"
    return BUILDERS[task](random.Random(row_id), row_id, index, settings)


def _object_consistency(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    same = index % 2 == 0  # exactly balanced
    (identity,) = draw_identities(rng, 1, settings)
    others = draw_identities(rng, choose(rng, settings.oct_toys) - 1, settings, avoid=[identity])
    kind, shown = "same", identity
    if not same:
        hard = rng.random() < settings.hard_share
        shown = (
            hard_negative(rng, identity, settings.half)
            if hard
            else draw_identities(rng, 1, settings, [identity])[0]
        )
        kind = "hard" if hard else "easy"
    scene = compose(rng, [shown, *others], settings.query_px)
    reference = draw_reference(rng, identity, draw_names(rng, 1)[0], settings)
    row = object_consistency_row(
        rng,
        row_id,
        reference,
        scene.image,
        same=same,
        source=f"toybox:{kind}",
        templates=load_templates(settings),
    )
    return _with_target(row, row["answer"], settings)


def _visual_localization(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    n = choose(rng, settings.vlt_toys)
    identities = draw_identities(rng, n, settings)
    if n > 1 and rng.random() < settings.vlt_hard_share:
        identities[1] = hard_negative(rng, identities[0], settings.half)
    scene = compose(rng, identities, settings.query_px)
    where = [toy.identity for toy in scene.toys].index(identities[0])
    reference = draw_reference(rng, identities[0], draw_names(rng, 1)[0], settings)
    row = visual_localization_row(
        rng,
        row_id,
        reference,
        scene.image,
        scene.boxes[where],
        source=f"toybox:{n}",
        templates=load_templates(settings),
    )
    return _with_target(row, box_target(scene.boxes[where], settings), settings)


def box_target(box: Box, settings: ToyboxSettings) -> str:
    """The answer to a VLT question: the box in pixels of the query image."""
    pixels = [round(v * settings.query_px) for v in box]
    return f'{{"bbox_2d": {pixels}}}'


def _identity_consistency(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    absent = rng.random() < settings.absent_share
    m = choose(rng, settings.concepts)
    d = max(1, choose(rng, settings.distractors)) if absent else choose(rng, settings.distractors)
    unlisted = m < 4 and not absent and rng.random() < settings.unlisted_share
    identities = draw_identities(rng, m + d + unlisted, settings)
    in_scene, distractors = identities[: m + unlisted], identities[m + unlisted :]
    scene = compose(rng, in_scene, settings.query_px)
    shown = distractors if absent else in_scene[:m] + distractors
    rng.shuffle(shown)
    names = dict(zip(shown, draw_names(rng, len(shown)), strict=True))
    references = [draw_reference(rng, i, names[i], settings) for i in shown]
    caption_style = draw_caption_style(rng)
    row = identity_consistency_row(
        rng,
        row_id,
        references,
        [i in in_scene for i in shown],
        scene.image,
        source=f"toybox:{0 if absent else m}+{d}",
        templates=load_templates(settings),
        caption_style=caption_style,
    )
    return _with_target(row, caption_target(rng, scene, names, caption_style, settings), settings)


def _description(rng: random.Random, row_id: str, index: int, settings: ToyboxSettings) -> dict:
    """A query and a request without any reference: plain captioning."""
    scene = compose(
        rng, draw_identities(rng, choose(rng, settings.describe_toys), settings), settings.query_px
    )
    row = identity_consistency_row(
        rng,
        row_id,
        [],
        [],
        scene.image,
        source="toybox:describe",
        templates=load_templates(settings),
    )
    return _with_target(
        {**row, "task": DESCRIPTION}, caption_target(rng, scene, {}, None, settings), settings
    )


def caption_target(
    rng: random.Random,
    scene: Scene,
    names: dict[Identity, str],
    caption_style: str | None,
    settings: ToyboxSettings,
) -> str:
    """A caption for SFT. Most have no names and are short; where the prompt asks for names, twice
    as many use them. A caption with names has those of all toys that have one, and is mostly
    long."""
    share = settings.named_share * (2 if caption_style == "name" else 1)
    named = rng.random() < share and any(toy.identity in names for toy in scene.toys)
    spoken = [names.get(toy.identity) if named else None for toy in scene.toys]
    length = rng.choices(LENGTHS, settings.named_lengths if named else settings.lengths)[0]
    return caption(rng, scene, spoken, length)


BUILDERS = {
    OCT: _object_consistency,
    VLT: _visual_localization,
    ICT: _identity_consistency,
    DESCRIPTION: _description,
}


def load_templates(settings: ToyboxSettings) -> dict:
    """The prompt templates that the settings name."""
    return load_prompts(settings.prompts) if settings.prompts else load_prompts()


def draw_reference(
    rng: random.Random, identity: Identity, name: str, settings: ToyboxSettings
) -> Reference:
    """A reference: an image of the toy alone, its name and sometimes its description."""
    view = compose(rng, [identity], settings.reference_px)
    info = identity.description if rng.random() < settings.info_share else None
    return Reference(name, view.image, info)


def draw_identities(
    rng: random.Random, n: int, settings: ToyboxSettings, avoid: Sequence[Identity] = ()
) -> list[Identity]:
    """``n`` distinct identities of the settings' side of the split, none of them in ``avoid``."""
    found: list[Identity] = []
    while len(found) < n:
        identity = draw_identity(rng, held_out=settings.split != "train", half=settings.half)
        if identity not in found and identity not in avoid:
            found.append(identity)
    return found


def choose(rng: random.Random, weights: dict[Key, float]) -> Key:
    """A key of ``weights``, as likely as its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def _with_target(row: dict, target: str, settings: ToyboxSettings) -> dict:
    return {**row, "target": target} if settings.targets else row
