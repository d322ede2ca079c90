"""Cutting a scored batch into pieces of groups and joining pieces again, padding as little as
possible.

A *batch* here is the dictionary that TRL's ``_generate_and_score_completions`` returns: B rows,
prompts padded on the left to P tokens, completions on the right to C. A *piece* is the same
dictionary for some neighbouring rows, its image fields as one list item per row.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

_LEFT = ("prompt_ids", "prompt_mask")
_RIGHT = ("completion_ids", "completion_mask", "tool_mask", "old_per_token_logps",
          "ref_per_token_logps", "sampling_per_token_logps", "importance_sampling_ratio")
_WHOLE = ("token_type_ids", "mm_token_type_ids")


def cut(batch: dict, rows: int) -> list[dict]:
    """Cut a batch of B rows into B / ``rows`` pieces of neighbouring rows.

    Scalars (``num_items_in_batch``) go into every piece.
    """
    batch = split_pixel_values_by_grid(batch)
    total = batch["prompt_ids"].size(0)
    return [
        {key: value if _is_scalar(value) else value[start : start + rows]
         for key, value in batch.items() if value is not None}
        for start in range(0, total, rows)
    ]


def join(pieces: list[dict], pad_token_id: int, *, trim: bool = True) -> dict:
    """Join pieces to one batch, padded to the longest prompt and completion among them.

    Args:
        pieces: from :func:`cut`, of one generation round or of several.
        pad_token_id: fills ids; masks are filled with 0, log-probabilities with 0.
        trim: drop columns that are padding in every row. What is left gives the same
            log-probabilities: padding is masked out, and positions count from the mask.
    """
    prompts = max(_width(p, "prompt_mask", trim) for p in pieces)
    completions = max(_width(p, "completion_mask", trim) for p in pieces)
    joined = {}
    for key, first in pieces[0].items():
        if _is_scalar(first):
            joined[key] = first
        elif isinstance(first, list):
            joined[key] = [item for piece in pieces for item in piece[key]]
        else:
            fill = pad_token_id if key.endswith("_ids") and key not in _WHOLE else 0
            joined[key] = torch.cat(
                [_fit(piece, key, prompts, completions, fill) for piece in pieces])
    return unsplit_pixel_values_by_grid(joined)


def save_pieces(batches: list[list[dict]], path: Path) -> None:
    """Write batches of pieces to a safetensors file (numbers that are no tensors in its header)."""
    tensors, plain = {}, {}
    for b, pieces in enumerate(batches):
        for p, piece in enumerate(pieces):
            for key, value in piece.items():
                name = f"{b}/{p}/{key}"
                if isinstance(value, torch.Tensor):
                    tensors[name] = value.detach().cpu().clone().contiguous()
                elif isinstance(value[0], torch.Tensor):
                    for i, item in enumerate(value):
                        tensors[f"{name}/{i}"] = item.detach().cpu().clone().contiguous()
                else:
                    plain[name] = value
    save_file(tensors, path, metadata={"plain": json.dumps(plain)})


def load_pieces(path: Path, device: torch.device) -> list[list[dict]]:
    """Read what :func:`save_pieces` wrote."""
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
        b, p, key = name.split("/")
        batches.setdefault(int(b), {}).setdefault(int(p), {})[key] = value
    return [[pieces[p] for p in sorted(pieces)] for _, pieces in sorted(batches.items())]


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in name.split("/")]


def _is_scalar(value) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0


def _width(piece: dict, mask: str, trim: bool) -> int:
    return max(int(piece[mask].sum(1).max()), 1) if trim else piece[mask].size(1)


def _fit(piece: dict, key: str, prompts: int, completions: int, fill: int) -> torch.Tensor:
    value = piece[key]
    if key in _LEFT:
        return _left(value, prompts, fill)
    if key in _RIGHT and value.size(1) == piece["completion_ids"].size(1):
        # A tool mask pads with 1 in TRL; the completion mask beside it already rules padding out.
        return _right(value, completions, fill)
    if key in _WHOLE:
        width = piece["prompt_ids"].size(1)
        return torch.cat([_left(value[:, :width], prompts, 0),
                          _right(value[:, width:], completions, 0)], dim=1)
    return value


def _left(value: torch.Tensor, width: int, fill: int) -> torch.Tensor:
    value = value[:, max(value.size(1) - width, 0):]
    return torch.nn.functional.pad(value, (width - value.size(1), 0), value=fill)


def _right(value: torch.Tensor, width: int, fill: int) -> torch.Tensor:
    value = value[:, :width]
    return torch.nn.functional.pad(value, (0, width - value.size(1)), value=fill)
