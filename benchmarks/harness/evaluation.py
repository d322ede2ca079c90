"""What every evaluation is told, loads, times and writes, whichever benchmark it asks."""

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState

from benchmarks.harness.systems import Policy, fingerprint
from benchmarks.report.evaluation_page import evaluation_page
from rl.policy.loading import load_policy


@dataclass
class EvaluateArguments:
    """What to measure and on which rows."""

    policy: list[str] = field(default_factory=list, metadata={
        "action": "extend",
        "help": "PATH or LABEL=PATH of a model, LoRA adapter or hub id; once for each. Policies "
                "after the first are compared with it."})
    out: str = field(default="runs/evaluation", metadata={"help": "Output directory."})
    benchmark: str = field(default="toybox", metadata={
        "help": "toybox, or a published one: naming, recognition, choices, localization."})
    limit: int | None = field(default=None, metadata={
        "help": "Published benchmarks: the first so many questions."})
    score_only: bool = field(default=False, metadata={
        "help": "Score the predictions under `out`; load no policy."})
    size: str = field(default="full", metadata={"help": "Which of `sizes`."})
    sizes: dict = field(default_factory=dict, metadata={"help": "Size -> set -> rows."})
    seed: int = field(default=7001, metadata={"help": "Seed of the toybox's rows."})
    split: str = field(default="heldout", metadata={
        "help": "Toybox: whose toys: heldout, or a half of them: validation, test."})
    max_new_tokens: dict = field(default_factory=lambda: {"oct": 16, "vlt": 48, "captions": 224},
                                 metadata={"help": "Limits for oct, vlt and captions, in tokens."})
    batch_size: int = field(default=64, metadata={"help": "Rows per call of the model."})
    settings: dict = field(default_factory=dict, metadata={
        "help": "Toybox: reference_px, query_px, prompts. Published: where its files are."})
    captions: dict | str | None = field(default=None, metadata={
        "help": "Further scores of captions: scores, references, encoder, sentences (on the "
                "command line as JSON); see benchmarks/captions/scores.py."})
    retrieval: dict = field(default_factory=dict, metadata={
        "help": "Toybox: how references are found, for found_1 ...: toys, seed, encoder, regions, "
                "cache."})
    shown: int | None = field(default=None, metadata={
        "help": "Rows of each set in evaluation.html, with their pictures; default: a few."})
    resamples: int = field(default=2000, metadata={"help": "Bootstrap resamples."})
    dtype: str = field(default="float32", metadata={"help": "Of the weights."})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1 ... or auto."})
    box_convention: str | None = field(default=None, metadata={
        "help": "pixels, thousand or unit; default: the family's."})
    attn_implementation: str | None = field(default=None, metadata={"help": "As in transformers."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code of the model."})

    def __post_init__(self):
        if isinstance(self.captions, str):
            try:
                self.captions = json.loads(self.captions)
            except json.JSONDecodeError as error:
                raise ValueError(f"captions is not JSON: {error}") from None
        self.captions = self.captions or {}
        if self.shown is not None and self.shown < 0:
            raise ValueError(f"shown is {self.shown}; it must be a number of rows")
        if not isinstance(self.captions, dict):
            raise ValueError(f"captions must hold settings, not {self.captions!r}")


class Times:
    """Where an evaluation's time goes: seconds since it began, and for each policy those of its
    sitting (loading, preparing rows, writing) and of its ``generate`` calls alone.

    Of several processes each has its own; the first one's are reported.
    """

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.sitting: dict[str, float] = {}
        self.generate: dict[str, float] = {}

    def timed(self, call: Callable, label: str) -> Callable:
        """``call``, whose seconds count as generating of the policy ``label``."""
        def counted(*args, **kwargs):
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.generate[label] = (self.generate.get(label, 0.0)
                                        + time.perf_counter() - start)

        return counted

    @contextmanager
    def sitting_of(self, label: str):
        """What is done here is the policy's sitting."""
        start = time.perf_counter()
        yield
        self.sitting[label] = self.sitting.get(label, 0.0) + time.perf_counter() - start

    def told(self) -> dict:
        """For JSON: ``all`` until now, ``policies`` and ``generate`` by label; predictions that
        were read back took no time to generate."""
        return {"all": round(time.perf_counter() - self.begun, 2),
                **{part: {label: round(s, 2) for label, s in of.items()}
                   for part, of in (("policies", self.sitting), ("generate", self.generate))}}


def loader(policy: Policy, args: EvaluateArguments, times: Times) -> Callable:
    """Loads the policy when it is first asked for, and only once."""
    loaded: list = []

    def load():
        if args.score_only:
            raise ValueError(f"policy {policy.label}: rows without a prediction under {args.out}; "
                             f"run without --score_only to make them")
        if not loaded:
            model, processor = load_policy(
                policy.path, dtype=args.dtype, trust_remote_code=args.trust_remote_code,
                attn_implementation=args.attn_implementation)
            auto = "cuda" if torch.cuda.is_available() else "cpu"
            if PartialState().num_processes > 1:
                auto = PartialState().device
            model = model.to(auto if args.device == "auto" else args.device)
            model.generate = times.timed(model.generate, policy.label)
            loaded.extend((model, processor))
        return loaded

    return load


def announce(args: EvaluateArguments, policies: Sequence[Policy], *lines: str) -> None:
    """What is going to be asked of whom, once."""
    if PartialState().is_main_process:
        print(*lines, *(f"policy {p.label}: {p.path}" for p in policies), f"output: {args.out}",
              sep="\n", flush=True)


def folder_of(policy: Policy, args: EvaluateArguments) -> Path:
    """Where a policy's predictions are kept."""
    return Path(args.out) / "predictions" / re.sub(r"[^\w.-]+", "_", policy.label)


def mark_of(policy: Policy, args: EvaluateArguments) -> str:
    """What predictions depend on, beside rows and limits."""
    return f"{fingerprint(policy.path)}-{args.dtype}-{args.box_convention}"


def made_by(policies: Sequence[Policy], makers: dict[str, list[str]], times: Times) -> dict:
    """Of a result: policies with the fingerprints of who made their predictions, versions of what
    they were made with, and the time it took."""
    return {
        "policies": [{**asdict(p), "made_from": makers[p.label]} for p in policies],
        "versions": {name: version(name) for name in ("byname", "torch", "transformers")},
        "seconds": times.told(),
    }


def write(args: EvaluateArguments, result: dict, samples: list[dict], text: str) -> dict:
    """The four files of a result, which is given back."""
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "gallery.json", json.dumps(samples, ensure_ascii=False))
    write_text(out / "evaluation.md", text)
    write_text(out / "evaluation.html", evaluation_page(out.resolve().name, result, samples))
    write_text(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def write_text(path: Path, text: str) -> None:
    """Whole or not at all. A lone surrogate, which a model can write, becomes a question mark."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", errors="replace")
    partial.rename(path)
