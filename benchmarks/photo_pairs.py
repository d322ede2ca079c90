"""Photos of subjects that a run was trained on, and of held-out ones: does it recognise either?

    python -m benchmarks.photo_pairs --runs "[runs/photo_pairs_1, runs/photo_pairs_2]"

Each run was trained (``byname sft``, ``byname grpo``) on rows of the generator ``folders`` with
``split: train``; the manifest of these rows says where the photos are and who is held out. Rows of
the same settings and another seed ask about pairs of photos of either side: is it the same subject?
They are put to the policy before training and to every checkpoint. The same pairs are judged by:

- the *cosine* of two photos' features, above the threshold at which the training subjects' pairs
  are mistaken equally often in either direction;
- the *nearest neighbour*: yes where the photo most like the query, of all photos of its side, is of
  the reference's subject. It is told whose every photo is; a policy is shown one photo.

Features are the policy's own (the mean of the image tokens that its language model reads), an
encoder's (of photos as small as the policy sees them, and of the files), and 8 x 8 pixels,
which say what colours and background alone can tell. Intervals are over subjects.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from benchmarks.harness.table import row_line, show
from benchmarks.metrics.intervals import Metric, estimate
from benchmarks.metrics.recognition import auroc, balancing_threshold, recognition_metrics
from concepts.methods.soft_prompts.start import picture_features
from data_gen.files.errors import InputError
from data_gen.files.files import atomic_file, refuse_other_json, write_json
from data_gen.files.settings import read_settings, read_yaml
from data_gen.generators import GENERATORS
from data_gen.images.encoders import Encoder, load_encoder
from data_gen.images.features import file_features
from data_gen.leaks.cues import thumbnails
from data_gen.rows import OCT
from data_gen.rows.build_plan import manifest_of
from data_gen.sources.zip_root import folder_of_root
from rl.checkpoints import checkpoints
from rl.policy.likelihood import yes_probabilities
from rl.policy.loading import load_policy, load_processor
from rl.run_directory import CONFIG

SIDES = {"train": "subjects trained on", "heldout": "held-out subjects"}
"""Split of the generator -> its label."""

COLUMNS = {
    "accuracy": "balanced",
    "positive": "positive",
    "negative_easy": "negative, other classes",
    "negative_hard": "negative, same class",
    "accuracy_hard": "balanced, same class only",
    "auroc": "AUROC",
}
"""Metric -> its column."""

POLICY = "policy"
BATCH = 50
"""Rows per call of a policy."""

_SOURCE = re.compile(r"folders: (.+?) \| (.+) \((same|hard|other)\)")

Encode = Callable[[Mapping[str, Image.Image]], np.ndarray]
"""N photos, by their paths below the root -> (N, D) features."""


@dataclass(kw_only=True)
class PhotoPairsSettings:
    """Which runs, and what they are compared with."""

    runs: list[str] = field(
        metadata={"help": "Runs of the same settings; rows of each may hold out other subjects."}
    )
    questions: int = field(default=300, metadata={"help": "Of either side, for each run."})
    seed: int = field(default=7001, metadata={"help": "Of the questions."})
    encoder: str = field(
        default="imagenet", metadata={"help": "As in data_gen/images/encoders.py."}
    )
    cache: str = field(default="runs/cache/features", metadata={"help": "Directory of features."})
    out: str | None = field(default=None, metadata={"help": "JSON file of all figures."})
    plot: str | None = field(default=None, metadata={"help": "PNG file of the curves."})

    def __post_init__(self):
        if not self.runs:
            raise InputError("runs names no run; give one, or one for each fold")
        if self.questions < 2:
            raise InputError(f"questions must be 2 or more, not {self.questions}")


@dataclass(frozen=True)
class Pair:
    """A question: is the subject of the reference in the query?

    Attributes:
        row: its prompt and opened images.
        photos: the reference's and the query's, as paths below the root.
        subjects: their folders.
        hard: whether these are two subjects of one class.
    """

    row: dict
    photos: tuple[str, str]
    subjects: tuple[str, str]
    hard: bool

    @property
    def answer(self) -> str:
        """What is true: ``yes`` or ``no``."""
        return self.row["answer"]


@dataclass(frozen=True)
class Run:
    """A run, and the questions about its subjects.

    Attributes:
        path: its directory.
        policies: step -> directory or name of a policy; 0 is the one that training began with.
        settings: of the generator of its rows.
        sides: split -> its questions.
    """

    path: Path
    policies: dict[int, str]
    settings: dict
    sides: dict[str, list[Pair]]


@dataclass(frozen=True)
class Answers:
    """What a system says to the questions of one side of one run.

    Attributes:
        score: (N,) the higher, the likelier yes.
        yes: (N,) booleans.
    """

    score: np.ndarray
    yes: np.ndarray


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, draw the curves."""
    torch.set_num_threads(1)
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            PhotoPairsSettings,
            program="photo_pairs",
            doc=__doc__,
        )
        if s.out:
            refuse_other_json(Path(s.out), {"settings", "subjects", "systems"})
        result = measure(s)
        print(table(result))
        if s.out:
            Path(s.out).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(s.out), result)
            print(f"wrote {s.out}")
        if s.plot:
            Path(s.plot).parent.mkdir(parents=True, exist_ok=True)
            draw(result, Path(s.plot))
            print(f"wrote {s.plot}")
    except (ValueError, OSError) as error:
        sys.exit(f"photo_pairs: {error}")
    except KeyboardInterrupt:
        sys.exit("photo_pairs: stopped; nothing was written")


