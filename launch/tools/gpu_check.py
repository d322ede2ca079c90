"""Ten minutes on one GPU: what runs here, whether it is right, and how fast it is.

    make gpu                                      # byname gpu_check, the 3B's shape
    byname gpu_check --sections device speed      # some of it
    byname gpu_check --shape tiny --out runs/x    # the toybox's policy; a CPU will do

Sections: *device* (versions), *equality* (shared and unshared passes in bfloat16 against fp32),
*speed* (stock TRL beside this trainer, phase by phase, with peak memory), *vllm* (vLLM's
log-probabilities against the trainer's, with and without pictures, where it is installed), *zero2*
(one training step under DeepSpeed's ZeRO-2). A section that fails does not stop the others, and
what is known so far is in ``gpu_check.md`` and ``gpu_check.json`` of ``--out`` at any time. No
section or case begins after ``--minutes``.

It needs no download: weights are random (8 GB on disk for the 3B's shape). Beside torch and
torchvision these packages are needed: trl, transformers, peft, accelerate, datasets, jsonargparse,
pyyaml, pillow, pyarrow, psutil, filelock; for *zero2* also deepspeed, for *vllm* vllm.
"""

import gc
import importlib.metadata
import importlib.util
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from data_gen.files.errors import InputError
from data_gen.files.files import refuse_no_folder, refuse_other_json
from data_gen.files.sentences import next_commands
from data_gen.files.settings import find_config, read_settings
from data_gen.toybox.weights import local_weights
from rl.policy.loading import load_policy
from rl.speed.compare import Measured, compare
from rl.speed.equality import distances
from rl.speed.random_policy import save_qwen2_5_vl_3b_random
from rl.speed.workload import Shape, rows_of_shape
from rl.vllm.check import GAP

PACKAGES = ("trl", "transformers", "peft", "accelerate", "deepspeed", "vllm", "triton")
PAPER = Shape(image_px=448, beta=0.04, checkpointing=True, lora=True)
"""As the paper trains: G 8, two pictures, LoRA, checkpointing, a reference pass."""

CASES = {
    "3b": {
        "yes or no": replace(PAPER, prompt=700, completion=2),
        "box": replace(PAPER, prompt=700, completion=26),
        "box, dropout": replace(PAPER, prompt=700, completion=26, dropout=0.05),
        "caption": replace(PAPER, prompt=800, completion=128),
        "long": replace(PAPER, prompt=1000, completion=256),
    },
    "tiny": {
        "yes or no": replace(PAPER, prompt=95, completion=2, image_px=64, G=4),
        "box, dropout": replace(PAPER, prompt=95, completion=6, image_px=64, G=4, dropout=0.05),
    },
}
LONGEST = 600
"""Seconds that a program in a process of its own may take."""


@dataclass
class GpuCheckSettings:
    """What to check."""

    shape: Literal["3b", "tiny"] = field(
        default="3b", metadata={"help": "Of the policy: Qwen2.5-VL-3B's, or the toybox's."}
    )
    sections: list[str] = field(
        default_factory=lambda: list(SECTIONS),
        metadata={"help": "Of device, equality, speed, vllm, zero2."},
    )
    minutes: float = field(
        default=10.0, metadata={"help": "No section or case begins after so many."}
    )
    rounds: int = field(default=2, metadata={"help": "Steps that are timed, after one or two."})
    out: str = field(default="runs/gpu_check", metadata={"help": "Output directory."})

    def __post_init__(self):
        if unknown := [name for name in self.sections if name not in SECTIONS]:
            raise InputError(f"sections must be of {', '.join(SECTIONS)}, not {unknown[0]!r}")
        if self.rounds < 1:
            raise InputError(f"rounds must be at least 1, not {self.rounds}")


