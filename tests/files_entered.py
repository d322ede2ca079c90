"""Count the files of this repository that one question enters, from a program to its first score.

    python tests/files_entered.py launch/evaluate.py --config configs/benchmarks/repic_naming.yaml \
        --policy toybox_base --limit 1 --controls "[]" --max_new_tokens.naming 4 --out /tmp/entered

Runs the program with ``sys.setprofile`` and notes every function of ours that is called until the
first metric is made of a reply (``ratio`` of ``benchmarks/metrics/intervals.py``). Code that runs
when a file is imported does not count. Prints the files in the order in which they are first
entered, how many of them come after settings and benchmark are read, and how often the way leads
back into a file of another room.
"""

import runpy
import sys
from pathlib import Path

ROOT = Path.cwd().resolve()

ASKING = ("answer", "answer_questions")
"""Functions that begin to ask a system: of the loop today, and of the one before it."""


class FirstScoreError(BaseException):
    """The first score is there: the way ends."""


def main(argv: list[str]) -> None:
    """Run ``argv`` as a program and print what it entered."""
    files: dict[str, int] = {}
    asked: set[str] = set()
    way: list[str] = []

    program = str(Path(argv[0]).resolve())
    importing = 0  # modules that are being imported around the call

    def profile(frame, event, _):
        nonlocal importing
        if event not in ("call", "return"):
            return
        code = frame.f_code
        name = code.co_filename
        if code.co_name == "<module>" and str(Path(name).resolve()) != program:
            importing += 1 if event == "call" else -1
        if event == "return" or importing or not name.startswith(f"{ROOT}/") or "/.venv/" in name:
            return
        file = str(Path(name).relative_to(ROOT))
        files[file] = files.get(file, 0) + 1
        if code.co_name in ASKING or asked:
            asked.add(file)
        if not way or way[-1] != file:
            way.append(file)
        if code.co_name == "ratio" and file.endswith("intervals.py"):
            raise FirstScoreError

    sys.argv = argv
    sys.path.insert(0, str(ROOT))
    sys.setprofile(profile)
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except FirstScoreError:
        pass
    finally:
        sys.setprofile(None)
    first = list(dict.fromkeys(way))
    # Backwards: to a file that was entered before the one that is left.
    back = {
        (a, b)
        for a, b in zip(way, way[1:], strict=False)
        if first.index(b) < first.index(a) and a.split("/")[0] != b.split("/")[0]
    }
    print(
        f"\n{len(first)} files, {len(asked)} of them from the moment a system is asked; "
        f"{len(back)} ways back into another room"
    )
    for file in first:
        print(f"  {file} ({files[file]} calls)")


if __name__ == "__main__":
    main(sys.argv[1:])
