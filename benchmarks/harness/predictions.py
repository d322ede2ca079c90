"""From rows to predictions: greedy, batched, and picked up where a killed run left off.

Started by ``accelerate launch``, processes share the batches, not the rows of a batch: predictions
are the same however many there are. Nothing here knows a benchmark. Left out: scoring.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import PartialState
from tqdm.auto import tqdm

from benchmarks.harness.question import QA, Question
from data_gen.files.files import kept_lines
from data_gen.files.settings import BenchmarkError
from data_gen.files.skipped import LeftOut, leave
from rl.policy.boxes import box_frames
from rl.policy.generation import _generate_batches
from rl.policy.likelihood import option_log_likelihoods, yes_probabilities


@dataclass(frozen=True)
class Prediction:
    """What a policy wrote for one row.

    Args:
        id: the row's.
        text: the completion, special tokens left out.
        n_tokens: its length as the naming rewards count it: without end, padding and other special
            tokens, and blanks beyond four in a row add nothing.
        box_frame: [width, height] of the frame in which the policy writes boxes; None where no
            box is asked for.
    """

    id: str
    text: str
    n_tokens: int
    box_frame: list[float] | None = None


def predict(
    load: Callable,
    rows: Sequence[dict],
    path: str | Path,
    *,
    fingerprint: str | None,
    max_new_tokens: int,
    batch_size: int,
    wants_box: bool = False,
    box_convention: str | None = None,
    title: str = "",
) -> list[Prediction]:
    """Predictions of N rows, kept as JSON lines at ``path`` after each batch; all of them in every
    process.

    Processes but the first write to ``<set>.part<rank>.jsonl`` beside it, which the first joins.

    A line is used again if row, policy and limit are the same as now; the row is compared by
    content, so a changed prompt or picture is asked anew. Nothing is loaded where nothing is asked.

    Args:
        load: called at most once, gives ``(model, processor)``.
        rows: as in :func:`generate`.
        path: JSON lines: id, text, n_tokens, box_frame, and what they were made from.
        fingerprint: of the policy; see :func:`benchmarks.harness.systems.fingerprint`. ``None`` takes
            lines of whichever policy, to be scored where it is not at hand.
        max_new_tokens, batch_size: as in :func:`generate`.
        wants_box: record the frame in which the policy writes boxes.
        box_convention: how it writes them, where its family is not known (``rl.policy.loading``).
        title: of the progress bar.
    """
    path, processes = Path(path), PartialState()
    main, rank, world = (processes.is_main_process, processes.process_index,
                         processes.num_processes)
    mine = path if main else path.with_name(f"{path.stem}.part{rank}.jsonl")
    stamps = {row["id"]: [fingerprint, row_digest(row), max_new_tokens] for row in rows}
    if main:
        _join_parts(path)  # of a run that was killed
    processes.wait_for_everyone()
    lines = {p.id: (p, stamp) for p, stamp in _read(path)}
    compared = slice(fingerprint is None, None)
    kept = {i: p for i, (p, stamp) in lines.items()
            if i in stamps and stamps[i][compared] == stamp[compared]}
    todo = [row for row in rows if row["id"] not in kept]
    processes.wait_for_everyone()  # all have read before one writes
    if todo:
        path.parent.mkdir(parents=True, exist_ok=True)
        if main:
            for row in todo:
                lines.pop(row["id"], None)
            # Drops torn and outdated lines; lines of rows that are not asked for now are kept.
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            _append(partial, lines.values())
            partial.replace(path)
        model, processor = load()
        frames = [None] * len(todo)
        if wants_box:
            frames = box_frames(model, processor, todo, box_convention)
        with tqdm(total=len(rows), initial=len(kept), desc=title, unit="row",
                  disable=not main) as bar:
            for found in _generate_batches(model, processor, todo, max_new_tokens, batch_size,
                                           rank, world):
                new = [Prediction(todo[i]["id"], text, n, frames[i])
                       for i, (text, n) in found.items()]
                _append(mine, [(p, stamps[p.id]) for p in new])
                kept.update({p.id: p for p in new})
                bar.update(len(new) * world)
    processes.wait_for_everyone()
    if world > 1 and todo:
        if main:
            _join_parts(path)
        processes.wait_for_everyone()
        kept = {p.id: p for p, stamp in _read(path) if stamps.get(p.id) == stamp}
    return [kept[row["id"]] for row in rows]


def _join_parts(path: Path) -> None:
    """Put what other processes wrote behind what the first one did."""
    for part in sorted(path.parent.glob(f"{path.stem}.part*.jsonl")):
        _append(path, _read(part))
        part.unlink()


def row_digest(row: dict) -> str:
    """Twelve hex digits that change with what the policy sees of a row."""
    digest = hashlib.sha256(json.dumps(row["prompt"], sort_keys=True).encode())
    for image in row["images"]:
        digest.update(repr((image.size, image.mode)).encode() + image.tobytes())
    return digest.hexdigest()[:12]


def _read(path: Path) -> Iterator[tuple[Prediction, list]]:
    for entry in kept_lines(path):
        try:
            stamp = entry.pop("made_from")
            if isinstance(stamp, list):
                yield Prediction(**entry), stamp
        except (KeyError, TypeError):
            continue


def _append(path: Path, lines: Iterable[tuple[Prediction, list]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        for prediction, stamp in lines:
            file.write(json.dumps({**asdict(prediction), "made_from": stamp}) + "\n")


def read_answers(
    folder: str | Path, name: str
) -> tuple[dict[str, Prediction], dict[str, list], set[str]]:
    """Kept predictions and scores of a set by row id, and the fingerprints of who made them.

    Raises:
        BenchmarkError: there is no prediction.
    """
    path = Path(folder) / f"{name}.jsonl"
    predictions, makers = {}, set()
    for entry in kept_lines(path):
        try:
            stamp = entry.pop("made_from")
            found = Prediction(**entry)
        except (KeyError, TypeError):
            continue
        if isinstance(found.text, str) and isinstance(found.n_tokens, int):
            predictions[found.id] = found
            makers.add(str(stamp[0]) if isinstance(stamp, list) and stamp else "")
    if not predictions:
        raise BenchmarkError(f"{path} holds no predictions; run without --score_only first")
    return predictions, _scores(path.with_suffix(".scores.jsonl")), makers


def scored(
    questions: Sequence[Question], answers: dict[str, dict[str, Prediction]], name: str,
    left_out: LeftOut,
) -> list[Question]:
    """The questions of a set that every policy has answered; the others are noted.

    Args:
        questions: of the set.
        answers: policy label -> id -> prediction.
        name: of the set.
        left_out: is given the questions without an answer.

    Raises:
        BenchmarkError: none is left.
    """
    kept = []
    for question in questions:
        silent = [label for label, found in answers.items() if question.id not in found]
        if silent:
            leave(left_out, "question without a prediction", f"{name}: {question.id} of "
                                                             f"{', '.join(silent)}")
        else:
            kept.append(question)
    if not kept:
        raise BenchmarkError(f"set {name}: no question has been answered by all policies; do the "
                             f"pictures open, and do the predictions belong to this benchmark?")
    return kept


def _keep_scores(load, rows: list[dict], path: Path, fingerprint: str, batch_size: int) -> None:
    stamps = {row["id"]: [fingerprint, row_digest(row)] for row in rows}
    kept = {entry.get("id") for entry in kept_lines(path)
            if stamps.get(entry.get("id")) == entry.get("made_from")}
    todo = [row for row in rows if row["id"] not in kept]
    for k in range(0, len(todo), batch_size):
        part = todo[k : k + batch_size]
        model, processor = load()
        if part[0]["task"] == QA:
            found = [option_log_likelihoods(model, processor, row, row["options"]) for row in part]
        else:
            found = [[p] for p in yes_probabilities(model, processor, part,
                                                    batch_size=batch_size)]
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * torn)
            for row, numbers in zip(part, found, strict=True):
                file.write(json.dumps({"id": row["id"], "scores": numbers,
                                       "made_from": stamps[row["id"]]}) + "\n")


def _scores(path: Path) -> dict[str, list]:
    """The last line of an id counts."""
    return {entry["id"]: entry["scores"] for entry in kept_lines(path)
            if {"id", "scores"} <= set(entry)}