class Check:
    """What was found so far.

    Attributes:
        settings: of the program.
        found: section -> what it found, for the JSON file.
        lines: section -> its Markdown.
        failed: sections that failed.
    """

    def __init__(self, settings: GpuCheckSettings):
        self.settings, self.out = settings, Path(settings.out)
        self.started = time.monotonic()
        self.found: dict[str, dict] = {}
        self.lines: dict[str, list[str]] = {}
        self.failed: list[str] = []
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def late(self) -> bool:
        """Whether nothing more may begin."""
        return time.monotonic() - self.started > 60 * self.settings.minutes

    def run(self, name: str, section: Callable[["Check", str], None]) -> None:
        """One section; whatever happens in it is written down."""
        self.found[name], self.lines[name] = {}, []
        if self.late:
            self.say(name, f"Not begun: {self.settings.minutes:g} minutes were over.")
            return
        try:
            section(self, name)
        except Exception as error:  # of any library: the other sections do not depend on it
            why = (str(error).strip().splitlines() or [""])[0]
            self.fail(name, f"{type(error).__name__}: {why}")
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def say(self, name: str, line: str, **found) -> None:
        """Print a line of a section, and write it down with what was found."""
        print(line, flush=True)
        self.lines[name].append(line)
        self.found[name].update(found)
        parts = [f"## {name}\n\n" + "\n".join(lines) for name, lines in self.lines.items()]
        (self.out / "gpu_check.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        found = {"failed": self.failed, **self.found}
        (self.out / "gpu_check.json").write_text(json.dumps(found, indent=1), encoding="utf-8")

    def fail(self, name: str, why: str) -> None:
        """The section failed."""
        self.failed.append(name)
        self.say(name, f"FAILED: {why}", error=why)

    def policy(self, layers: int | None = None) -> str:
        """Path of the policy, which is made if it is not there yet.

        Args:
            layers: of the decoder, where the shape has more.
        """
        if self.settings.shape == "tiny":
            return local_weights("toybox_base")
        path = self.out / (f"policy_{layers}_layers" if layers else "policy")
        if not (path / "processor_config.json").is_file():  # written last
            save_qwen2_5_vl_3b_random(path, layers=layers)
        return str(path)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Case -> the workload of its step."""
        return CASES[self.settings.shape]


def device(check: Check, name: str) -> None:
    """Name and memory of the GPU, and versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        memory = properties.total_memory / 2**30
        what = f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}"
    else:
        what = f"CPU, {torch.get_num_threads()} threads"
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    check.say(name, f"{what}; {told}.", device=what, versions=versions)


def equality(check: Check, name: str) -> None:
    """Shared passes in bfloat16 are no further from fp32 than unshared ones."""
    shape = replace(next(iter(check.shapes.values())), completion=16, prompts=2)
    found = distances(check.policy(layers=4), shape)
    say = (
        f"From the unshared pass in fp32, shared and unshared passes in bfloat16 are "
        f"{found.logps[0]:.2g} and {found.logps[1]:.2g} nats per token away, their gradients "
        f"{found.gradients[0]:.2%} and {found.gradients[1]:.2%}; packed rows are attended to by "
        f"{'fused kernels' if found.fused else 'plain attention'}."
    )
    check.say(name, say, **asdict(found))
    if not found.as_exact:
        check.fail(name, "shared passes are further from fp32 than unshared ones")


def speed(check: Check, name: str) -> None:
    """Stock TRL beside this trainer, a row per case as soon as it is measured."""
    path, dtype = check.policy(), torch.bfloat16
    if check.settings.shape == "tiny" and not torch.cuda.is_available():
        dtype = torch.float32  # what a CPU trains in
    head = (
        "| prompt / completion | step, s: stock, ours | × | loss, s | × | reference, s | × "
        "| generation, s | × | peak, GiB: stock, ours |"
    )
    check.say(name, head)
    check.say(name, "|" + "---|" * 10)
    for case, shape in check.shapes.items():
        if check.late:
            check.say(name, "\nThe other cases were not begun: the minutes were over.")
            return
        long = shape.completion > 100  # a step takes a minute: half of it draws tokens
        rounds = 1 if long else check.settings.rounds
        both = compare(path, shape, rounds=rounds, warmup=1 if long else 2, dtype=dtype)
        found = {
            which: {
                "seconds": {phase: run.median(phase) for phase in run.seconds},
                "peak": run.peak,
                "losses": run.losses,
            }
            for which, run in both.items()
        }
        check.say(name, speed_row(case, shape, both), **{case: found})
        gc.collect()


def speed_row(case: str, shape: Shape, both: dict[str, Measured]) -> str:
    """A case as a row of the table."""
    stock, ours = both["stock"], both["ours"]
    cells = [f"{shape.prompt} / {shape.completion} ({case})"]
    for phase in ("step", "loss", "reference", "generation"):
        a, b = stock.median(phase), ours.median(phase)
        cells += [f"{a:.2f}, {b:.2f}", f"{a / max(b, 1e-9):.2f}"]
    peaks = [f"{run.peak / 2**30:.1f}" for run in (stock, ours) if run.peak]
    return f"| {' | '.join([*cells, ', '.join(peaks) or 'not counted'])} |"


def vllm(check: Check, name: str) -> None:
    """vLLM's log-probabilities of its own completions against the trainer's policy's."""
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
    except ImportError:
        check.say(name, "Skipped: vLLM is not installed (pip install 'byname[vllm]').")
        return
    path = check.policy()
    dtype = "bfloat16" if torch.cuda.is_available() else "float32"
    model, processor = load_policy(path, dtype=dtype)
    shape = next(iter(check.shapes.values()))
    rows = [rows_of_shape(processor, replace(shape, images=n, prompt=64), 1, 0)[0] for n in (0, 2)]
    texts = [
        processor.apply_chat_template(row["prompt"], add_generation_prompt=True) for row in rows
    ]
    engine = LLM(
        model=path,
        dtype=dtype,
        max_model_len=2048,
        gpu_memory_utilization=0.5,
        limit_mm_per_prompt={"image": 2},
        enforce_eager=True,
    )
    asked: list[Any] = [
        {"prompt": text, **({"multi_modal_data": {"image": row["images"]}} if n else {})}
        for n, (text, row) in enumerate(zip(texts, rows, strict=True))
    ]
    drawn = engine.generate(asked, SamplingParams(max_tokens=16, logprobs=0, seed=0))
    for what, text, row, out in zip(("text", "two pictures"), texts, rows, drawn, strict=True):
        ids = list(out.outputs[0].token_ids)
        theirs = [found[i].logprob for i, found in zip(ids, out.outputs[0].logprobs, strict=True)]
        ours = logps_of(model, processor, text, row["images"], ids)
        gap = (torch.tensor(theirs) - ours).abs().mean().item()
        check.say(name, f"{what}: log-probabilities differ by {gap:.2g} a token.", **{what: gap})
        if gap > GAP[getattr(torch, dtype)]:
            check.fail(name, f"vLLM is another policy than the trainer's with {what}")


