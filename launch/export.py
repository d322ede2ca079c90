"""Make one plain model of a trained policy: merged, verified, with its processor and a card.

    byname export runs/mine/policy --rows runs/rows/held_out --out exports/mine

The adapter is added to the weights in fp32, then rounded to ``dtype``. Before anything lies at
``out``, the merged model answers rows beside the unmerged one: log-probabilities, greedy replies,
naming recall. One that answers otherwise is refused, unless ``--accept_changes true``. What is
written loads in plain transformers and in vLLM (docs/serving.md). ``--push OWNER/NAME`` uploads it,
privately, and only when asked.

Soft prompts and other things that methods learn beside the weights are not exported.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoModelForImageTextToText

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_no_folder, write_text
from data_gen.files.sentences import next_commands
from data_gen.files.settings import read_settings
from data_gen.rows import read_rows
from rewards.names import find_names, tally
from rewards.parsing import answer_part
from rewards.visual_localization import visual_localization
from rl.exporting.card import run_card
from rl.exporting.merging import Agreement, Replies, compare, merge, replies, save
from rl.policy.boxes import add_box_frame
from rl.policy.loading import load_policy, load_whole, refuse_missing
from rl.run import quiet_libraries
from rl.sampler import plain_row

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(kw_only=True)
class ExportSettings:
    """Which policy, where to, and how it is verified."""

    policy: str = field(metadata={"help": "A run's policy/; the option's name may be left away."})
    out: str = field(metadata={"help": "Directory to write; there must be none."})
    rows: str = field(metadata={"help": "Row set on which merged and unmerged are compared."})
    check_rows: int = field(default=48, metadata={"help": "Rows that are compared, at most."})
    max_new_tokens: int = field(default=160, metadata={"help": "Of each reply."})
    batch_size: int = field(default=8, metadata={"help": "Replies at a time."})
    dtype: str = field(
        default="bfloat16", metadata={"help": "Of the weights written: bfloat16, float16, float32."}
    )
    box_convention: str | None = field(
        default=None, metadata={"help": "pixels, thousand or unit; default: the family's."}
    )
    accept_changes: bool = field(
        default=False, metadata={"help": "Write a model that answers otherwise, too."}
    )
    push: str | None = field(
        default=None, metadata={"help": "Upload to this repository of the hub, OWNER/NAME."}
    )
    public: bool = field(default=False, metadata={"help": "Upload for everybody to see."})
    device: str | None = field(default=None, metadata={"help": "Default: a GPU if there is one."})


def main(argv: list[str] | None = None) -> int:
    """Check, merge, verify, write, perhaps upload. Returns the exit status."""
    quiet_libraries()
    try:
        (settings,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            ExportSettings,
            positional="policy",
            program="export",
            doc=__doc__,
        )
        check(settings)
        export(settings)
    except (ValueError, OSError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nexport: stopped; nothing was written", file=sys.stderr)
        return 130
    return 0


def check(settings: ExportSettings) -> None:
    """What can be refused before weights load.

    Raises:
        InputError: the first thing that is wrong.
    """
    if settings.dtype not in DTYPES:
        raise InputError(f"dtype is {settings.dtype!r}; it must be one of {', '.join(DTYPES)}")
    for name in ("check_rows", "max_new_tokens", "batch_size"):
        if (value := getattr(settings, name)) < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
    refuse_no_folder(settings.out, "out")
    out = Path(settings.out)
    if out.exists() or out.is_symlink():
        raise InputError(f"{out} is there already; give another --out, or remove it")
    if settings.public and settings.push is None:
        raise InputError("public says how to upload, and push is not given: give --push OWNER/NAME")
    if settings.push is not None:
        _check_push(settings.push)
    refuse_missing(settings.policy)


def _check_push(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise InputError(f"push is {name!r}; it must be OWNER/NAME, as on the hub") from None
    if "/" not in name:
        raise InputError(f"push is {name!r}; it must be OWNER/NAME, as on the hub")
    if constants.HF_HUB_OFFLINE:
        raise InputError("push needs the hub, and HF_HUB_OFFLINE is set; unset it, or leave it out")
    if get_token() is None:
        raise InputError("push needs a token of the hub: `hf auth login`, or set HF_TOKEN")


def export(settings: ExportSettings) -> None:
    """Merge, verify and write; see the module.

    Raises:
        InputError: the merged model answers otherwise; or the hub refuses the upload.
    """
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model, processor = load_policy(settings.policy)  # fp32
    rows = checked_rows(settings, model.config.model_type, processor)
    asked: Any = dict(max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)
    unmerged = replies(model.to(device), processor, rows, **asked)
    model = merge(model)
    found: dict[str, tuple[Replies, Agreement]] = {}

    def compared(what: str, plain: Any) -> None:
        given = replies(plain, processor, rows, of=unmerged, **asked)
        found[what] = (given, compare(rows, unmerged, given, said))

    compared("merged in fp32", model)
    out = Path(settings.out)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.absolute().parent))
    try:
        dtype = getattr(torch, settings.dtype)
        save(model.cpu(), processor, partial, dtype)
        del model
        # From the disk, as a user of it reads it.
        written = load_whole(AutoModelForImageTextToText, partial, dtype=torch.float32)
        compared(f"written as {settings.dtype}", written.to(device))
        if dtype != torch.float32:
            compared(f"computing in {settings.dtype}", written.to(dtype))
        table = verification(rows, unmerged, found)
        print(table)
        refuse_changes(settings, found[f"written as {settings.dtype}"][1], len(rows))
        card = run_card(
            Path(settings.policy).absolute().parent, merged=True, more={"Merged": table}
        )
        write_text(partial / "README.md", card)
        partial.chmod(0o755)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"wrote {out}/")
    if settings.push is not None:
        push(out, settings.push, public=settings.public)
    print(next_commands(["vllm", "serve", out], ["byname", "evaluate", "--policy", out]))


def checked_rows(settings: ExportSettings, model_type: str, processor: Any) -> list[dict]:
    """Rows to compare on, spread over the row set, with ``box_frame``."""
    rows = read_rows(settings.rows)
    n = min(settings.check_rows, len(rows))
    rows = rows.select([i * len(rows) // n for i in range(n)])
    framed: Any = add_box_frame(rows, processor, model_type, settings.box_convention)
    return [plain_row(row) for row in framed]


def said(row: dict, text: str) -> object:
    """What a reply says: whether the box is right, the answer, or the names that it writes."""
    if row["box"] is not None:
        return visual_localization(
            [text], task=[row["task"]], box=[row["box"]], box_frame=[row["box_frame"]]
        )
    if row["answer"] is not None:
        return text.strip().casefold()
    names = find_names(answer_part(text), {*row["names"], *row["absent_names"]})
    return names.written, names.unlisted


def recall(rows: Sequence[dict], texts: Sequence[str]) -> float | None:
    """Share of the expected names that are written, over all rows; ``None`` where none is."""
    tallies = [
        tally(find_names(answer_part(text), row["names"]).written, row["names"])
        for row, text in zip(rows, texts, strict=True)
        if row["names"] and row["answer"] is None and row["box"] is None
    ]
    hits, missed = sum(t.hits for t in tallies), sum(t.missed for t in tallies)
    return hits / (hits + missed) if hits + missed else None


def verification(
    rows: Sequence[dict], unmerged: Replies, found: dict[str, tuple[Replies, Agreement]]
) -> str:
    """A Markdown table: each stage beside the unmerged policy."""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    lines = [
        f"| on {len(rows)} rows | log p per token, at most | replies to the letter "
        "| say something else | naming recall |",
        "| --- | ---: | ---: | ---: | ---: |",
        f"| unmerged, fp32 | | | | {percent(recall(rows, unmerged.texts))} |",
    ]
    for what, (given, agreement) in found.items():
        lines.append(
            f"| {what} | {agreement.logp:.1e} | {agreement.same:.1%} "
            f"| {len(agreement.changed)} | {percent(recall(rows, given.texts))} |"
        )
    return "\n".join(lines)


def refuse_changes(settings: ExportSettings, agreement: Agreement, n: int) -> None:
    """Refuse weights that answer otherwise than the policy that was trained and measured.

    Raises:
        InputError: with the first row, and what to do.
    """
    if settings.accept_changes or not agreement.changed:
        return
    row_id, before, after = agreement.changed[0]
    finer = "float16 or float32, which round less" if settings.dtype == "bfloat16" else "float32"
    raise InputError(
        f"merged and rounded to {settings.dtype}, the policy answers {len(agreement.changed)} of "
        f"{n} rows otherwise (row {row_id!r}: {_start(before)} became {_start(after)}); nothing "
        f"was written: give --dtype {finer}, or --accept_changes true, or serve the adapter "
        f"unmerged"
    )


def _start(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")


def push(folder: Path, name: str, *, public: bool) -> None:
    """Upload a folder to a repository of the hub, which is made where there is none.

    Raises:
        InputError: the hub cannot be reached, or refuses; the folder stays.
    """
    try:
        api = HfApi()
        api.create_repo(name, private=not public, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder)
    except (HfHubHTTPError, OSError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder} is written, but not uploaded to {name} ({first})") from None
    print(f"uploaded to https://huggingface.co/{name}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
