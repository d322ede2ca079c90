"""R2P stage by stage: what each stage adds to the one before, and all of them to plain in-context.

    python -m benchmarks.ladder --policy toybox_base --out runs/r2p_ladder
    python -m benchmarks.ladder --policy Qwen/Qwen2.5-VL-7B-Instruct --root my/photos \\
        --encoder openai/clip-vit-large-patch14-336 --prompts default --out runs/my_ladder

Without ``--root``, the concepts are held-out toys in pairs that differ in one attribute, each with
one reference, and each query shows one of them alone. With it, they are the folders below it
(``<subject>/*.jpg``): the first photo is the reference, the others are queries.

*Identification*: is the concept that is found the one shown? *Recognition*: is the named concept
there, asked of the true one, of the one most like it and of a random other; weighted, as the mean
of both accuracies. Differences are paired, their intervals over concepts. Plain in-context
identifies by the largest p(yes) among the ``k`` candidates, and recognizes by p(yes) from one half.

Writes ``ladder.md``, ``ladder.json`` and ``outputs.jsonl`` (every query of the last rung: the
candidates, what the policy wrote, who decided).
"""

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.harness.table import row_line, show
from benchmarks.metrics.intervals import Metric, difference, estimate
from concepts.concept import Concept
from concepts.database import Database
from concepts.importers import folder_concepts, photo_root
from concepts.methods.in_context import InContext
from concepts.methods.protocol import Picture
from concepts.methods.r2p import R2P
from concepts.methods.r2p.decision import STAGES
from concepts.methods.r2p.method import Found, R2PSettings
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_no_folder, refuse_other_json, write_json, write_text
from data_gen.files.sentences import figures, next_commands
from data_gen.files.settings import read_settings
from data_gen.tasks.names import draw_names
from data_gen.toybox.identity import Identity, draw_identity, hard_negative
from data_gen.toybox.scene import compose
from rl.policy.loading import load_policy
from rl.run import quiet_libraries

IN_CONTEXT, VISUAL = "in-context", "visual"
IDENTIFICATION, POSITIVE, NEGATIVE, HARD, WEIGHTED = (
    "identification",
    "positive",
    "negative",
    "hard negative",
    "weighted",
)
HEADS = (
    "",
    "identification",
    "above the rung before",
    "recognition: positive",
    "negative",
    "hard negative",
    "weighted",
    "above the rung before",
    "above in-context",
    "s a query",
)
"""Of the table."""

CHUNK = 64
"""Queries that are asked at a time."""


@dataclass(kw_only=True)
class LadderSettings:
    """What is measured, on which policy."""

    policy: str = field(
        default="toybox_base", metadata={"help": "A directory, LoRA adapter or hub id."}
    )
    out: str = field(default="runs/r2p_ladder", metadata={"help": "Output directory."})
    root: str | None = field(
        default=None, metadata={"help": "<subject>/*.jpg; default: held-out toys are drawn."}
    )
    toys: int = field(default=24, metadata={"help": "Toys in the database, two of each likeness."})
    queries: int = field(default=8, metadata={"help": "Queries per concept, at most."})
    half: str | None = field(
        default="test", metadata={"help": "Held-out toys of validation or test; null: of both."}
    )
    seed: int = field(default=0, metadata={"help": "Of toys, scenes and random negatives."})
    encoder: str = field(
        default="toybox_clip", metadata={"help": "A CLIP, as in data_gen/images/encoders.py."}
    )
    prompts: str = field(
        default="toybox", metadata={"help": "default, toybox, or a YAML file like them."}
    )
    k: int = field(default=3, metadata={"help": "Candidates that retrieval hands on."})
    consistent: bool = field(
        default=False, metadata={"help": "Hold reasoning to its own words; false: as the paper."}
    )
    margin: float = field(
        default=0.0, metadata={"help": "By how much verification must disagree, in cosine."}
    )
    confirm: float | None = field(
        default=None, metadata={"help": "Least p(yes) that the concept found is there."}
    )
    max_new_tokens: int = field(default=320, metadata={"help": "Where reasons are cut."})
    size: int = field(default=512, metadata={"help": "Long side of photos, in pixels."})
    batch_size: int = field(default=32, metadata={"help": "Rows per call of the model."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})

    def __post_init__(self):
        if self.toys < 4 or self.toys % 2:
            raise InputError(f"toys must be an even number from 4 on, not {self.toys}")
        if self.queries < 1:
            raise InputError("queries start at 1")


