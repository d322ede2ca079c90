"""Published naming questions with the references that retrieval finds (RePIC's *retrieval*).

The picture asked about is looked up among all concepts of the benchmark; what is found stands in
the prompt, right or wrong, with what the database says of it. Every name of the question stays due,
found or not, as in RePIC's figures (2506.18369).

    retrieval:
      encoder: imagenet               # as in data_gen/images/encoders.py
      regions: {kind: windows}        # as in concepts/regions.py; null: the whole picture only
      k: 2                            # by default 2, and 4 for pictures of more than two concepts
      verify: 0.5                     # concepts/methods/verification.py

What was found does not depend on the policy; it is kept in a file, for the other processes and for
scoring where no pictures are at hand.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmarks.harness.question import Question
from concepts.index import build_index
from concepts.methods.protocol import Reference
from concepts.methods.retrieval_cache import found_once, read_found, stamp
from concepts.regions import DetectorError, load_proposer
from concepts.retrieval import Retriever
from data_gen.files.settings import BenchmarkError, check_settings
from data_gen.files.skipped import LeftOut, leave
from data_gen.images.encoders import EncoderError, load_encoder
from data_gen.images.features import PHOTO_PX, file_features
from data_gen.images.photos import PhotoError, open_photo

FILE = "found.json"
"""Beside the predictions."""


@dataclass(frozen=True)
class Finding:
    """How references are found.

    Attributes:
        encoder: see :func:`data_gen.images.encoders.load_encoder`.
        regions: see :func:`concepts.regions.load_proposer`.
        k: references per question; ``None``: RePIC's 2, and 4 where more than two names are due.
        least: similarity below which nothing is found.
        cache: directory of the database's features.
        verify: also ask with those references alone of which the policy says with at least this
            probability that they are there; ``None``: do not.
    """

    encoder: str
    regions: dict | None = field(default_factory=lambda: {"kind": "windows"})
    k: int | None = None
    least: float = -1.0
    cache: str = "runs/features"
    verify: float | None = None


def finding(given: dict) -> Finding:
    """The ``retrieval`` of a config's settings.

    Raises:
        BenchmarkError: a setting that there is not, is missing, or cannot be.
    """
    check_settings(given, Finding, "settings.retrieval")
    if not given.get("encoder"):
        raise BenchmarkError("settings.retrieval.encoder is missing: what compares pictures, such "
                             "as imagenet")
    if (k := given.get("k")) is not None and (not isinstance(k, int) or k < 1):
        raise BenchmarkError(f"settings.retrieval.k must be a number of references, not {k!r}")
    verify = given.get("verify")
    if verify is not None and (isinstance(verify, bool) or not isinstance(verify, int | float)
                               or not 0 <= verify <= 1):
        raise BenchmarkError(f"settings.retrieval.verify must be a probability, not {verify!r}")
    return Finding(**given)


def found_questions(
    questions: Sequence[Question], owned: Mapping[str, Reference], how: Finding, file: Path,
    left_out: LeftOut, *, score_only: bool = False,
) -> list[Question]:
    """The questions with found references in place of the true ones.

    Args:
        questions: of naming.
        owned: name -> reference of everything in the database.
        how: see :class:`Finding`.
        file: where what was found is kept.
        left_out: is given the pictures that do not open, and what has not been found yet.
        score_only: read the file and open nothing.

    Raises:
        BenchmarkError: no such encoder or detector, or no reference can be opened.
    """
    known = read_found(file) if score_only else _find(questions, owned, how, file, left_out)
    found = []
    for question in questions:
        if question.id not in known:
            if score_only:
                leave(left_out, "question whose references have not been found yet", question.id)
            continue
        names, due = known[question.id], {name.casefold() for name in question.names}
        found.append(replace(
            question, id=f"{question.id}-found",
            references=tuple(owned[name] for name in names if name in owned),
            absent_names=tuple(name for name in names if name.casefold() not in due)))
    return found


def _find(questions, owned, how: Finding, file: Path, left_out: LeftOut) -> dict[str, list[str]]:
    by_id = {question.id: question for question in questions}
    retrieve: list[Callable] = []  # loaded when it is first needed

    def find(key: str) -> list[str] | None:
        question = by_id[key]
        try:
            picture = open_photo(question.query, PHOTO_PX)
        except PhotoError as reason:
            leave(left_out, f"picture that does not open: {reason}", key)
            return None
        if not retrieve:
            retrieve.append(_retriever(owned, how, left_out))
        k = how.k or (2 if len(question.names) <= 2 else 4)
        return [one.name for one in retrieve[0](picture, question.request, k)]

    pictures = {key: stamp(question.query) for key, question in by_id.items()}
    return found_once(file, _made_from(owned, how), pictures, find, "references found")


def _retriever(owned: Mapping[str, Reference], how: Finding, left_out: LeftOut) -> Callable:
    try:
        encoder, propose = load_encoder(how.encoder), load_proposer(how.regions)
    except (EncoderError, DetectorError) as error:
        raise BenchmarkError(f"settings.retrieval: {error}") from None
    vectors, broken = file_features(encoder, [r.image for r in owned.values()], how.cache,
                                    progress=True)
    for reason, paths in broken.items():
        for path in paths:
            leave(left_out, f"reference that does not open: {reason}", str(path))
    there = [name for name, reference in owned.items() if reference.image in vectors]
    if not there:
        raise BenchmarkError("settings.retrieval: no picture of the database opens; nothing can be "
                             "found")
    index = build_index(np.stack([vectors[owned[name].image] for name in there]), there)
    return Retriever(index, encoder, propose, least=how.least).retrieve


def _made_from(owned: Mapping[str, Reference], how: Finding) -> str:
    told = {key: value for key, value in asdict(how).items()
            if key not in ("cache", "verify")}
    pictures = [part for _, r in sorted(owned.items()) for part in (r.name, r.image)]
    return stamp(json.dumps(told), *pictures)
