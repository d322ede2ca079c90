"""``byname PROGRAM ...``: every program under one command; alone it lists them.

    byname generate --config configs/data/toybox.yaml
    byname grpo --config configs/grpo/toybox_demo.yaml --learning_rate 1e-4
    byname grpo --accelerate zero2 num_processes=4 --config configs/grpo/repic_qwen2_5_vl_7b.yaml
    byname grpo --help

``--accelerate FILE`` runs a program under ``accelerate launch --config_file FILE``: a path, or the
name of one in configs/accelerate/; further ``name=value`` are options of ``accelerate launch``.
Without it, programs that train or evaluate run under ``accelerate launch`` where it has something
to launch: as ``accelerate config`` was answered, or one process for each of several GPUs. Otherwise
a program runs as one process, which is what the launcher would start. Where a launcher runs already
(``accelerate launch -m launch.grpo ...``, torchrun), nothing is launched again.
"""

import ast
import importlib
import os
import sys
from pathlib import Path

from data_gen.files.errors import InputError
from data_gen.files.settings import did_you_mean, find_config, read_yaml, take_options

PROGRAMS = {
    "generate": "launch.generate",
    "grpo": "launch.grpo",
    "sft": "launch.sft",
    "learn": "launch.learn",
    "ask": "launch.ask",
    "app": "launch.app",
    "evaluate": "launch.evaluate",
    "compare": "launch.compare",
    "mine_negatives": "launch.tools.mine_negatives",
    "tiny_model": "launch.tools.tiny_model",
    "report": "launch.report",
    "toys": "launch.tools.toys",
    "export": "launch.export",
    "export_benchmark": "launch.tools.export_benchmark",
    "bench_step": "launch.tools.bench_step",
    "gpu_check": "launch.tools.gpu_check",
    "bench_data": "launch.tools.bench_data",
}
"""Program -> its module."""

SHARED = ("grpo", "sft", "evaluate")
"""Programs whose work several processes share."""

GPUS = Path("/proc/driver/nvidia/gpus")
"""A folder with an entry for each GPU, where the driver is loaded."""


def main(argv: list[str] | None = None) -> int:
    """Run the program that is named. Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0
    program, rest = argv[0], argv[1:]
    try:
        if program not in PROGRAMS:
            raise InputError(
                f"there is no program '{program}' (byname alone lists them)"
                + did_you_mean(program, list(PROGRAMS))
            )
        named, rest = take_options(rest, "accelerate")
        command = launcher(named) if named else usual_launcher(program)
        alone = any(word.split("=")[0] in ("--help", "--plan") for word in rest)
        if command and "LOCAL_RANK" not in os.environ and not alone:
            # In place of this process, so that signals reach the launcher itself.
            os.execv(sys.executable, [*command, "-m", PROGRAMS[program], *rest])
    except InputError as error:
        print(f"byname: {error}", file=sys.stderr)
        return 2
    if "LOCAL_RANK" not in os.environ:
        # Trainer would spread one process over all GPUs (nn.DataParallel): nothing expects it.
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    sys.argv = [f"byname {program}", *rest]
    try:
        return importlib.import_module(PROGRAMS[program]).main(rest) or 0
    except KeyboardInterrupt:  # while libraries load; later each program says what it has kept
        print(f"\n{program}: stopped", file=sys.stderr)
        return 130


def launcher(named: list[str]) -> list[str]:
    """The beginning of an ``accelerate launch`` command.

    Args:
        named: ``--accelerate`` and the words behind it.
    """
    words = [part for word in named[:1] for part in word.split("=", 1)][1:] + named[1:]
    pairs = [word.partition("=") for word in words[1:]]
    if not words or any(not equals for _, equals, _ in pairs):
        raise InputError(
            "--accelerate needs a file or the name of one in configs/accelerate/, "
            "and perhaps options of accelerate launch as name=value"
        )
    config = find_config(words[0])
    if not config.is_file():
        config = find_config(f"configs/accelerate/{words[0]}.yaml")
    if not config.is_file():
        names = sorted(f.stem for f in find_config("configs/accelerate").glob("*.yaml"))
        raise InputError(
            f"--accelerate {words[0]}: there is no such file, and configs/accelerate/ "
            f"has {', '.join(names)}"
        )
    options = {name.removeprefix("--"): value for name, _, value in pairs}
    several = read_yaml(config)
    if several.get("num_machines") == 1 and several.get("distributed_type") != "NO":
        options.setdefault("main_process_port", "0")  # any free one, so that two runs do not meet
    return [
        sys.executable,
        "-m",
        "launch.launcher",
        "--config_file",
        str(config),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def usual_launcher(program: str) -> list[str]:
    """``accelerate launch`` for a program that several processes share; empty where there would be
    one process only."""
    if program not in SHARED:
        return []
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    if any((home / "accelerate" / f"default_config.{end}").is_file() for end in ("yaml", "json")):
        return [sys.executable, "-m", "launch.launcher"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = len(visible.split(",")) if visible is not None else len(list(GPUS.glob("*")))
    return launcher(["--accelerate", "multi_gpu", f"num_processes={gpus}"]) if gpus > 1 else []


def overview() -> str:
    """Every program with the first line of its docstring."""
    lines = ["usage: byname PROGRAM [--config FILE] [--key value ...]", ""]
    for name, module in PROGRAMS.items():
        file = Path(__file__).parents[1] / f"{module.replace('.', '/')}.py"
        source = file.read_text(encoding="utf-8")
        first = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
        lines.append(f"  {name:<15} {first}")
    return "\n".join(
        [*lines, "", "byname PROGRAM --help shows its settings; configs are in configs/"]
    )


if __name__ == "__main__":
    sys.exit(main())