def measure(s: PhotoPairsSettings) -> dict:
    """All figures, each with its interval over subjects.

    Raises:
        InputError: a directory that is no run on such rows, or runs without a step in common.
    """
    runs = [open_run(Path(path), s) for path in s.runs]
    steps = sorted(set.intersection(*(set(run.policies) for run in runs)))
    if len(steps) < 2:
        raise InputError(
            f"the runs {', '.join(s.runs)} have no checkpoint of the same step; train them with "
            f"the same save_steps and without save_total_limit"
        )
    encoder = load_encoder(s.encoder, "cpu", progress=False)
    return figures(s, runs, [answers_of(run, steps, encoder, s.cache) for run in runs])


def answers_of(
    run: Run, steps: Sequence[int], encoder: Encoder, cache: str
) -> dict[tuple[str, int | None], dict[str, Answers]]:
    """(system, step of the policy or None) -> side -> what it says to a run's questions."""
    found: dict[tuple[str, int | None], dict[str, Answers]] = {}

    def add_features(name: str, step: int | None, encode: Encode) -> None:
        for how, answers in by_features(run.sides, encode).items():
            found[f"{name}: {how}", step] = answers

    processor = load_processor(run.policies[steps[-1]])
    for step in tqdm(steps, desc=str(run.path), disable=None):
        model, _ = load_policy(run.policies[step])
        model.eval()
        found[POLICY, step] = by_policy(run.sides, model, processor)
        add_features("its features", step, own_features(model, processor))
    small, large = f"{encoder.name}, small photos", f"{encoder.name}, large photos"
    add_features(small, None, lambda photos: encoder.images(list(photos.values())))
    add_features(large, None, of_files(encoder, run.settings["root"], cache))
    add_features("8 x 8 pixels", None, lambda photos: thumbnails(list(photos.values())))
    return found


def figures(
    s: PhotoPairsSettings,
    runs: Sequence[Run],
    answers: Sequence[Mapping[tuple[str, int | None], Mapping[str, Answers]]],
) -> dict:
    """All figures from the answers to the questions of each run."""
    return {
        "settings": {k: v for k, v in asdict(s).items() if k not in ("out", "plot", "cache")},
        "steps": sorted({step for _, step in answers[0] if step is not None}),
        "subjects": {
            side: len({pair.subjects[0] for run in runs for pair in run.sides[side]})
            for side in SIDES
        },
        "questions": {
            side: {
                kind: sum(_kind(pair) == kind for run in runs for pair in run.sides[side])
                for kind in ("positive", "negative_easy", "negative_hard")
            }
            for side in SIDES
        },
        "systems": [
            {
                "system": system,
                "step": step,
                "side": side,
                "metrics": {
                    key: asdict(estimate(metric))
                    for key, metric in scores(
                        [run.sides[side] for run in runs],
                        [of[system, step][side] for of in answers],
                    ).items()
                },
            }
            for system, step in answers[0]
            for side in SIDES
        ],
    }


