"""From rows to predictions: greedy, batched, and picked up where a killed run left off.

Started by ``accelerate launch``, processes share the batches, not the rows of a batch: predictions
are the same however many there are. Nothing here knows a benchmark. Left out: scoring.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset, Features, Image, List
from PIL import Image as Picture
from tqdm.auto import tqdm

from benchmarks.files import kept_lines
from data_gen.rows import encode_image
from rewards.identity import caption_length
from rl.policy import add_box_frame, vision_token_ids


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


def generate(
    model,
    processor,
    rows: Sequence[dict],
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Callable[[int], object] | None = None,
) -> list[tuple[str, int]]:
    """Greedy completions of N rows, in the order of the rows.

    Args:
        model: any image-text-to-text model; runs on the device where its weights are.
        processor: its processor, padding on the left.
        rows: rows with ``prompt`` and decoded ``images``.
        max_new_tokens: where a completion is cut.
        batch_size: rows per call of the model.
        progress: called with the number of rows finished.

    Returns:
        N pairs: text without special tokens, and its length (see :class:`Prediction`).
    """
    done: dict[int, tuple[str, int]] = {}
    for found in _generate_batches(model, processor, rows, max_new_tokens, batch_size):
        done.update(found)
        if progress:
            progress(len(found))
    return [done[i] for i in range(len(rows))]


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
        fingerprint: of the policy; see :func:`benchmarks.policies.fingerprint`. ``None`` takes
            lines of whichever policy, to be scored where it is not at hand.
        max_new_tokens, batch_size: as in :func:`generate`.
        wants_box: record the frame in which the policy writes boxes.
        box_convention: how it writes them, where its family is not known (``rl.policy``).
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


def box_frames(
    model, processor, rows: Sequence[dict], convention: str | None = None
) -> list[list[float] | None]:
    """[width, height] of the frame in which the policy writes boxes, for each row's query."""
    # Sizes are all that counts; blank pictures are encoded in no time.
    queries = [[encode_image(Picture.new("L", image.size)) for image in row["images"][-1:]]
               for row in rows]
    dataset = Dataset.from_dict({"images": queries}, Features({"images": List(Image())}))
    framed = add_box_frame(dataset, processor, model.config.model_type, convention)
    return framed["box_frame"][:]


def _generate_batches(
    model, processor, rows, max_new_tokens: int, batch_size: int, rank: int = 0, world: int = 1
) -> Iterator[dict[int, tuple[str, int]]]:
    """Row number -> (text, length), batch by batch; rows alike in length go together. Of the
    batches, every ``world``-th from ``rank`` on."""
    # Rows without pictures apart: a processor takes pictures for all of a batch or for none.
    order = sorted(range(len(rows)), key=lambda i: _size(rows[i]), reverse=True)
    pictured = sum(bool(row["images"]) for row in rows)
    limits = {
        "do_sample": False, "num_beams": 1, "max_new_tokens": max_new_tokens,
        # A policy's own defaults for sampling would change what greedy means.
        "temperature": None, "top_p": None, "top_k": None, "repetition_penalty": 1.0,
        "suppress_tokens": vision_token_ids(model, processor) or None,
    }
    special = set(processor.tokenizer.all_special_ids)
    model.eval()
    batches = [order[k : min(k + batch_size, end)]
               for begin, end in ((0, pictured), (pictured, len(rows)))
               for k in range(begin, end, batch_size)]
    for chosen in batches[rank::world]:
        texts = _complete(model, processor, [rows[i] for i in chosen], limits, special)
        yield dict(zip(chosen, texts, strict=True))


def _size(row: dict) -> tuple:
    text = sum(len(part["text"] or "") for message in row["prompt"] for part in message["content"]
               if part["type"] == "text")
    return len(row["images"]), sum(i.width * i.height for i in row["images"]), text


@torch.inference_mode()
def _complete(model, processor, rows, limits: dict, special: set[int]) -> list[tuple[str, int]]:
    prompts = processor.apply_chat_template([row["prompt"] for row in rows],
                                            add_generation_prompt=True)
    images = [row["images"] for row in rows] if rows[0]["images"] else None
    # The template has written every special token already.
    inputs = processor(text=prompts, images=images, add_special_tokens=False, padding=True,
                       return_tensors="pt").to(model.device)
    out = model.generate(**inputs, **limits)[:, inputs["input_ids"].shape[1] :]  # (B, C)
    texts = processor.tokenizer.batch_decode(out, skip_special_tokens=True)
    return [(text, caption_length(text, ids, uncounted_ids=special))
            for text, ids in zip(texts, out.tolist(), strict=True)]


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