@torch.inference_mode()
def logps_of(model, processor, text: str, images: list, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of C tokens after a prompt, (C,) in fp32 on the CPU."""
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    inputs = processor(text=[text], images=[images] if images else None, return_tensors="pt")
    inputs = dict(inputs.to(model.device))
    drawn = torch.tensor([ids], device=model.device)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], drawn], 1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if "mm_token_type_ids" in inputs:
        types = inputs["mm_token_type_ids"]
        inputs["mm_token_type_ids"] = torch.cat([types, torch.zeros_like(drawn)], 1)
    logits = model(**inputs).logits[0, -len(ids) - 1 : -1].float()
    return logits.log_softmax(-1).gather(-1, drawn[0, :, None])[:, 0].cpu()


def zero2(check: Check, name: str) -> None:
    """One step of the smoke recipe under ZeRO-2: on this GPU, or in two processes of a CPU."""
    if importlib.util.find_spec("deepspeed") is None:
        check.say(name, "Skipped: DeepSpeed is not installed.")
        return
    rows, gpu = check.out / "rows", torch.cuda.is_available()
    counts = ("object_consistency", "visual_localization", "identity_consistency")
    generate = ["generate", "--config", "configs/data/toybox.yaml", "--out", str(rows)]
    generate += ["--replace", "true", "--counts", json.dumps(dict.fromkeys(counts, 8))]
    _byname(generate)
    config = find_config(f"configs/accelerate/{'zero2' if gpu else 'zero2_cpu_2'}.yaml")
    train = ["grpo", "--accelerate", str(config), *(["num_processes=1"] if gpu else [])]
    train += ["--config", "configs/grpo/toybox_smoke.yaml", "--rows", str(rows)]
    run = check.out / f"zero2_{time.time():.0f}"  # a new one: a run that is there would be resumed
    train += ["--output_root", str(check.out), "--name", run.name]
    train += ["--max_steps", "1", "--per_device_train_batch_size", "8" if gpu else "4"]
    train += ["--bf16", "true"] if gpu else []
    began = time.monotonic()
    _byname(train)
    log = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    loss = next(line["loss"] for line in map(json.loads, log) if "loss" in line)
    seconds = time.monotonic() - began
    say = (
        f"One step under ZeRO-2, with loading and saving {seconds:.0f} s; its loss was {loss:.3g}."
    )
    check.say(name, say, seconds=seconds, loss=loss)


def _byname(words: list[str]) -> None:
    """Run a program of ours in a process of its own.

    Raises:
        RuntimeError: it failed; the last line that it printed.
        TimeoutExpired: it took longer than :data:`LONGEST`.
    """
    done = subprocess.run(
        [sys.executable, "-m", "launch", *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LONGEST,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        raise RuntimeError(f"byname {words[0]} ended with {done.returncode}: {said[-1]}")


SECTIONS = {
    "device": device,
    "equality": equality,
    "speed": speed,
    "vllm": vllm,
    "zero2": zero2,
}


def main(argv: list[str] | None = None) -> int:
    """Check, section by section. Returns the exit status: 1 where one failed."""
    try:
        (settings,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            GpuCheckSettings,
            program="gpu_check",
            doc=__doc__,
        )
        refuse_no_folder(settings.out, "out")
        refuse_other_json(Path(settings.out) / "gpu_check.json", {"failed"}, ["gpu_check.md"])
    except (InputError, OSError) as error:
        print(f"gpu_check: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ngpu_check: stopped", file=sys.stderr)
        return 130
    if settings.shape == "3b" and not torch.cuda.is_available():
        print("gpu_check: there is no GPU; give --shape tiny for a CPU", file=sys.stderr)
        return 2
    check = Check(settings)
    try:
        for name in settings.sections:
            print(f"{name}:", flush=True)
            check.run(name, SECTIONS[name])
    except KeyboardInterrupt:
        print(f"\ngpu_check: stopped; what it found is in {check.out}", file=sys.stderr)
        return 130
    print(f"wrote {check.out}/gpu_check.md and gpu_check.json")
    print(next_commands(["cat", f"{check.out}/gpu_check.md"]))
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
