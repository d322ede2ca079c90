"""Concept heads and retrieval on folders of photos: who is in the picture, without any policy.

    python -m benchmarks.heads --root ../shared/data/dreambooth --groups.plush "[bear_plushie, ...]"

Yo'LLaVA's protocol (2406.09400): a concept is learned from 3 or 4 of its photos, and asked about on
its other photos and on those of all other subjects; ``weighted`` is the mean of positive and
negative accuracy. Other subjects of its class, and of its group, are the hard negatives. Repeated
with other training photos for each seed; intervals are over concepts.

``heads`` are MyVLM's (:mod:`concepts.methods.myvlm.heads`) at their threshold of one half, learned
with the training photos of the other subjects as negatives. ``retrieval`` takes the highest cosine
to a training photo, above a threshold at which training photos, each compared with the others of
its subject, are missed as often as those of other subjects pass. No test photo has part in either.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.harness.table import row_line, show
from benchmarks.metrics.intervals import Metric, estimate, ratio
from benchmarks.metrics.recognition import auroc, balancing_threshold
from concepts.concept import Concept
from concepts.importers import folder_concepts, photo_root
from concepts.methods.myvlm.heads import HeadSettings, learn_head
from concepts.methods.myvlm.views import Augmentation, view_features
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_other_json, write_json
from data_gen.files.settings import read_settings
from data_gen.files.skipped import SkippedItems
from data_gen.images.encoders import load_encoder

COLUMNS = {
    "weighted": "weighted",
    "positive": "positive",
    "negative": "negative",
    "hard": "hard negatives",
    "weighted_hard": "weighted, hard only",
    "unseen": "unseen negatives",
    "auroc": "AUROC",
}
"""Metric -> its column."""


@dataclass(kw_only=True)
class HeadsSettings:
    """Whose photos, and how heads are learned."""

    root: str = field(metadata={"help": "<subject>/*.jpg, and a classes file; or a zip."})
    encoder: str = field(
        default="imagenet", metadata={"help": "As in data_gen/images/encoders.py."}
    )
    cache: str = field(default="runs/cache/features", metadata={"help": "Directory of features."})
    photos: int = field(
        default=4, metadata={"help": "Training photos of a subject; one at least is tested."}
    )
    seeds: int = field(default=5, metadata={"help": "How often, each time with other photos."})
    views: int = field(
        default=4, metadata={"help": "Flipped and rotated views of a training photo."}
    )
    known: float = field(
        default=1.0,
        metadata={"help": "Share of the other subjects that heads have as negatives, 0-1."},
    )
    groups: dict[str, list[str]] = field(
        default_factory=dict,
        metadata={"help": "Name -> subjects that are hard negatives of each other, too."},
    )
    head: HeadSettings = field(
        default_factory=HeadSettings, metadata={"help": "How heads are learned."}
    )
    out: str | None = field(default=None, metadata={"help": "JSON file of all figures."})

    def __post_init__(self):
        if self.photos < 2 or self.seeds < 1 or self.views < 1:
            raise InputError("photos must be 2 or more, seeds and views 1 or more")
        if not 0 < self.known <= 1:
            raise InputError(f"known must be above 0 and at most 1, not {self.known!r}")


@dataclass(frozen=True)
class Asked:
    """One question: is the concept in the photo?

    Attributes:
        concept: number of the concept's subject.
        owner: number of the photo's subject.
        p: score of each system.
        yes: what each system says.
        unseen: whether the owner is another subject, of which no photo was a training negative.
    """

    concept: int
    owner: int
    p: dict[str, float]
    yes: dict[str, bool]
    unseen: bool


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the table."""
    torch.set_num_threads(1)
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv, HeadsSettings, program="heads", doc=__doc__
        )
        if s.out:
            refuse_other_json(Path(s.out), {"settings", "subjects"})
        result = measure(s)
        print(table(result))
        if s.out:
            Path(s.out).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(s.out), result)
            print(f"wrote {s.out}")
    except (ValueError, OSError) as error:
        sys.exit(f"heads: {error}")
    except KeyboardInterrupt:
        sys.exit("heads: stopped; features that were computed are kept")


