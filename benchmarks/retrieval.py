"""Retrieval benchmark: recall of the right concept, and search time. Prints one JSON object.

    python -m benchmarks.retrieval recall --root ../shared/data/dreambooth --encoder imagenet
    python -m benchmarks.retrieval recall --toys 200 --encoder toybox_clip
    python -m benchmarks.retrieval speed --concepts 100 10000 1000000 --dim 64
    python -m benchmarks.retrieval edits --concepts 10000 --dim 64

``recall`` asks for each photo of each folder with all other photos as the database (leave one out);
``--toys`` draws held-out toys, each alone in five scenes, for want of photos.
``speed`` searches made-up concepts: unit vectors around a few thousand centres, as subjects around
their categories; a query is a concept's vector moved by as much as its centre is away. ``edits``
renames, removes and adds concepts of a database on disk, in this process and as another would, and
times the next query's look-up of the index; pictures' vectors are made up, so that encoding takes
no time. All run on one thread, and times are processor time, which a busy machine does not lengthen
much.
"""

import json
import platform
import resource
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import torch
from PIL import Image

from concepts.concept import Concept, entry_of, tag_of
from concepts.database import Database, write_database
from concepts.importers import folder_database
from concepts.index import ConceptIndex, LiveIndex, build_index, nearest
from concepts.regions import crop, windows
from concepts.retrieval import name_keys, names_in
from data_gen.files.errors import InputError
from data_gen.files.settings import read_settings
from data_gen.images.encoders import Encoder, load_encoder
from data_gen.images.features import PHOTO_PX, file_features
from data_gen.images.photos import open_photo
from data_gen.toybox.subjects import toy_source

KS = (1, 2, 4, 5)
"""Recall is reported at these."""

PER_CENTRE = 50
SPREAD = 0.6
"""Made-up concepts: how many share a centre, and how far they lie from it."""


@dataclass(kw_only=True)
class RetrievalBenchSettings:
    """What is measured: ``recall``, ``speed`` or ``edits``."""

    what: Literal["recall", "speed", "edits"] = field(metadata={"help": "recall, speed or edits."})
    root: str | None = field(default=None, metadata={"help": "recall: <subject>/*.jpg"})
    toys: int | None = field(default=None, metadata={"help": "recall: so many drawn toys."})
    encoder: str = field(
        default="imagenet", metadata={"help": "recall: as in data_gen/images/encoders.py."}
    )
    cache: str | None = field(default=None, metadata={"help": "recall: directory of features."})
    regions: bool = field(default=False, metadata={"help": "recall: windows as well."})
    concepts: list[int] = field(
        default_factory=lambda: [100, 10_000, 1_000_000],
        metadata={"help": "speed, edits: numbers of concepts."},
    )
    dim: int = field(default=64, metadata={"help": "speed, edits: dimensions of a vector."})
    queries: int = field(default=200, metadata={"help": "speed: queries."})

    def __post_init__(self):
        if self.what == "recall" and (self.root is None) == (self.toys is None):
            raise InputError("recall needs either --root PHOTOS or --toys N")


