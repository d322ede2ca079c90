"""Build OCT, VLT, ICT and description rows from toybox scenes, with target answers for SFT.

Row ``i`` of a task depends only on the seed, the split, the task and ``i``: any row can be built by
itself, in any process, and a larger set begins with the rows of a smaller one.

No row's answer can be guessed. How many references and toys an ICT row has tells nothing
(:mod:`data_gen.tasks.combinations`). The toys of a scene are placed in random order: the first one
placed stands more freely, and can be told from the other of two in 63 % instead of 50. No two
references and no two toys of an ICT query are made to look alike: a hard distractor resembles a toy
of the query that has no reference of its own, so that neither the references alone nor the query
alone tell anything. ``byname generate --leaks`` measures it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from datasets import Value
from PIL import Image, ImageOps

from data_gen.files.errors import InputError
from data_gen.files.files import fingerprint_of
from data_gen.rows import ICT, OCT, VLT
from data_gen.rows.indexed import IndexedRows
from data_gen.tasks.combinations import (
    MAX_REFERENCES,
    MAX_SUBJECTS,
    Combination,
    check_paired_rows,
    choose,
    draw_combination,
    read_combinations,
    read_weights,
)
from data_gen.tasks.names import draw_names
from data_gen.tasks.prompts import load_prompts
from data_gen.tasks.questions import (
    Reference,
    draw_caption_style,
    identity_consistency_row,
    object_consistency_row,
    visual_localization_row,
)
from data_gen.toybox.facts import facts_of
from data_gen.toybox.identity import HALVES, Identity, draw_identity, hard_negative
from data_gen.toybox.language import LENGTHS, caption
from data_gen.toybox.owner_words import draw_words, questions, spoken
from data_gen.toybox.scene import Box, Scene, compose

DESCRIPTION = "description"
SPLITS = ("train", "heldout", *HALVES)

COUNTS = {
    "oct_toys": (1, MAX_SUBJECTS),
    "vlt_toys": (1, MAX_SUBJECTS),
    "references": (0, MAX_REFERENCES),
    "scene_toys": (1, MAX_SUBJECTS),
    "expected": (1, MAX_SUBJECTS),
    "describe_toys": (1, MAX_SUBJECTS),
    "noise": (0, MAX_REFERENCES - 1),
}
"""Setting that weights a number -> the least and the largest one."""


@dataclass
class ToyboxSettings:
    """What the rows are like. Shares are probabilities in 0-1."""

    split: str = "train"  # of the identities: train | heldout | validation, test (its halves)
    reference_px: int = 64  # side of reference images
    query_px: int = 96  # side of query images; several toys need the room
    hard_share: float = 0.5  # OCT negatives that differ in one attribute only
    oct_toys: dict[int, float] = field(default_factory=lambda: {1: 0.7, 2: 0.3})
    vlt_toys: dict[int, float] = field(default_factory=lambda: {2: 0.4, 3: 0.35, 4: 0.25})
    vlt_hard_share: float = 0.2  # VLT scenes in which two toys differ in one attribute only
    # ICT: weights of R, the number of references, and of T, the number of toys in the query.
    # Neither tells anything; 0 references tell that no name is expected.
    references: dict[int, float] = field(default_factory=lambda: {1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2})
    scene_toys: dict[int, float] = field(default_factory=lambda: {1: 0.3, 2: 0.3, 3: 0.2, 4: 0.2})
    # ICT rows none of whose references is in the query, at every R and T alike; the more frequent
    # of the two answers to "is any name expected" can be guessed, and no more.
    absent_share: float = 0.5
    # Weights of K, the references in the query, where any is; K above min(R, T) is left out.
    expected: dict[int, float] = field(default_factory=lambda: {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0})
    # Distractors that differ in one attribute from a toy in the query, where one without a
    # reference is left for it; comparing the images is the only way to tell.
    hard_distractor_share: float = 0.25
    # Weights of "R/T/K" in place of the four settings above, for mixtures that are not honest:
    # whatever R and T tell about K by these weights can be guessed.
    combinations: dict[str, float] | None = None
    # OCT and ICT rows 2k and 2k + 1 ask about one and the same query image, and differ in the
    # answer, or in whether somebody is expected; column `pair`, for the trainer's `pairs_together`.
    paired_rows: bool = False
    # OCT and VLT: weights of how many further references stand in the prompt, about which nothing
    # is asked (RAP's noise concepts). Of captions, `references` and `expected` say so.
    noise: dict[int, float] = field(default_factory=lambda: {0: 1.0})
    augment_share: float = 0.0  # references that are mirrored, turned and cropped a little
    # References that come with their description, whether in the query or not.
    info_share: float = 0.1
    describe_toys: dict[int, float] = field(
        default_factory=lambda: {1: 0.4, 2: 0.3, 3: 0.2, 4: 0.1}
    )
    targets: bool = False  # add a column `target`: the answer that SFT trains on
    # Add a column `facts`, the truth of a captioned scene and of who is who in it, for the rewards
    # caption_facts and mention_binding.
    facts: bool = False
    # Every ICT reference comes with words that no image shows, and a column `questions` asks what
    # was said of those in the query, for caption_questions; `info_share` adds nothing then.
    owner_words: bool = False
    named_share: float = 0.15  # caption targets that use the names
    # Weights of short, medium and long caption targets, without names and with names.
    lengths: list[float] = field(default_factory=lambda: [0.3, 0.5, 0.2])
    named_lengths: list[float] = field(default_factory=lambda: [0.1, 0.25, 0.65])
    prompts: str | None = None  # template file; None: data_gen/tasks/prompts/default.yaml

    def __post_init__(self):
        if self.split not in SPLITS:
            raise InputError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        for name, (least, most) in COUNTS.items():
            setattr(self, name, read_weights(name, getattr(self, name), least, most))
        read_combinations(self.combinations)
        if self.paired_rows:
            check_paired_rows(self.absent_share, self.references, self.combinations)

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
        columns={name: Value("string") for name in _columns(settings)},
        fingerprint=fingerprint_of(str(load_templates(settings))),
    )


def toybox_row(task: str, index: int, seed: int, settings: ToyboxSettings) -> dict:
    """Row ``index`` of a task. See :func:`toybox_rows`."""
    row_id = f"toybox-{settings.split}-{seed}-{task}-{index}"
    row = BUILDERS[task](random.Random(row_id), row_id, index, settings)
    return row | {name: None for name in _columns(settings) if name not in row}


def _object_consistency(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    same = index % 2 == 0  # exactly balanced
    if settings.paired_rows:
        return _paired_object_consistency(rng, row_id, index, settings)
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
    there = [shown, *others]
    scene = compose(rng, there, settings.query_px)
    return _asked_of(rng, row_id, identity, there, scene, kind, settings)


def _paired_object_consistency(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    pair, drawn = _pair_of(row_id, index)
    shown, *others = there = draw_identities(drawn, choose(drawn, settings.oct_toys), settings)
    scene = compose(drawn, there, settings.query_px)
    if index % 2 == 0:
        kind, asked = "same", shown
    elif rng.random() < settings.hard_share:
        kind, asked = "hard", shown
        while asked in there:
            asked = hard_negative(rng, shown, settings.half)
    else:
        kind, asked = "easy", draw_identities(rng, 1, settings, there)[0]
    return {**_asked_of(rng, row_id, asked, there, scene, kind, settings), "pair": pair}


def _asked_of(
    rng: random.Random,
    row_id: str,
    asked: Identity,
    there: Sequence[Identity],
    scene: Scene,
    kind: str,
    settings: ToyboxSettings,
) -> dict:
    """The OCT row that asks whether ``asked`` is in the scene of those who are ``there``."""
    reference, noise = _draw_asked(rng, asked, [asked, *there], settings)
    row = object_consistency_row(
        rng,
        row_id,
        reference,
        scene.image,
        same=kind == "same",
        source=f"toybox:{kind}",
        templates=load_templates(settings),
        noise=noise,
    )
    return _with_target(row, row["answer"], settings)


def _pair_of(row_id: str, index: int) -> tuple[str, random.Random]:
    """The pair that a row belongs to, and the generator of what its rows share."""
    pair = f"{row_id.removesuffix(str(index))}pair-{index // 2}"
    return pair, random.Random(pair)


def _visual_localization(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    n = choose(rng, settings.vlt_toys)
    identities = draw_identities(rng, n, settings)
    if n > 1 and rng.random() < settings.vlt_hard_share:
        identities[1] = hard_negative(rng, identities[0], settings.half)
    asked = rng.choice(identities)  # any of them: neither where it stands nor a look-alike tells
    scene = compose(rng, identities, settings.query_px)
    where = [toy.identity for toy in scene.toys].index(asked)
    reference, noise = _draw_asked(rng, asked, identities, settings)
    row = visual_localization_row(
        rng,
        row_id,
        reference,
        scene.image,
        scene.boxes[where],
        source=f"toybox:{n}",
        templates=load_templates(settings),
        noise=noise,
    )
    return _with_target(row, box_target(scene.boxes[where], settings), settings)


def box_target(box: Box, settings: ToyboxSettings) -> str:
    """The answer to a VLT question: the box in pixels of the query image."""
    pixels = [round(v * settings.query_px) for v in box]
    return f'{{"bbox_2d": {pixels}}}'


def _identity_consistency(
    rng: random.Random, row_id: str, index: int, settings: ToyboxSettings
) -> dict:
    more: dict[str, str] = {}
    if settings.paired_rows:
        more["pair"], drawn = _pair_of(row_id, index)
        r, t, k = combination_of(drawn, settings)
        there = draw_identities(drawn, t, settings)
        scene = compose(drawn, there, settings.query_px)
        combination = Combination(r, t, 0 if index % 2 else k)
        shown, in_scene, n_hard = draw_cast(rng, combination, settings, there)
    else:
        shown, in_scene, n_hard = draw_cast(rng, combination_of(rng, settings), settings)
        scene = compose(rng, in_scene, settings.query_px)
    names = dict(zip(shown, draw_names(rng, len(shown)), strict=True))
    present = [identity in in_scene for identity in shown]
    caption_style = draw_caption_style(rng)
    references = [draw_reference(rng, i, names[i], settings) for i in shown]
    references, asked = _tell(rng, references, present, settings)
    row = identity_consistency_row(
        rng,
        row_id,
        references,
        present,
        scene.image,
        source=f"toybox:R{len(shown)} T{len(in_scene)} K{sum(present)} hard{n_hard}",
        templates=load_templates(settings),
        caption_style=caption_style,
    )
    row = _with_facts(row | more | asked, scene, names, settings)
    return _with_target(row, caption_target(rng, scene, names, caption_style, settings), settings)


def combination_of(rng: random.Random, settings: ToyboxSettings) -> Combination:
    """R, T and K of an ICT row, drawn as the settings weight them; of the one that expects
    somebody, of a pair."""
    s = settings
    absent = 0 if s.paired_rows else s.absent_share
    return draw_combination(rng, s.references, s.scene_toys, absent, s.expected, s.combinations)


def draw_cast(
    rng: random.Random,
    combination: Combination,
    settings: ToyboxSettings,
    there: Sequence[Identity] = (),
) -> tuple[list[Identity], list[Identity], int]:
    """The toys of the references and those of the query, either in random order, and how many of
    the distractors are hard ones: they differ in one attribute from an unlisted toy.

    Args:
        there: the toys of the query, where they are drawn already.
    """
    r, t, k = combination
    if there:
        here = rng.sample(there, t)
        everyone = [*here[:k], *draw_identities(rng, r - k, settings, there), *here[k:]]
    else:
        everyone = draw_identities(rng, r + t - k, settings)
    both, distractors, unlisted = everyone[:k], everyone[k:r], everyone[r:]
    n_hard = 0
    for i in range(len(distractors)):
        if rng.random() < settings.hard_distractor_share and n_hard < len(unlisted):
            similar = hard_negative(rng, unlisted[n_hard], settings.half)
            if similar not in (*both, *distractors, *unlisted):
                distractors[i] = similar
                n_hard += 1
    shown, in_scene = both + distractors, both + unlisted
    rng.shuffle(shown)
    rng.shuffle(in_scene)
    return shown, in_scene, n_hard


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
    row = _with_facts({**row, "task": DESCRIPTION}, scene, {}, settings)
    return _with_target(row, caption_target(rng, scene, {}, None, settings), settings)


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
    image = view.image
    if settings.augment_share and rng.random() < settings.augment_share:
        image = augmented(rng, image)
    return Reference(name, image, info)


def _draw_asked(
    rng: random.Random, asked: Identity, avoid: Sequence[Identity], settings: ToyboxSettings
) -> tuple[Reference, list[Reference]]:
    """The reference of the toy that is asked about, and those of noise concepts, which are none of
    ``avoid``."""
    n = 0 if list(settings.noise) == [0] else choose(rng, settings.noise)
    names = draw_names(rng, 1 + n)
    reference = draw_reference(rng, asked, names[0], settings)
    others = draw_identities(rng, n, settings, avoid)
    return reference, [
        draw_reference(rng, toy, name, settings)
        for toy, name in zip(others, names[1:], strict=True)
    ]


def augmented(rng: random.Random, image: Image.Image) -> Image.Image:
    """A crop as another detection of the same thing might be: mirrored or not, turned by up to 20
    degrees, cut by up to 12 % a side (RAP's augmentation of crops, but for new views, of which the
    toybox draws as many as it likes). The size stays."""
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    ground = image.getpixel((0, 0))
    image = image.rotate(rng.uniform(-20, 20), Image.Resampling.BICUBIC, fillcolor=ground)
    w, h = image.size
    left, top, right, bottom = (rng.uniform(0, 0.12) for _ in range(4))
    box = (left * w, top * h, (1 - right) * w, (1 - bottom) * h)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


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


def _columns(settings: ToyboxSettings) -> list[str]:
    """Columns beyond the contract's."""
    wanted = {
        "target": settings.targets,
        "facts": settings.facts,
        "questions": settings.owner_words,
        "pair": settings.paired_rows,
    }
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _tell(
    rng: random.Random, references: list[Reference], present: list[bool], settings: ToyboxSettings
) -> tuple[list[Reference], dict[str, str]]:
    """The references with their owner's words, and the column of questions about those, if the
    settings ask for them."""
    if not settings.owner_words:
        return references, {}
    said = [draw_words(rng) for _ in references]
    named = [{}, {}]  # absent, present
    for reference, words, is_present in zip(references, said, present, strict=True):
        named[is_present][reference.name] = words
    told = [replace(r, info=spoken(r.name, w)) for r, w in zip(references, said, strict=True)]
    return told, {"questions": questions(rng, named[True], named[False])}


def _with_facts(
    row: dict, scene: Scene, names: dict[Identity, str], settings: ToyboxSettings
) -> dict:
    return {**row, "facts": facts_of(scene, names)} if settings.facts else row


def _with_target(row: dict, target: str, settings: ToyboxSettings) -> dict:
    return {**row, "target": target} if settings.targets else row