def open_run(path: Path, s: PhotoPairsSettings) -> Run:
    """A run with its checkpoints, and questions about the subjects of both of its sides.

    Raises:
        InputError: it is no run, has no checkpoint, or its rows are not of folders of photos with
            subjects held out.
    """
    file = path / CONFIG
    if not file.is_file():
        raise InputError(f"{path} is no run: it has no {CONFIG}")
    config = read_yaml(file)
    manifest = manifest_of(Path(config["rows"]))
    if manifest is None:
        raise InputError(f"{file}: its rows {config['rows']} are no row set that byname made")
    settings = manifest["settings"]
    if manifest["generator"] != "folders" or settings.get("split") != "train":
        raise InputError(
            f"{path} was trained on {config['rows']}, where no subject is held out; make rows by "
            f"the generator folders with `split: train`"
        )
    saved = {int(c.name.rpartition("-")[2]): str(c) for c in checkpoints(path / "checkpoints")}
    if not saved:
        raise InputError(f"{path} has no complete checkpoint")
    sides = {side: _pairs(settings, side, s) for side in SIDES}
    return Run(path, {0: config["policy"], **saved}, settings, sides)


def _pairs(settings: Mapping, side: str, s: PhotoPairsSettings) -> list[Pair]:
    given = {k: v for k, v in settings.items() if k != "counts"} | {"split": side}
    pairs = []
    for row in GENERATORS["folders"].rows({OCT: s.questions}, s.seed, given):
        match = _SOURCE.fullmatch(row["source"])
        assert match, row["source"]  # as data_gen.tasks.builder writes it
        photos = match[1], match[2]
        subjects = photos[0].split("/")[0], photos[1].split("/")[0]
        pairs.append(Pair(row, photos, subjects, match[3] == "hard"))
    return pairs


# ---- how pairs are judged ----


def by_policy(sides: Mapping[str, Sequence[Pair]], model, processor) -> dict[str, Answers]:
    """What a policy answers: yes where p(yes) is above p(no)."""
    found = {}
    for side, pairs in sides.items():
        p = yes_probabilities(model, processor, [pair.row for pair in pairs], batch_size=BATCH)
        found[side] = Answers(np.array(p), np.array(p) > 0.5)
    return found


def by_features(
    sides: Mapping[str, Sequence[Pair]], encode: Encode
) -> dict[str, dict[str, Answers]]:
    """The same pairs judged by features alone, by *cosine* and by *nearest neighbour*."""
    vectors = {side: _vectors(pairs, encode) for side, pairs in sides.items()}
    cosines = {
        side: np.array(
            [vectors[side][a] @ vectors[side][b] for a, b in (pair.photos for pair in pairs)]
        )
        for side, pairs in sides.items()
    }
    threshold, _ = balancing_threshold(
        cosines["train"].tolist(), [pair.answer for pair in sides["train"]]
    )
    margins = {side: nearest_margins(pairs, vectors[side]) for side, pairs in sides.items()}
    return {
        "cosine": {side: Answers(c, c >= threshold) for side, c in cosines.items()},
        "nearest neighbour": {side: Answers(m, m > 0) for side, m in margins.items()},
    }


