"""What the attention penalty and augmentation are worth to MyVLM's vectors, on held-out toys.

    python -m benchmarks.toybox.vectors --policy toybox_base --toys 6

Each toy has four pictures; its vector is learned from the policy's own captions of them, into which
its name was put, and stands behind the image's tokens of new pictures: of the toy alone, and of the
toy beside another. Every request says that the picture shows it, also the untouched policy's.
Recall is the share of captions that write its name (MyVLM 2403.14599, Table 5: 25.9 % without both,
72.8 % with the penalty, 84.9 % with both). Heads are left out: a vector is used wherever its toy
is. Intervals are over toys.
"""

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.harness.table import row_line, show
from benchmarks.metrics.intervals import difference, estimate, ratio
from concepts.concept import Concept
from concepts.methods.myvlm.learning import VectorSettings, learn_vector
from concepts.methods.myvlm.targets import caption_requests, caption_targets
from concepts.methods.myvlm.vectors import vectors_behind_image
from concepts.methods.soft_prompts.tokens import frozen
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_other_json, write_json
from data_gen.files.settings import read_settings
from data_gen.tasks.names import draw_names
from data_gen.toybox.rows import ToyboxSettings, draw_identities
from data_gen.toybox.scene import compose
from rewards.names import names_written
from rl.policy.generation import complete
from rl.policy.loading import load_policy

ARMS = ("both", "penalty", "augmentation", "neither")
"""What a vector was learned with."""


@dataclass(kw_only=True)
class VectorsSettings:
    """Which toys, and how vectors are learned."""

    policy: str = field(default="toybox_base", metadata={"help": "Directory, adapter or hub id."})
    toys: int = field(default=6, metadata={"help": "Held-out toys."})
    photos: int = field(default=4, metadata={"help": "Pictures of a toy that it is learned from."})
    queries: int = field(default=8, metadata={"help": "New pictures of each toy."})
    size: int = field(default=96, metadata={"help": "Side of pictures, in pixels."})
    arms: list[str] = field(
        default_factory=lambda: ["both", "neither"],
        metadata={"help": f"Of {', '.join(ARMS)}; the first is compared with the others."},
    )
    vector: VectorSettings = field(
        default_factory=VectorSettings, metadata={"help": "How vectors are learned."}
    )
    max_new_tokens: int = field(default=96, metadata={"help": "Where a caption is cut."})
    seed: int = field(default=0, metadata={"help": "Of toys, pictures and vectors."})
    out: str | None = field(default=None, metadata={"help": "JSON file of figures and captions."})

    def __post_init__(self):
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise InputError(f"arms: there is no {unknown[0]!r}, only {', '.join(ARMS)}")
        if min(self.toys, self.photos, self.queries, len(self.arms)) < 1:
            raise InputError("toys, photos, queries and arms must be 1 or more")


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv, VectorsSettings, program="vectors", doc=__doc__
        )
        if s.out:
            refuse_other_json(Path(s.out), {"settings", "names", "recall"})
        result = measure(s)
    except (ValueError, OSError) as error:
        sys.exit(f"vectors: {error}")
    except KeyboardInterrupt:
        sys.exit("vectors: stopped; with --out, the toys that were learned so far are there")
    print(table(result))
    if s.out:
        print(f"wrote {s.out}")


def arm_settings(arm: str, settings: VectorSettings) -> VectorSettings:
    """The settings of an arm: what its name does not say is switched off."""
    if arm not in ("both", "penalty"):
        settings = replace(settings, penalty=0.0)
    if arm not in ("both", "augmentation"):
        settings = replace(settings, views=1, captions=1)
    return settings


def measure(s: VectorsSettings) -> dict:
    """Captions, recall and seconds of each arm.

    Raises:
        FileNotFoundError: no such policy.
    """
    model, processor = load_policy(s.policy)
    rows_settings = ToyboxSettings(split="heldout", query_px=s.size)
    toys = draw_identities(random.Random(f"vectors-{s.seed}"), s.toys + 1, rows_settings)
    names = draw_names(random.Random(f"names-{s.seed}"), s.toys)
    captions: dict[str, list[list[str]]] = {arm: [] for arm in s.arms}
    untouched: list[list[str]] = []
    seconds: dict[str, list[float]] = {arm: [] for arm in s.arms}
    result: dict = {}
    for i, name in enumerate(tqdm(names, desc="toys", disable=None)):
        rng = random.Random(f"pictures-{s.seed}-{i}")
        photos = [compose(rng, [toys[i]], s.size).image for _ in range(s.photos)]
        shown = [[toys[i]], [toys[i], toys[i + 1]]]
        queries = [compose(rng, shown[k % 2], s.size).image for k in range(s.queries)]
        requests = caption_requests(6, name)
        rows = [
            {"prompt": requests[k % len(requests)], "images": [image]}
            for k, image in enumerate(queries)
        ]
        untouched.append([text for text, _ in complete(model, processor, rows, s.max_new_tokens)])
        concept = Concept(name, (), toys[i].description, toys[i].category)
        with frozen(model):
            began = time.process_time()
            files = [Path("no captions of an owner")] * s.photos
            targets = caption_targets(
                model, processor, concept, files, photos, s.vector.captions, 64
            )
            described = time.process_time() - began
            for arm in s.arms:
                how = arm_settings(arm, s.vector)
                began = time.process_time()
                of = targets if how.captions > 1 else _first_of_each(targets)
                vector, _ = learn_vector(model, processor, photos, of, how, seed=s.seed)
                seconds[arm].append(described + time.process_time() - began)
                placed = [vector[None]] * len(rows)
                with vectors_behind_image(model, processor, placed) as placing:
                    texts = complete(model, placing, rows, s.max_new_tokens)
                captions[arm].append([text for text, _ in texts])
        result = summary(s, names[: i + 1], {**captions, "untouched": untouched}, seconds)
        if s.out:  # what there is after each toy
            Path(s.out).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(s.out), result)
    return result


def summary(
    s: VectorsSettings,
    names: Sequence[str],
    said: dict[str, list[list[str]]],
    seconds: dict[str, list[float]],
) -> dict:
    """All figures.

    Args:
        names: of the toys so far.
        said: arm, or ``untouched`` -> captions of each toy.
        seconds: arm -> processor time to learn each toy.
    """
    recall = {
        arm: ratio(
            [
                sum(bool(names_written(text, [name])) for text in of)
                for of, name in zip(captions, names, strict=True)
            ],
            [len(of) for of in captions],
        )
        for arm, captions in said.items()
    }
    first = s.arms[0]
    return {
        "settings": {key: value for key, value in asdict(s).items() if key != "out"},
        "names": list(names),
        "recall": {arm: asdict(estimate(metric)) for arm, metric in recall.items()},
        "differences": {arm: asdict(difference(recall[arm], recall[first])) for arm in s.arms[1:]},
        "seconds": {arm: sum(of) / len(of) for arm, of in seconds.items()},
        "captions": said,
    }


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown, in per cent with 95 % intervals."""
    first = next(iter(result["recall"]))
    lines = [row_line(["learned with", "caption recall", "seconds a toy"]), row_line(["---"] * 3)]
    for arm, of in result["recall"].items():
        seconds = result["seconds"].get(arm)
        cells = [show(of, "share"), "" if seconds is None else f"{seconds:.1f}"]
        lines.append(row_line([arm, *cells]))
    for arm, of in result["differences"].items():
        lines.append(f"\n{first} above {arm}: {show(of, 'share')}")
    return "\n".join(lines)


def _first_of_each(targets: Sequence) -> list:
    return list({target.picture: target for target in reversed(targets)}.values())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
