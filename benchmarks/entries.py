"""Single entries of published files: what one asks, or what is wrong with it, in words that can be
counted."""

from typing import Any

from benchmarks.files import bare, is_name
from benchmarks.questions import named
from data_gen.json_stream import is_text

MOST_OPTIONS = 26


def name_groups(names: Any) -> list[list]:
    """Lists of names that one picture is asked about with, one for each question."""
    if isinstance(names, list) and names and all(isinstance(part, list) for part in names):
        return names
    return [names if isinstance(names, list) else [names]]


def exchange(turn: Any) -> dict:
    """One of Yo'LLaVA's exchanges as an entry of RAP's list."""
    if not isinstance(turn, dict) or not is_text(turn.get("Human")) or not is_text(turn.get("AI")):
        return {}
    said = turn["AI"].strip().lower()
    answer = next((word for word in ("yes", "no") if said.startswith(word)), None)
    return {"question": turn["Human"], "correct_answer": answer}


def recognition_entry(entry: Any) -> tuple[str, str, str, str] | str:
    """Picture, question, bare name and answer; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("image")):
        return "row without a picture"
    if not is_text(entry.get("question")):
        return "row without a question"
    concept = entry.get("concept")
    if concept is None:
        tags = entry["question"].replace("<image>", "").partition("<")[2].partition(">")
        concept = tags[0] if tags[1] else None
    if not is_name(concept):
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
    return entry["image"], named(entry["question"], name), name, "yes" if answer else "no"


def choice_entry(entry: Any) -> tuple[str, list[str], int] | str:
    """Question, options and the place of the right one; or what is wrong."""
    if not isinstance(entry, dict) or not is_text(entry.get("question")):
        return "question without words"
    options = entry.get("options", entry.get("option"))
    if not isinstance(options, dict) or not 2 <= len(options) <= MOST_OPTIONS:
        return "question without options"
    texts = [text.strip() if is_text(text) else "" for text in options.values()]
    if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
        return "options that are empty or alike"
    if entry.get("correct_answer") not in list(options):
        return "right answer that is no option"
    return entry["question"], texts, list(options).index(entry["correct_answer"])