def measure(s: HeadsSettings) -> dict:
    """All figures, each with its interval over concepts.

    Raises:
        InputError: fewer than two subjects with two photos, a group of unknown subjects, or no such
            encoder.
    """
    root = photo_root(s.root)
    subjects, skipped = _subjects(root)
    names = [subject.name for subject in subjects]
    encoder = load_encoder(s.encoder, "cpu", progress=False)
    features = [
        view_features(encoder, [root / i for i in subject.images], s.views, Augmentation(), s.cache)
        for subject in tqdm(subjects, desc="features", disable=None)
    ]
    groups = {**_classes(subjects), **_numbers(s.groups, names)}
    hard = {(a, b) for of in groups.values() for a in of for b in of if a != b}
    asked: list[Asked] = []
    thresholds, seconds = [], []
    for seed in tqdm(range(s.seeds), desc="seeds", disable=None):
        found, threshold, spent = _one_seed(features, hard, s, seed)
        asked += found
        thresholds.append(threshold)
        seconds += spent
    systems = list(asked[0].p)
    return {
        "settings": {k: v for k, v in asdict(s).items() if k not in ("out", "cache")},
        "subjects": len(names),
        "photos": sum(len(f) for f in features),
        "questions": len(asked),
        "positives": sum(one.concept == one.owner for one in asked),
        "hard_negatives": sum((one.concept, one.owner) in hard for one in asked),
        "retrieval_thresholds": thresholds,
        "seconds_per_head": float(np.mean(seconds)),
        "systems": {
            system: {key: asdict(estimate(m)) for key, m in metrics(asked, system, hard).items()}
            for system in systems
        },
        "groups": {
            group: {
                system: {
                    key: asdict(estimate(m))
                    for key, m in metrics(
                        [one for one in asked if one.concept in of and one.owner in of],
                        system,
                        hard,
                    ).items()
                }
                for system in systems
            }
            for group, of in groups.items()
            if len(of) > 1
        },
        "skipped": skipped.to_json(),
    }


def metrics(asked: Sequence[Asked], system: str, hard: set[tuple[int, int]]) -> dict[str, Metric]:
    """The metrics of :data:`COLUMNS`, one row for each concept, with its own counts."""
    concepts = sorted({one.concept for one in asked})

    def share(of: Any) -> Metric:
        """Right answers among the questions that ``of`` chooses, by concept."""
        right, n = dict.fromkeys(concepts, 0), dict.fromkeys(concepts, 0)
        for one in asked:
            if of(one):
                n[one.concept] += 1
                right[one.concept] += one.yes[system] == (one.concept == one.owner)
        return ratio([right[c] for c in concepts], [n[c] for c in concepts])

    positive = share(lambda one: one.concept == one.owner)
    negative = share(lambda one: one.concept != one.owner)
    difficult = share(lambda one: (one.concept, one.owner) in hard)
    areas = []
    for concept in concepts:
        of = [one for one in asked if one.concept == concept]
        p = np.array([one.p[system] for one in of])
        truth = np.array([one.concept == one.owner for one in of])
        areas.append(float(p_area(p, truth)))
    return {
        "weighted": positive + negative,
        "positive": positive,
        "negative": negative,
        "hard": difficult,
        "weighted_hard": positive + difficult,
        "unseen": share(lambda one: one.unseen),
        "auroc": ratio(areas),
    }


def p_area(p: np.ndarray, positive: np.ndarray) -> float:
    """The area under the ROC curve of one concept's scores."""
    (yes, _), (_, _) = auroc(p, positive)
    return yes.sum() / positive.sum()


