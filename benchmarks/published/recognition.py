"""Recognition benchmark: is the concept of the reference in the image, yes or no?

RAP's list, Yo'LLaVA's conversations, or DreamBooth folders.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.formats.files import bare, find_image, is_name, read_json
from benchmarks.harness.benchmark import Question
from benchmarks.metrics.intervals import Metric
from benchmarks.metrics.recognition import probability_metrics, recognition_metrics
from benchmarks.published.controls import TITLES
from benchmarks.published.questions import (
    MISSING_IMAGE,
    Published,
    PublishedSettings,
    checked,
    dreambooth_questions,
)
from data_gen.files.errors import InputError
from data_gen.files.json_stream import is_text
from data_gen.files.skipped import printable
from data_gen.rows import OCT
from rewards.parsing import check_answer_format

_SKS = re.compile(r"<sks>|\bsks\b")


@dataclass(kw_only=True)
class RecognitionSettings(PublishedSettings):
    """Where the questions lie, and whether probabilities are scored, too."""

    likelihood: bool = field(
        default=False, metadata={"help": "Also score by the probability of yes."}
    )
    answer_format: str = field(
        default="auto",
        metadata={
            "help": "Which part of a reply is its answer: auto (after <think>...</think>, in "
            "<answer>...</answer> where there are such tags), tagged (only there) or plain (all); "
            "as the rewards' setting of this name."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        check_answer_format(self.answer_format)


class Recognition(Published):
    """RAP's list, Yo'LLaVA's conversations, or DreamBooth folders."""

    name, title = "recognition", "recognition"
    Settings = RecognitionSettings
    headlines = ("recognition/accuracy", "recognition/auroc")
    limits = {"recognition": 16}

    def __init__(self, settings: RecognitionSettings, limit: int | None = None):
        super().__init__(settings, limit)
        self.columns = {
            "balanced accuracy": "recognition/accuracy",
            # With a wrong reference the right answer is always no.
            f"… {TITLES['wrong']}": "recognition_wrong/negative",
            f"… {TITLES['none']}": "recognition_none/accuracy",
        }

    def asks_likelihood(self, name: str) -> bool:
        return self.settings.likelihood

    def load(self) -> list[Question]:
        """RAP's released list asks 333 questions twice, the second time with a type that
        contradicts its answer; rows of such a type are skipped, and so is every other question that
        is asked twice."""
        s = self.settings
        if Path(s.path).is_dir():
            return dreambooth_questions(s.path, self.templates, OCT, self.skipped)
        data = read_json(s.path, self.skipped)
        references = self.references()
        if isinstance(data, dict):
            data = [
                {"image": image, **exchange(turn)}
                for image, turns in data.items()
                for turn in (turns if isinstance(turns, list) else [turns])
            ]
        if not isinstance(data, list):
            raise InputError(
                f"{s.path}: expected a list of questions or an object of "
                f"conversations, found {type(data).__name__}"
            )
        found, seen = [], set()
        for i, entry in enumerate(data):
            where = f"row {i}"
            read = recognition_entry(entry)
            if isinstance(read, str):
                self.skipped.add(read, where)
                continue
            file, text, name, answer = read
            image, given = find_image(file, s.roots), references.of([name])
            where += f": {printable(file)}"
            if (file, name, text) in seen:
                self.skipped.add("question that is asked twice", where)
            elif image is None:
                self.skipped.add(MISSING_IMAGE, where)
            elif isinstance(given, str):
                self.skipped.add(given, f"{where}: {printable(name)}")
            else:
                seen.add((file, name, text))
                found.append(
                    Question(
                        f"{Path(s.path).stem}-{i}",
                        OCT,
                        text,
                        image,
                        given,
                        answer=answer,
                        source=f"{Path(s.path).name}: row {i}",
                    )
                )
        return checked(found, s.path, self.skipped)

    def score_set(self, control, questions, replies, likelihoods) -> dict[str, Metric]:
        truths = [question.answer or "" for question in questions]
        found = recognition_metrics(
            [reply.text for reply in replies], truths, answer_format=self.settings.answer_format
        )
        if likelihoods is not None:
            found |= probability_metrics([p for (p,) in likelihoods], truths)
        if control == "wrong":
            found = {key: found[key] for key in ("negative", "answered")}
        return found


def with_name(text: str, name: str) -> str:
    """A question of a file about a concept: without image placeholder, and with the concept's name
    in place of ``sks``, as Yo'LLaVA writes all its concepts."""
    return _SKS.sub(lambda _: f"<{name}>", text.replace("<image>", "").strip())


def exchange(turn: Any) -> dict:
    """One of Yo'LLaVA's exchanges as an entry of RAP's list."""
    if not isinstance(turn, dict) or not is_text(turn.get("Human")) or not is_text(turn.get("AI")):
        return {}
    said = turn["AI"].strip().lower()
    answer = next((word for word in ("yes", "no") if said.startswith(word)), None)
    return {"question": turn["Human"], "correct_answer": answer}


def recognition_entry(entry: Any) -> tuple[str, str, str, str] | str:
    """Image, question, bare name and answer; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("image")):
        return "row without an image"
    if not is_text(entry.get("question")):
        return "row without a question"
    concept = entry.get("concept")
    if concept is None:
        tags = entry["question"].replace("<image>", "").partition("<")[2].partition(">")
        concept = tags[0] if tags[1] else None
    if not isinstance(concept, str) or not is_name(concept):
        return "row without a concept"
    answer = entry.get("correct_answer")
    if isinstance(answer, str):
        answer = {"yes": True, "no": False}.get(answer.strip().lower().rstrip("."))
    if not isinstance(answer, bool):
        return "answer that is neither yes nor no"
    kind = entry.get("type")
    if kind is not None and kind != ("positive" if answer else "negative"):
        return "type that contradicts the answer"
    name = bare(concept)
    return entry["image"], with_name(entry["question"], name), name, "yes" if answer else "no"
