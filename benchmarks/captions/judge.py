"""Ask a chat model which of two systems' captions it prefers.

Each pair is shown in both orders. A system wins a pair if it is preferred in both; everything else
is a tie, and how often the two orders agree is reported, as is how often the first shown was
preferred. The judge is any model behind an OpenAI-compatible endpoint; every answer is kept as a
JSON line, so that a run that was killed, or cut off by the endpoint, resumes.

    python -m benchmarks.captions.judge FIRST.json SECOND.json --model NAME \
        --url http://host:8000/v1 --out verdicts.jsonl [--images ROOT]

The captions are files as RePIC releases them. The key is read from the environment variable that
``--key_env`` names. Not supported: several judges, and scores for single captions.
"""

import base64
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tqdm.auto import tqdm

from benchmarks.formats.captions import first_of_each, read_captions
from benchmarks.formats.files import bare, find_image
from benchmarks.metrics.intervals import Metric, estimate, ratio
from data_gen.files.chat import ChatError, Endpoint, chat
from data_gen.files.errors import InputError
from data_gen.files.files import kept_lines, refuse_other_lines
from data_gen.files.settings import read_settings
from data_gen.files.skipped import SkippedItems
from data_gen.images.photos import PhotoError, open_photo

PROMPT = Path(__file__).with_name("judge.yaml")
SIDE = 512
"""Long side of the images that the judge is shown, in pixels."""

LINE = {"id", "swapped", "said", "asked"}
"""Keys of a line of the verdicts."""

_VERDICT = re.compile(r"\b(first|second|tie)\b")


@dataclass(frozen=True)
class Pair:
    """Two captions of one image: ``one`` is the first system's, ``two`` the second's."""

    id: str
    names: tuple[str, ...]
    one: str
    two: str
    image: Path | None = None


def read_pairs(
    first: str | Path, second: str | Path, images: str | Path | None = None
) -> tuple[list[Pair], SkippedItems]:
    """The captions that two files have for the same images and names.

    Args:
        first, second: caption files.
        images: folder of the images; ``None``: the judge reads only. Pairs whose image is
            missing are skipped.

    Raises:
        InputError: a file is not readable, or they have nothing in common.
    """
    skipped = SkippedItems()
    read = []
    for path in (first, second):
        captions, broken = read_captions(path)
        skipped.update(broken, prefix=f"{Path(path).name}: ")
        read.append({(c.image, c.names): c.text for c in first_of_each(captions, skipped)})
    one, two = read
    pairs = []
    for key in [*one, *(key for key in two if key not in one)]:
        image, names = key
        found = find_image(image, {"": images}) if images else None
        if key not in one or key not in two:
            skipped.add("image that only one system has captioned", image)
        elif images and not found:
            skipped.add("image missing on disk", image)
        else:
            pairs.append(
                Pair(
                    f"{image} {' '.join(names)}", tuple(map(bare, names)), one[key], two[key], found
                )
            )
    if not pairs:
        raise InputError(f"{first} and {second} have no usable pair of captions in common")
    return pairs, skipped


def verdict(text: str) -> str | None:
    """``first``, ``second`` or ``tie``; ``None`` where there is none, or several in the last line
    that has any."""
    for line in reversed(text.casefold().splitlines()):
        if found := set(_VERDICT.findall(line)):
            return found.pop() if len(found) == 1 else None
    return None