def table(result: Mapping) -> str:
    """The figures as Markdown, in per cent with 95 % intervals."""
    columns = {
        key: title
        for key, title in COLUMNS.items()
        if any(of[key]["value"] is not None for of in result["systems"].values())
    }
    lines = [
        f"{result['subjects']} subjects, {result['photos']} photos, {result['questions']} questions"
        f" ({result['positives']} positive, {result['hard_negatives']} hard negatives)",
        "",
        row_line(["", *columns.values()]),
        row_line(["---"] * (1 + len(columns))),
    ]
    for label, systems in {"all": result["systems"], **result["groups"]}.items():
        for system, of in systems.items():
            cells = [show(of[key], "share") for key in columns]
            lines.append(row_line([f"{system}, {label}", *cells]))
    thresholds = ", ".join(f"{t:.3f}" for t in result["retrieval_thresholds"])
    lines += [
        "",
        f"heads say yes from p = 0.5, retrieval from a cosine of {thresholds} (by seed); "
        f"{result['seconds_per_head']:.2f} s of processor time to learn a head",
    ]
    return "\n".join(lines)


def _one_seed(
    features: Sequence[np.ndarray], hard: set[tuple[int, int]], s: HeadsSettings, seed: int
) -> tuple[list[Asked], float, list[float]]:
    """All questions of one draw of training photos, retrieval's threshold, and the processor time
    of each head."""
    rng = np.random.default_rng([seed, len(features)])
    train, test = [], []
    for of in features:
        order = rng.permutation(len(of))
        n = min(s.photos, len(of) - 1)
        train.append(of[order[:n]])
        test.append(of[order[n:]])
    threshold = retrieval_threshold([of[:, 0] for of in train])
    asked, seconds = [], []
    for c, own in enumerate(train):
        others = [i for i in range(len(train)) if i != c]
        n_known = max(1, round(s.known * len(others)))
        known = sorted(rng.permutation(others)[:n_known].tolist())
        began = time.process_time()
        same = [(c, i) in hard for i in known for _ in train[i]]
        negatives = np.concatenate([train[i] for i in known])
        head = learn_head(own, negatives, s.head, same_category=same, seed=seed)
        seconds.append(time.process_time() - began)
        for i, photos in enumerate(test):
            p = head.probability(photos[:, 0])
            cosine = (photos[:, 0] @ own[:, 0].T).max(1)
            for each, near in zip(p.tolist(), cosine.tolist(), strict=True):
                asked.append(
                    Asked(
                        c,
                        i,
                        {"heads": each, "retrieval": near},
                        {"heads": each >= 0.5, "retrieval": near >= threshold},
                        i != c and i not in known,
                    )
                )
    return asked, threshold, seconds


def retrieval_threshold(train: Sequence[np.ndarray]) -> float:
    """The cosine at which training photos are missed as often as those of other subjects pass: each
    photo is compared with the others of its subject, and with all photos of every other subject.

    Args:
        train: for each subject (n, D) unit vectors.
    """
    scores, truths = [], []
    for c, own in enumerate(train):
        for i, photos in enumerate(train):
            cosines = photos @ own.T
            if i == c:
                if len(own) < 2:
                    continue
                np.fill_diagonal(cosines, -1)
            scores += cosines.max(1).tolist()
            truths += ["yes" if i == c else "no"] * len(photos)
    return balancing_threshold(scores, truths)[0]


def _subjects(root: Path) -> tuple[list[Concept], SkippedItems]:
    """The folders with two photos or more."""
    found, skipped = folder_concepts(root)
    usable = [concept for concept in found if len(concept.images) > 1]
    if len(usable) < 2:
        raise InputError(
            f"root {root} has {len(usable)} subjects with two photos; two are needed"
            + skipped.clause()
        )
    return usable, skipped


def _classes(subjects: Sequence[Concept]) -> dict[str, list[int]]:
    """Class -> its subjects, where there are several."""
    found: dict[str, list[int]] = {}
    for i, subject in enumerate(subjects):
        if subject.category:
            found.setdefault(subject.category, []).append(i)
    return {kind: of for kind, of in found.items() if len(of) > 1}


def _numbers(groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, list[int]]:
    for group, of in groups.items():
        for name in of:
            if name not in names:
                raise InputError(
                    f"groups.{group}: there is no subject {name!r} with two photos; the folders "
                    f"are {', '.join(names[:5])} ..."
                )
    return {group: [names.index(name) for name in of] for group, of in groups.items()}


if __name__ == "__main__":
    main()
