"""What trackers (``report_to``) get beside the metrics: a name, and completions with their images.

The metrics that they get are the lines of ``log.jsonl``: rewards and lengths per task, the share of
zero-variance groups, and what TRL adds.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from PIL import Image
from transformers import TrainerCallback, TrainingArguments

from data_gen.images.montage import composite
from rl.sampler import plain_row
from rl.settings import PolicySettings

THUMBNAIL = 384
"""Longest side, in pixels, of the images of a completion side by side."""

TABLES = ("wandb", "trackio", "tensorboard")
"""Trackers that get completions; the others get metrics alone."""


_SIGNS = {ord(sign): f"&#{ord(sign)};" for sign in "&\\`*_{}[]()#+-!|~<>:"}
"""Signs of Markdown and HTML, as text."""


def name_trackers(settings: PolicySettings, args: TrainingArguments) -> None:
    """Give the run's name to its trackers: run ``a/b`` is in project ``a``, and so is run ``a``.

    What the user has set stays. Call it before the trainer is made.
    """
    args.run_name = args.run_name or settings.name
    default = type(args).__dataclass_fields__["project"].default
    if args.project == default:
        args.project = Path(settings.name).parts[0]
    os.environ.setdefault("WANDB_PROJECT", args.project)  # wandb's callback reads nothing else


def place_tensorboard(settings: PolicySettings, callbacks: Sequence[Any]) -> None:
    """TensorBoard's files go to ``<run>/tensorboard/``, not among the checkpoints.
    ``TENSORBOARD_LOGGING_DIR`` goes first."""
    for callback in callbacks:
        if type(callback).__name__ == "TensorBoardCallback" and callback.logging_dir is None:
            callback.logging_dir = str(settings.output / "tensorboard")


class CompletionTables(TrainerCallback):
    """Sends completions to the trackers: images, prompt, completion, rewards, advantage, length.

    It reads what :class:`rl.run_log.CompletionLog` has written (``completions_every``), and sends
    those of the first step and of every ``every``-th one after it, training and evaluation.

    Args:
        directory: the run's ``completions/``.
        rows: ``train`` or ``eval`` -> the rows, for their images.
        every: steps between two tables; 0 sends none.
        most: completions per table.
        callbacks: of the trainer, among which TensorBoard's is found; a list that may grow.
    """

    def __init__(
        self,
        directory: Path,
        rows: Mapping[str, Dataset],
        every: int,
        most: int,
        callbacks: Sequence[TrainerCallback],
    ):
        self.directory, self.every, self.most = directory, every, most
        self.callbacks = callbacks
        self._due = {"train": 0, "eval": 0}  # the step from which the next table is sent
        # Two row sets may name rows alike.
        self.places = {
            (mode, row_id): (dataset, i)
            for mode, dataset in rows.items()
            for i, row_id in enumerate(dataset["id"])
        }

    def on_log(self, args, state, control, logs=None, **_):
        if not state.is_world_process_zero or not self.every:
            return
        mode = "train" if "loss" in (logs or {}) else "eval" if "eval_loss" in (logs or {}) else ""
        if not mode or state.global_step < self._due[mode]:
            return
        files = [
            file
            for file in sorted(self.directory.glob(f"{mode}_*.parquet"))
            if int(file.stem.removeprefix(f"{mode}_")) <= state.global_step
        ]
        if files:
            self._due[mode] = state.global_step + self.every
            rows = pq.read_table(files[-1]).slice(0, self.most).to_pylist()
            self._send(args.report_to, mode, state.global_step, rows)

    def _send(self, trackers: Sequence[str], mode: str, step: int, rows: list[dict]) -> None:
        title = f"completions/{mode}"
        images = [self._images(mode, row["id"]) for row in rows]
        texts = [table_row(row) for row in rows]
        for module in _modules(trackers):
            frame = _frame(module, images, texts)
            module.log({title: module.Table(dataframe=frame), "train/global_step": step})
        for callback in self.callbacks:
            writer = getattr(callback, "tb_writer", None)
            if writer is not None:
                writer.add_text(title, markdown(texts), step)
                for i, image in enumerate(images):
                    if image is not None:
                        writer.add_image(f"{title}/{i}", _pixels(image), step)
                writer.flush()

    def _images(self, mode: str, row_id: str) -> Image.Image | None:
        """The images of a row side by side; ``None`` where it has none, or where the run was begun
        with other ``eval_rows``."""
        if (mode, row_id) not in self.places:
            return None
        dataset, i = self.places[mode, row_id]
        found = plain_row(dataset[i])["images"]
        return composite([image.convert("RGB") for image in found], THUMBNAIL) if found else None


def table_row(row: dict) -> dict[str, Any]:
    """The columns that a tracker shows, of a row of :func:`rl.run_log.completion_rows`."""
    rewards = {key: value for key, value in row.items() if key.startswith("reward")}
    shown = ("step", "task", "id", "prompt", "completion")
    return (
        {key: row[key] for key in shown}
        | rewards
        | {key: row[key] for key in ("advantage", "length", "cut_off")}
    )


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table. What a model wrote stands there as text: it opens no cell, line, link or
    element."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([_cell(v) for v in r.values()] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return " ".join(str(value).split()).translate(_SIGNS)


def _modules(trackers: Sequence[str]) -> Iterator[Any]:
    """Trackers with ``Table`` and ``Image`` that are in use."""
    for name in trackers:
        if name in ("wandb", "trackio"):
            module = __import__(name)
            if name != "wandb" or module.run is not None:
                yield module


def _frame(module: Any, images: Sequence[Image.Image | None], rows: Sequence[dict]) -> Any:
    import pandas

    shown = [None if image is None else module.Image(image) for image in images]
    return pandas.DataFrame({"images": shown} | {k: [r[k] for r in rows] for k in rows[0]})


def _pixels(image: Image.Image) -> torch.Tensor:
    """(3, height, width) bytes."""
    values = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return values.reshape(image.height, image.width, 3).permute(2, 0, 1)
