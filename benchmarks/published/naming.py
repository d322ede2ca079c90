"""Naming: captions that name the concepts shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.captions.scores import (
    CaptionSettings,
    caption_columns,
    corpus_bleu,
)
from benchmarks.formats.captions import read_true_captions
from benchmarks.formats.files import (
    bare,
    find_picture,
    is_name,
)
from benchmarks.harness.predictions import Prediction
from benchmarks.harness.question import Benchmark, Question, open_rows
from benchmarks.metrics.attributes import length_metrics
from benchmarks.metrics.intervals import Metric, ratio
from benchmarks.metrics.naming import naming_metrics, strict_tallies
from benchmarks.metrics.repic_naming import published_tallies
from benchmarks.metrics.retrieval import _retrieved
from benchmarks.published.benchmark import PublishedSettings
from benchmarks.published.controls import TITLES as CONTROL_TITLES
from benchmarks.published.loading import (
    MISSING_IMAGE,
    References,
    _benchmark,
    _object,
)
from data_gen.files.skipped import LeftOut, leave, shown
from data_gen.rows import ICT
from rewards.names import names_written


def name_groups(names: Any) -> list[list]:
    """Lists of names that one picture is asked about with, one for each question."""
    if isinstance(names, list) and names and all(isinstance(part, list) for part in names):
        return names
    return [names if isinstance(names, list) else [names]]


def naming_scores(questions, predictions, control: str, settings: PublishedSettings):
    texts = [prediction.text for prediction in predictions]
    due = [question.names for question in questions]
    given = [question.names + question.absent_names for question in questions]
    found = naming_metrics(strict_tallies(texts, due, {n for names in given for n in names}))
    found["names_given"] = ratio([bool(names_written(text, names))
                                  for text, names in zip(texts, given, strict=True)])
    found["tokens"] = length_metrics([p.n_tokens for p in predictions])["tokens"]
    if control in CONTROL_TITLES:
        return {key: found[key] for key in ("names_given", "names_nothing", "tokens")}
    published = naming_metrics(published_tallies(
        texts, [[f"<{name}>" for name in names] for names in due], settings.variant))
    if control == "found":
        found["retrieved"] = _retrieved(questions)
    return found | {f"published_{key}": published[key] for key in ("precision", "recall", "f1")}


def naming_questions(
    queries: str | Path,
    database: str | Path | None,
    images: dict[str, str | Path],
    words: dict,
    *,
    pictures: str | None = None,
) -> Benchmark:
    """Captions to write, with the true references handed over (skip-retrieval).

    Args:
        queries: RePIC's file.
        database: where references, names and info come from.
        images: beginning of published paths -> folder, see :func:`benchmarks.formats.files.find_picture`.
        words: prompt templates, for the requests; they take turns.
        pictures: see :class:`benchmarks.published.loading.References`; a query that is its own reference
            is left out.

    Raises:
        BenchmarkError: nothing usable is left.
    """
    left_out: LeftOut = {}
    data = _object(queries, left_out, "{picture: [names]}")
    references = References(database, images, pictures, left_out)
    asked, found, seen = words[ICT]["requests"], [], set()
    groups = [(path, group) for path, names in data.items() for group in name_groups(names)]
    for i, (path, group) in enumerate(groups):
        if not group or not all(map(is_name, group)):
            leave(left_out, "picture without names", shown(path))
            continue
        names = [bare(name) for name in group]
        query, given = find_picture(path, images), references.of(names)
        if len({name.casefold() for name in names}) < len(names):
            leave(left_out, "name that is given twice", shown(path))
        elif (path, tuple(names)) in seen:
            leave(left_out, "picture with the same names again", shown(path))
        elif query is None:
            leave(left_out, MISSING_IMAGE, shown(path))
        elif isinstance(given, str):
            leave(left_out, given, f"{shown(path)}: {', '.join(map(shown, names))}")
        elif any(reference.image.samefile(query) for reference in given):
            leave(left_out, "query that is its own reference", shown(path))
        else:
            seen.add((path, tuple(names)))
            found.append(Question(f"{Path(queries).stem}-{i}", ICT, asked[i % len(asked)], query,
                                  given, tuple(names), source=f"{Path(queries).name}: {path}"))
    return _benchmark(found, left_out, queries)


def naming_columns(
    asked: Sequence[Question], said: dict[str, list[Prediction]], captions: CaptionSettings,
    settings: PublishedSettings, words: dict, left_out: LeftOut,
) -> tuple[dict[str, dict[str, Metric]], dict[str, float]]:
    """The caption scores of the questions that were answered, and corpus BLEU where asked for."""
    truths = (read_true_captions(captions.references, settings.roots, left_out)
              if captions.references else {})
    places = {question.id: i for i, question in enumerate(asked)}

    def pictures() -> Iterator[tuple[int, list[Image.Image]]]:
        for row in open_rows(asked, words, left_out, settings.size, settings.side):
            yield places[row["id"]], row["images"]

    true = [truths.get(question.query.resolve(), ()) for question in asked]
    found = caption_columns(
        said, captions, pictures=pictures, truths=true,
        infos=["\n".join(r.info for r in q.references if r.info) for q in asked])
    return found, corpus_bleu(said, true) if "bleu" in captions.scores else {}