@dataclass(frozen=True)
class Case:
    """A picture and who is in it.

    Attributes:
        picture: an open image, or a file.
        name: of the concept that it shows.
        like: the concept most like it; ``None`` where there is no other of its category.
        other: a random other one.
    """

    picture: Picture
    name: str
    like: str | None
    other: str

    def pairs(self) -> list[tuple[Picture, str]]:
        """What recognition is asked: the true name, then the wrong ones."""
        names = [self.name, self.other, *([] if self.like is None else [self.like])]
        return [(self.picture, name) for name in names]


def main(argv: list[str] | None = None) -> None:
    """Measure every rung, and write the table."""
    quiet_libraries()
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv, LadderSettings, program="ladder", doc=__doc__
        )
        settings = R2PSettings(
            encoder=s.encoder,
            k=s.k,
            prompts=s.prompts,
            consistent=s.consistent,
            margin=s.margin,
            confirm=s.confirm,
            max_new_tokens=s.max_new_tokens,
        )
        refuse_no_folder(s.out, "out")
        out = Path(s.out)
        refuse_other_json(
            out / "ladder.json", {"settings", "rungs"}, ("ladder.md", "outputs.jsonl")
        )
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "database.json"
            database, cases = (photo_cases if s.root else toy_cases)(s, place)
            policy = load_policy(s.policy, dtype=s.dtype)
            measured = climb(policy, database, cases, settings, s)
    except (ValueError, OSError) as error:
        sys.exit(f"ladder: {error}")
    except KeyboardInterrupt:
        sys.exit("ladder: stopped; nothing was written")
    out.mkdir(parents=True, exist_ok=True)
    shown = measured.pop("shown")
    write_json(out / "ladder.json", {"settings": asdict(s), **measured})
    write_text(out / "outputs.jsonl", "".join(json.dumps(o) + "\n" for o in shown))
    table = markdown(measured)
    write_text(out / "ladder.md", table + "\n")
    print(f"\n{table}\n\nwrote {out}/ladder.md, ladder.json and outputs.jsonl")
    print(next_commands(["less", out / "outputs.jsonl"]))