def main(argv: list[str] | None = None) -> None:
    """Measure, and print the result."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            RetrievalBenchSettings,
            positional="what",
            program="retrieval",
            doc=__doc__,
        )
        with redirect_stdout(sys.stderr):  # libraries log there when they are first imported
            if s.what == "recall":
                with tempfile.TemporaryDirectory() as folder:
                    root = Path(s.root) if s.root else drawn_toys(Path(folder), s.toys or 0)
                    measured = leave_one_out(root, s.encoder, s.cache, regions=s.regions)
            elif s.what == "edits":
                measured = {"dim": s.dim, "sizes": [edit_times(n, s.dim) for n in s.concepts]}
            else:
                measured = {
                    "dim": s.dim,
                    "queries": s.queries,
                    "sizes": [search_times(n, s.dim, s.queries) for n in s.concepts],
                }
    except ValueError as error:
        sys.exit(f"retrieval: {error}")
    except KeyboardInterrupt:
        sys.exit("retrieval: stopped; features that were computed are kept")
    machine = {
        "threads": 1,
        "processor": platform.processor() or platform.machine(),
        "faiss": faiss.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps({"measure": s.what, **machine, **measured}, indent=2))


def drawn_toys(folder: Path, n: int, views: int = 5, size: int = 96) -> Path:
    """Draw ``n`` held-out toys, as a folder of photos would have them. Returns ``folder``."""
    for subject in toy_source(n, seed=0, size=size, views=views).subjects:
        (folder / subject.key).mkdir()
        for k, view in enumerate(subject.views):
            view.open().save(folder / subject.key / f"{k}.png")
    return folder


def leave_one_out(
    root: Path, spec: str, cache: str | None = None, *, regions: bool = False
) -> dict:
    """Recall@k of naming each photo's subject by all other photos.

    Args:
        root: ``<subject>/*.jpg``.
        spec: the encoder's.
        cache: directory of features.
        regions: take the best of the whole photo and its windows.

    Raises:
        DatabaseError: ``root`` holds no usable photo.
        EncoderError: there is no such encoder.
        ValueError: no subject has two photos.
    """
    with tempfile.TemporaryDirectory() as folder:
        database, skipped = folder_database(root, Path(folder) / "database.json", size=PHOTO_PX)
        owners, paths = _images(database)
    encoder = load_encoder(spec, "cpu")
    start = time.process_time()
    features, broken = file_features(encoder, paths, cache, progress=True)
    skipped.update(broken)
    encoding = time.process_time() - start
    vectors = np.stack([features[path] for path in paths])
    hits, asked = dict.fromkeys(KS, 0), 0
    for i, owner in enumerate(owners):
        if owners.count(owner) < 2:
            continue
        asked += 1
        others = [j for j in range(len(owners)) if j != i]
        index = build_index(vectors[others], [owners[j] for j in others])
        query = vectors[i : i + 1]
        if regions:
            photo = open_photo(paths[i], PHOTO_PX)
            crops = encoder.images([crop(photo, box) for box in windows(photo)])
            query = np.concatenate([query, crops])
        best: dict[str, float] = {}
        for answer in nearest(index, query, max(KS)):
            for name, similarity in answer:
                best[name] = max(similarity, best.get(name, -2.0))
        ranked = sorted(best, key=lambda name: -best[name])
        for k in KS:
            hits[k] += owner in ranked[:k]
    if not asked:
        raise ValueError(f"{root}: no subject has two photos; no photo can be left out")
    return {
        "encoder": spec,
        "dim": encoder.dim,
        "regions": regions,
        "photos": len(paths),
        "subjects": len(set(owners)),
        "asked": asked,
        "skipped": skipped.counts,
        "recall": {f"@{k}": round(hits[k] / asked, 4) for k in KS},
        "encode_ms_per_photo": None if cache else round(1000 * encoding / len(paths), 1),
    }


def search_times(n: int, dim: int, queries: int, seed: int = 0) -> dict:
    """Milliseconds per query over n made-up concepts of one image each, queries one by one.

    Raises:
        ValueError: n, dim or queries is not a positive number.
    """
    if min(n, dim, queries) < 1:
        raise ValueError("numbers of concepts, dimensions and queries start at 1")
    rng = np.random.default_rng(seed)
    vectors = made_up(rng, n, dim)
    chosen = rng.integers(0, n, queries)
    asked = _unit(vectors[chosen] + SPREAD * _unit(rng.standard_normal((queries, dim), np.float32)))
    names = [f"toy {i}" for i in range(n)]
    result: dict = {"concepts": n}
    exact = None
    for kind in ("flat", "ivf"):
        if kind == "ivf" and n < 4096:
            continue  # it would be the same index
        start = time.process_time()
        index = build_index(vectors, names, kind)
        built = time.process_time() - start
        times, answers = _timed(index, asked)
        exact = exact or answers
        result[kind] = {
            "build_s": round(built, 2),
            "median_ms": round(float(np.median(times)), 3),
            "p95_ms": round(float(np.percentile(times, 95)), 3),
            "finds_nearest_of_flat": _share(exact, answers, 1),
            "finds_10_nearest_of_flat": _share(exact, answers, 10),
            "finds_concept": round(
                float(
                    np.mean(
                        [answer[0] == names[i] for answer, i in zip(answers, chosen, strict=True)]
                    )
                ),
                4,
            ),
        }
        if kind == "ivf":
            cells: Any = index.faiss
            result[kind] |= {"cells": cells.nlist, "looked_into": cells.nprobe}
        del index
    keys = name_keys(names)
    start = time.process_time()
    assert names_in(f"Is <{names[0]}> here?", keys) == names[:1]
    result["names_in_question_ms"] = round(1000 * (time.process_time() - start), 3)
    # ru_maxrss is in KiB on Linux; it never falls, so sizes are measured in the order given.
    result["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return result


def edit_times(n: int, dim: int, edits: int = 20, seed: int = 0) -> dict:
    """Milliseconds of an edit among n concepts, and of the first query after it.

    ``next_query`` follows an edit by the same process, ``next_query_other`` one by another; both
    are the time until the index answers again, the search itself left out.

    Raises:
        ValueError: n is less than 2.
    """
    if n < 2:
        raise ValueError("edits need 2 concepts or more")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Image.new("RGB", (8, 8)).save(root / "0.png")
        data = (root / "0.png").read_bytes()
        for i in range(n + edits):  # every file another content, as its vector is kept by that
            (root / f"{i}.png").write_bytes(data + str(i).encode())
        database = Database(root / "database.json")
        concepts = [Concept(f"toy {i}", (f"{i}.png",), f"<toy {i}> is mine.") for i in range(n)]
        write_database(
            database.path,
            {
                "concept_dict": {tag_of(c.name): entry_of(c) for c in concepts},
                "path_to_concept": {},
            },
        )
        encoder = Encoder(
            "made up", dim, "0" * 12, lambda images: _unit(made_up(rng, len(images), dim))
        )
        index = LiveIndex(database, encoder)
        other = Database(database.path)
        index.current()
        found: dict[str, list[float]] = {"edit": [], "next_query": [], "next_query_other": []}
        for i in range(edits):
            for who, key in ((database, "next_query"), (other, "next_query_other")):
                start = time.process_time()
                if i % 3 == 0:
                    who.rename(next(iter(who.concepts())), f"{key} {i}")
                elif i % 3 == 1:
                    who.remove(next(iter(who.concepts())))
                else:
                    who.add(Concept(f"{key} {i}", (f"{n + i}.png",)))
                edited = time.process_time()
                index.current()
                found[key].append(1000 * (time.process_time() - edited))
                if who is database:
                    found["edit"].append(1000 * (edited - start))
    return {
        "concepts": n,
        **{f"{key}_median_ms": round(float(np.median(of)), 2) for key, of in found.items()},
        **{f"{key}_most_ms": round(float(np.max(of)), 2) for key, of in found.items()},
    }


def made_up(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    """(n, dim) float32 of length 1, around n / PER_CENTRE centres."""
    centres = _unit(rng.standard_normal((max(1, n // PER_CENTRE), dim), np.float32))
    vectors = _unit(rng.standard_normal((n, dim), np.float32))
    vectors *= SPREAD
    vectors += centres[rng.integers(0, len(centres), n)]
    return _unit(vectors)


def _timed(index: ConceptIndex, asked: np.ndarray) -> tuple[list[float], list[list[str]]]:
    times, answers = [], []
    for query in asked:
        start = time.process_time()
        (answer,) = nearest(index, query[None], 10)
        times.append(1000 * (time.process_time() - start))
        answers.append([name for name, _ in answer])
    return times, answers


def _share(exact: list[list[str]], answers: list[list[str]], k: int) -> float:
    """Share of the k exact nearest that are among the k retrieved."""
    shares = [
        len(set(a[:k]) & set(b[:k])) / max(1, len(a[:k]))
        for a, b in zip(exact, answers, strict=True)
    ]
    return round(float(np.mean(shares)), 4)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def _images(database: Database) -> tuple[list[str], list[Path]]:
    """Every image of a database, and whose it is."""
    pairs = [
        (name, database.image_path(image))
        for name, concept in database.concepts().items()
        for image in concept.images
    ]
    return [name for name, _ in pairs], [path for _, path in pairs]


if __name__ == "__main__":
    main()