def judge(
    pairs: Sequence[Pair],
    endpoint: Endpoint,
    path: str | Path,
    skipped: SkippedItems | None = None,
    prompt: str | Path = PROMPT,
) -> list[tuple[str | None, str | None]]:
    """Ask about every pair in both orders, or read back what was said.

    Args:
        pairs: N of them.
        endpoint: who judges.
        path: JSON lines: ``id``, ``swapped``, ``said``, ``asked`` (a digest of judge and question).
        skipped: is given the images that do not open; such pairs are judged by their words.
        prompt: template file.

    Returns:
        For each pair the verdicts in both orders, in terms of the systems: ``one``, ``two``,
        ``tie``, or ``None`` where the judge's answer was no verdict.

    Raises:
        ChatError: the endpoint does not answer; what it has said is kept.
    """
    words = yaml.safe_load(Path(prompt).read_text(encoding="utf-8"))
    path = Path(path)
    kept = {
        (e["id"], e["swapped"], e["asked"]): e["said"] for e in kept_lines(path) if set(e) >= LINE
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    found = []
    with path.open("a", encoding="utf-8") as file, tqdm(total=2 * len(pairs), unit="call") as bar:
        file.write("\n" * (path.stat().st_size > 0))  # a line torn by a kill ends here
        for pair in pairs:
            both = []
            for swapped in (False, True):
                messages = _messages(pair, swapped, words, skipped)
                asked = _digest(endpoint, messages)
                said = kept.get((pair.id, swapped, asked))
                if said is None:
                    said = chat(endpoint, messages, max_tokens=512)
                    file.write(
                        json.dumps(
                            {"id": pair.id, "swapped": swapped, "said": said, "asked": asked}
                        )
                        + "\n"
                    )
                    file.flush()
                one, two = ("two", "one") if swapped else ("one", "two")
                both.append({"first": one, "second": two, "tie": "tie"}.get(verdict(said) or ""))
                bar.update()
            found.append(tuple(both))
    return found


def judge_metrics(verdicts: Sequence[tuple[str | None, str | None]]) -> dict[str, Metric]:
    """The scores of N pairs.

    Returns:
        ``one``, ``two`` and ``tie`` (shares of pairs), ``preference`` (of the second system over
        the first: wins and half of the ties; ½ is even), ``agreement`` (of pairs with two verdicts,
        those with the same in both orders), ``first_shown`` (of verdicts that are no tie, those for
        the caption shown first; ½ without a habit) and ``unclear`` (answers that are no verdict).
    """
    won = [a if a == b and a is not None else "tie" for a, b in verdicts]
    clear = [a is not None and b is not None for a, b in verdicts]
    return {
        **{name: ratio([w == name for w in won]) for name in ("one", "two", "tie")},
        "preference": ratio([{"two": 1.0, "tie": 0.5, "one": 0.0}[w] for w in won]),
        "agreement": ratio(
            [c and a == b for c, (a, b) in zip(clear, verdicts, strict=True)], clear
        ),
        "first_shown": ratio(
            [(a == "one") + (b == "two") for a, b in verdicts],
            [(a in ("one", "two")) + (b in ("one", "two")) for a, b in verdicts],
        ),
        "unclear": ratio([((a is None) + (b is None)) / 2 for a, b in verdicts]),
    }


def _messages(pair: Pair, swapped: bool, words: dict, skipped: SkippedItems | None) -> list[dict]:
    first, second = (pair.two, pair.one) if swapped else (pair.one, pair.two)
    text = words["ask"].format(
        names=", ".join(f"<{name}>" for name in pair.names),
        first=json.dumps(first),
        second=json.dumps(second),
    )
    content = []
    if pair.image:
        try:
            buffer = io.BytesIO()
            open_photo(pair.image, SIDE).save(buffer, format="PNG")
            uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
            content.append({"type": "image_url", "image_url": {"url": uri}})
        except PhotoError as reason:
            if skipped is not None and not swapped:
                skipped.add(f"image that does not open: {reason}", pair.id)
    return [
        {"role": "system", "content": words["system"]},
        {"role": "user", "content": [*content, {"type": "text", "text": text}]},
    ]


def _digest(endpoint: Endpoint, messages: list[dict]) -> str:
    asked = json.dumps([endpoint.model, messages], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:12]


@dataclass(kw_only=True)
class JudgeSettings:
    """Whose captions are compared, and by whom."""

    captions: list[str] = field(
        metadata={
            "help": "Two files: captions of the first and of the second system, of the same images."
        }
    )
    url: str = field(metadata={"help": "http://host:port/v1 of the judge."})
    model: str = field(metadata={"help": "The judge's name at that endpoint."})
    out: str = field(metadata={"help": "Verdicts, JSON lines; read back when asked again."})
    images: str | None = field(
        default=None, metadata={"help": "Folder of the images; without it the judge reads only."}
    )
    key_env: str = field(
        default="OPENAI_API_KEY", metadata={"help": "Environment variable with the key, if any."}
    )


def main(argv: list[str] | None = None) -> None:
    """Read the settings, ask the judge, print its verdicts as shares with intervals."""
    try:
        (s,) = read_settings(
            sys.argv[1:] if argv is None else argv,
            JudgeSettings,
            positional="captions",
            program="judge",
            doc=__doc__,
        )
        if len(s.captions) != 2:
            raise InputError(f"two caption files are compared, not {len(s.captions)}")
        first, second = s.captions
        refuse_other_lines(Path(s.out), LINE)
        pairs, skipped = read_pairs(first, second, s.images)
        endpoint = Endpoint(s.url, s.model, os.environ.get(s.key_env))
        verdicts = judge(pairs, endpoint, s.out, skipped)
    except (InputError, ChatError, OSError) as error:
        sys.exit(f"judge: {error}")
    except KeyboardInterrupt:
        sys.exit("judge: stopped; the same command resumes it")
    found = {key: estimate(metric) for key, metric in judge_metrics(verdicts).items()}
    print(
        json.dumps(
            {
                "pairs": len(pairs),
                "judge": s.model,
                "skipped": skipped.to_json(),
                **{
                    key: {"value": e.value, "low": e.low, "high": e.high}
                    for key, e in found.items()
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