def toy_cases(s: LadderSettings, place: Path) -> tuple[Database, list[Case]]:
    """Toys in pairs that differ in one attribute, in a new database at ``place``."""
    rng = random.Random(f"ladder-{s.seed}-{s.half}")
    toys: list[Identity] = []
    while len(toys) < s.toys:
        toy = draw_identity(rng, held_out=True, half=s.half)
        like = hard_negative(rng, toy, s.half)
        if toy not in toys and like not in toys:
            toys += [toy, like]
    names = draw_names(rng, s.toys)
    place.parent.mkdir(parents=True, exist_ok=True)
    concepts, cases = [], []
    for i, (name, toy) in enumerate(zip(names, toys, strict=True)):
        file = place.parent / f"{i}.png"
        compose(rng, [toy], 64).image.save(file)
        concepts.append(Concept(name, (str(file),), category=toy.category))
        for _ in range(s.queries):
            other = rng.choice([n for j, n in enumerate(names) if j // 2 != i // 2])
            cases.append(Case(compose(rng, [toy], 96).image, name, names[i ^ 1], other))
    database = Database(place)
    database.add_all(concepts)
    return database, cases


def photo_cases(s: LadderSettings, place: Path) -> tuple[Database, list[Case]]:
    """Folders of photos: the first photo of each is its reference, the next ones are queries."""
    rng = random.Random(s.seed)
    root = photo_root(s.root or "")
    found, skipped = folder_concepts(root, size=s.size)
    if skipped:
        print(skipped.line())
    found = [concept for concept in found if len(concept.images) > 1]
    if len(found) < 2:
        raise InputError(f"{root}: two folders with two photos each are needed, not {len(found)}")
    cases = []
    for concept in found:
        others = [one for one in found if one is not concept]
        alike = [o.name for o in others if o.category and o.category == concept.category]
        for image in concept.images[1 : 1 + s.queries]:
            like = rng.choice(alike) if alike else None
            other = rng.choice([one.name for one in others if one.name != like] or [others[0].name])
            cases.append(Case(root / image, concept.name, like, other))
    database = Database(place, root)
    database.add_all([replace(concept, images=concept.images[:1]) for concept in found])
    return database, cases


def climb(
    policy: tuple,
    database: Database,
    cases: Sequence[Case],
    settings: R2PSettings,
    s: LadderSettings,
) -> dict:
    """Measure in-context and every rung: R2P with no stage, with the first, with two, and so on."""
    common = {"database": database, "size": s.size, "batch_size": s.batch_size}
    concepts = list(database.concepts().values())
    r2p = R2P(lambda: policy, lambda query, references: [], settings=settings, **common)
    start = time.monotonic()
    r2p.learn(concepts, progress=True)
    learning = (time.monotonic() - start) / len(concepts)
    problems = {k: v for k, v in r2p.unreadable.counts.items() if k.startswith("fingerprint")}
    rungs: dict[str, dict] = {IN_CONTEXT: {}}
    shown: list[dict] = []
    for n in range(len(STAGES) + 1):
        r2p.settings = replace(settings, stages=list(STAGES[:n]))
        r2p.decided.clear()
        label = VISUAL if n == 0 else f"+ {STAGES[n - 1]}"
        right, found, seconds = _rung(r2p, cases)
        if n == 0:
            method = InContext(lambda: policy, lambda query, references: [], **common)
            plain, asking = _in_context(method, cases, found)
            rungs[IN_CONTEXT] = _measured(cases, plain, asking + seconds, {})
        rungs[label] = _measured(cases, right, seconds, dict(r2p.decided))
        print(f"{label}: {figures(rungs[label]['decided'])}; {seconds:.2f} s a query", flush=True)
        shown = [_shown(case, one) for case, one in zip(cases, found, strict=True)]
    return {
        "concepts": len(concepts),
        "queries": len(cases),
        "fingerprints": {"read": len(concepts) - sum(problems.values()), "problems": problems},
        "unreadable": r2p.unreadable.counts,
        "seconds per fingerprint": round(learning, 2),
        "rungs": {
            label: {
                "seconds": round(rung["seconds"], 3),
                "decided": rung["decided"],
                **_estimates(rung["metrics"], _before(label, rungs), rungs[IN_CONTEXT]["metrics"]),
            }
            for label, rung in rungs.items()
        },
        "shown": shown,
    }


def markdown(measured: dict) -> str:
    """The rungs as a table."""
    read = measured["fingerprints"]["read"]
    lines = [
        f"{measured['concepts']} concepts, {measured['queries']} queries; {read} fingerprints of "
        f"{measured['concepts']} could be read, {measured['seconds per fingerprint']} s each.",
        "",
        row_line(HEADS),
        row_line(["---"] * len(HEADS)),
    ]
    for label, rung in measured["rungs"].items():
        cells = [
            show(rung[key], "share") if key in rung else "–"
            for key in (
                IDENTIFICATION,
                f"{IDENTIFICATION}, rung",
                *(POSITIVE, NEGATIVE, HARD, WEIGHTED),
                f"{WEIGHTED}, rung",
                f"{WEIGHTED}, in-context",
            )
        ]
        lines.append(row_line([label, *cells, f"{rung['seconds']:.2f}"]))
    return "\n".join(lines)


def _rung(r2p: R2P, cases: Sequence[Case]) -> tuple[list[list[bool]], list[Found], float]:
    """For each case whether it was identified, and whether each of its pairs was answered rightly;
    what was found; seconds a query."""
    start = time.monotonic()
    found: list[Found] = []
    for k in range(0, len(cases), CHUNK):
        found += r2p.identify([case.picture for case in cases[k : k + CHUNK]])
    seconds = (time.monotonic() - start) / len(cases)
    pairs = [pair for case in cases for pair in case.pairs()]
    of_pairs = [one for case, one in zip(cases, found, strict=True) for _ in case.pairs()]
    p = iter(r2p.presence(pairs, of_pairs))
    return (
        [
            [
                one.candidate.name == case.name,
                *((next(p) >= 0.5) == (name == case.name) for _, name in case.pairs()),
            ]
            for case, one in zip(cases, found, strict=True)
        ],
        found,
        seconds,
    )


def _in_context(
    method: InContext, cases: Sequence[Case], retrieved: Sequence[Found]
) -> tuple[list[list[bool]], float]:
    """The same of plain in-context, among the candidates that were retrieved by images."""
    start = time.monotonic()
    right = []
    for case, one in zip(cases, retrieved, strict=True):
        candidates = [candidate.name for candidate in one.candidates]
        asked = list(dict.fromkeys([*candidates, *(name for _, name in case.pairs())]))
        p = dict(
            zip(asked, method.recognize([(case.picture, name) for name in asked]), strict=True)
        )
        right.append(
            [
                max(candidates, key=lambda name, p=p: p[name]) == case.name,
                *((p[name] >= 0.5) == (name == case.name) for _, name in case.pairs()),
            ]
        )
    return right, (time.monotonic() - start) / len(cases)


def _measured(cases: Sequence[Case], right, seconds: float, decided: dict) -> dict:
    return {"metrics": _metrics(cases, right), "seconds": seconds, "decided": decided}


def _metrics(cases: Sequence[Case], right: Sequence[Sequence[bool]]) -> dict[str, Metric]:
    """Metrics over concepts, so that intervals are."""
    concepts = list(dict.fromkeys(case.name for case in cases))
    sums = {key: np.zeros((2, len(concepts))) for key in (IDENTIFICATION, POSITIVE, NEGATIVE, HARD)}
    for case, (identified, *answers) in zip(cases, right, strict=True):
        at = concepts.index(case.name)
        said = [(IDENTIFICATION, identified), (POSITIVE, answers[0]), (NEGATIVE, answers[1])]
        said += [(HARD, answer) for answer in answers[2:]]
        for key, one in said:
            sums[key][:, at] += one, 1
    both = sums[NEGATIVE] + sums[HARD]
    found: dict[str, Metric] = {key: [(of[0], of[1])] for key, of in sums.items() if of[1].any()}
    found[WEIGHTED] = [(sums[POSITIVE][0], sums[POSITIVE][1]), (both[0], both[1])]
    return found


def _estimates(
    metrics: dict[str, Metric], before: dict[str, Metric] | None, plain: dict[str, Metric]
) -> dict[str, dict]:
    found = {key: asdict(estimate(metric)) for key, metric in metrics.items()}
    for key in (IDENTIFICATION, WEIGHTED):
        if before is not None:
            found[f"{key}, rung"] = asdict(difference(before[key], metrics[key]))
        if metrics is not plain:
            found[f"{key}, in-context"] = asdict(difference(plain[key], metrics[key]))
    return found


def _before(label: str, rungs: dict[str, dict]) -> dict[str, Metric] | None:
    """The rung below, of R2P's own."""
    labels = [one for one in rungs if one != IN_CONTEXT]
    at = labels.index(label) if label in labels else 0
    return rungs[labels[at - 1]]["metrics"] if at else None


def _shown(case: Case, found: Found) -> dict:
    return {
        "true": case.name,
        "found": found.candidate.name,
        "by": found.by,
        "reply": found.reply,
        "candidates": [asdict(candidate) for candidate in found.candidates],
    }


if __name__ == "__main__":
    main()