def nearest_margins(pairs: Sequence[Pair], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """(N,) how much nearer the query's nearest photo of the reference's subject is than its nearest
    one of all other subjects, as a difference of cosines; the query itself is no neighbour."""
    owner = {
        photo: who for pair in pairs for photo, who in zip(pair.photos, pair.subjects, strict=True)
    }
    photos = list(owner)
    owners = np.array([owner[photo] for photo in photos])
    every = np.stack([vectors[photo] for photo in photos])
    found = []
    for pair in pairs:
        cosines = every @ vectors[pair.photos[1]]
        cosines[photos.index(pair.photos[1])] = -np.inf
        own = owners == pair.subjects[0]
        found.append(cosines[own].max() - cosines[~own].max())
    return np.array(found)


def own_features(model, processor) -> Encode:
    """The mean of the image tokens that a policy's language model reads."""

    def encode(photos: Mapping[str, Image.Image]) -> np.ndarray:
        tokens = (picture_features(model, processor, image) for image in photos.values())
        return torch.stack([of.float().mean(0) for of in tokens]).cpu().numpy()

    return encode


def of_files(encoder: Encoder, root: str, cache: str) -> Encode:
    """An encoder's features of the photos' files, larger than in rows; they are cached.

    Raises:
        InputError: when it is called, for a photo that cannot be opened.
    """
    folder = folder_of_root(root)

    def encode(photos: Mapping[str, Image.Image]) -> np.ndarray:
        found, skipped = file_features(encoder, [folder / photo for photo in photos], cache)
        if skipped.counts:
            raise InputError(f"photos of {root} cannot be opened{skipped.clause()}")
        return np.stack([found[folder / photo] for photo in photos])

    return encode


def _vectors(pairs: Sequence[Pair], encode: Encode) -> dict[str, np.ndarray]:
    """Photo -> its features, of length 1."""
    images = {
        photo: image.convert("RGB")
        for pair in pairs
        for photo, image in zip(pair.photos, pair.row["images"], strict=True)
    }
    found = encode(images).astype(np.float64)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return dict(zip(images, found, strict=True))


def _kind(pair: Pair) -> str:
    if pair.answer == "yes":
        return "positive"
    return "negative_hard" if pair.hard else "negative_easy"


# ---- scores ----


def scores(asked: Sequence[Sequence[Pair]], answers: Sequence[Answers]) -> dict[str, Metric]:
    """The metrics of :data:`COLUMNS` over all runs, with a row for each subject.

    Args:
        asked: for each run, the questions of one side.
        answers: for each run, a system's answers to them. Areas are of each run by itself.
    """
    parts: list[dict[str, Metric]] = []
    for pairs, of in zip(asked, answers, strict=True):
        truths = [pair.answer for pair in pairs]
        said = ["yes" if yes else "no" for yes in of.yes]
        found = recognition_metrics(said, truths, [pair.hard for pair in pairs])
        found["accuracy_hard"] = found["positive"] + found["negative_hard"]
        found["auroc"] = auroc(of.score, np.array([truth == "yes" for truth in truths]))
        parts.append({key: found[key] for key in COLUMNS})
    subjects = [pair.subjects[0] for pairs in asked for pair in pairs]
    return {key: _by_subject([part[key] for part in parts], subjects) for key in COLUMNS}


def _by_subject(parts: Sequence[Metric], subjects: Sequence[str]) -> Metric:
    """A metric whose rows are sums over a subject's questions."""
    names, places = np.unique(subjects, return_inverse=True)

    def summed(columns: Sequence[np.ndarray]) -> np.ndarray:
        return np.bincount(places, weights=np.concatenate(columns), minlength=len(names))

    return [
        (summed([top for top, _ in ratios]), summed([bottom for _, bottom in ratios]))
        for ratios in zip(*parts, strict=True)
    ]


# ---- what is shown ----


def table(result: Mapping) -> str:
    """The figures as Markdown, in per cent with 95 % intervals."""
    lines = []
    for side, title in SIDES.items():
        n = result["questions"][side]
        lines += [
            "",
            f"{title}: {result['subjects'][side]}, {sum(n.values())} questions ({n['positive']} "
            f"positive, {n['negative_easy']} of other classes, {n['negative_hard']} of the same)",
            "",
            row_line(["", *COLUMNS.values()]),
            row_line(["---", *["---:"] * len(COLUMNS)]),
        ]
        for one in result["systems"]:
            if one["side"] == side:
                at = "" if one["step"] is None else f", step {one['step']}"
                cells = [show(one["metrics"][key], "share") for key in COLUMNS]
                lines.append(row_line([one["system"] + at, *cells]))
    return "\n".join(lines[1:])


def draw(result: Mapping, path: Path) -> None:
    """Balanced accuracy over the steps, on either side: lines with intervals for the policy and its
    features, dashes for systems that do not change."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (side, title) in zip(panels, SIDES.items(), strict=True):
        of = [one for one in result["systems"] if one["side"] == side]
        for k, system in enumerate(dict.fromkeys(one["system"] for one in of)):
            points = [
                (one["step"], one["metrics"]["accuracy"]) for one in of if one["system"] == system
            ]
            values = [100 * found["value"] for _, found in points]
            if points[0][0] is None:
                panel.axhline(values[0], color=f"C{k}", linestyle="--", linewidth=1, label=system)
                continue
            steps = [step for step, _ in points]
            low, high = ([100 * found[end] for _, found in points] for end in ("low", "high"))
            width = 2.5 if system == POLICY else 1.5
            panel.plot(steps, values, color=f"C{k}", marker="o", linewidth=width, label=system)
            panel.fill_between(steps, low, high, color=f"C{k}", alpha=0.12, linewidth=0)
        panel.set(title=title, xlabel="step", ylim=(40, 101), xticks=result["steps"])
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("balanced accuracy, %")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


if __name__ == "__main__":
    main()
