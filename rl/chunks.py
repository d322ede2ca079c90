"""Split a scored batch into chunks and re-collate with minimal padding.

A *batch* here is the dictionary that TRL's ``_generate_and_score_completions`` returns: B rows,
prompts padded on the left to P tokens, completions on the right to C. A *chunk* is the same
dictionary for some neighbouring rows, its image fields as one list item per row.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

_LEFT = ("prompt_ids", "prompt_mask")
_RIGHT = (
    "completion_ids",
    "completion_mask",
    "tool_mask",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
    "importance_sampling_ratio",
    "advantages",
)
_WHOLE = ("token_type_ids", "mm_token_type_ids")


def split(batch: dict, rows: int) -> list[dict]:
    """Split a batch of B rows into B / ``rows`` chunks of neighbouring rows.

    Scalars (``num_items_in_batch``) go into every chunk.
    """
    batch = split_pixel_values_by_grid(batch)
    total = batch["prompt_ids"].size(0)
    return [
        {
            key: value if _is_scalar(value) else value[start : start + rows]
            for key, value in batch.items()
            if value is not None
        }
        for start in range(0, total, rows)
    ]


def collate(chunks: list[dict], pad_token_id: int, *, trim: bool = True) -> dict:
    """Collate chunks to one batch, padded to the longest prompt and completion among them.

    Args:
        chunks: from :func:`split`, of one generation round or of several.
        pad_token_id: fills ids; masks and log-probabilities are filled with 0.
        trim: drop columns that are padding in every row. The log-probabilities stay equal, because
            padding is masked and positions are counted from the mask.
    """
    prompts = max(_width(chunk, "prompt_mask", trim) for chunk in chunks)
    completions = max(_width(chunk, "completion_mask", trim) for chunk in chunks)
    batch = {}
    for key, first in chunks[0].items():
        if _is_scalar(first):
            batch[key] = first
        elif isinstance(first, list):
            batch[key] = [item for chunk in chunks for item in chunk[key]]
        else:
            fill = pad_token_id if key.endswith("_ids") and key not in _WHOLE else 0
            batch[key] = torch.cat(
                [_fit(chunk, key, prompts, completions, fill) for chunk in chunks]
            )
    return unsplit_pixel_values_by_grid(batch)


def save_chunks(batches: list[list[dict]], path: Path) -> None:
    """Write batches of chunks to a safetensors file; other values go to its header."""
    tensors, plain = {}, {}
    for b, chunks in enumerate(batches):
        for c, chunk in enumerate(chunks):
            for key, value in chunk.items():
                name = f"{b}/{c}/{key}"
                if isinstance(value, torch.Tensor):
                    tensors[name] = value.detach().cpu().clone().contiguous()
                elif isinstance(value[0], torch.Tensor):
                    for i, item in enumerate(value):
                        tensors[f"{name}/{i}"] = item.detach().cpu().clone().contiguous()
                else:
                    plain[name] = value
    save_file(tensors, path, metadata={"plain": json.dumps(plain)})


def load_chunks(path: Path, device: torch.device) -> list[list[dict]]:
    """Read what :func:`save_chunks` wrote."""
    with safe_open(path, framework="pt") as file:
        values: dict = json.loads(file.metadata()["plain"])
        for name in sorted(file.keys(), key=_natural):
            tensor = file.get_tensor(name).to(device)
            if name.count("/") == 3:
                values.setdefault(name.rpartition("/")[0], []).append(tensor)
            else:
                values[name] = tensor
    batches: dict[int, dict[int, dict]] = {}
    for name, value in values.items():
        b, c, key = name.split("/")
        batches.setdefault(int(b), {}).setdefault(int(c), {})[key] = value
    return [[chunks[c] for c in sorted(chunks)] for _, chunks in sorted(batches.items())]


def _natural(name: str) -> list:
    """Sort key that orders numbers by value: ``0/2/x`` before ``0/10/x``."""
    return [int(part) if part.isdigit() else part for part in name.split("/")]


def _is_scalar(value) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0


def _width(chunk: dict, mask: str, trim: bool) -> int:
    return max(int(chunk[mask].sum(1).max()), 1) if trim else chunk[mask].size(1)


def _fit(chunk: dict, key: str, prompts: int, completions: int, fill: int) -> torch.Tensor:
    """One tensor of a chunk, cut or padded to the widths of the new batch."""
    value = chunk[key]
    if key in _LEFT:
        return _fit_left(value, prompts, fill)
    if key in _RIGHT and value.shape == chunk["completion_ids"].shape:
        # TRL pads a tool mask with 1; with 0 the loss is the same, as the completion mask is 0.
        return _fit_right(value, completions, fill)
    if key in _WHOLE:
        width = chunk["prompt_ids"].size(1)
        return torch.cat(
            [_fit_left(value[:, :width], prompts, 0), _fit_right(value[:, width:], completions, 0)],
            dim=1,
        )
    return value


def _fit_left(value: torch.Tensor, width: int, fill: int) -> torch.Tensor:
    value = value[:, max(value.size(1) - width, 0) :]
    return torch.nn.functional.pad(value, (width - value.size(1), 0), value=fill)


def _fit_right(value: torch.Tensor, width: int, fill: int) -> torch.Tensor:
    value = value[:, :width]
    return torch.nn.functional.pad(value, (0, width - value.size(1)), value=fill)
