"""The functions of byname's lmms-eval tasks: rows to messages, answers to scores.

Rows are made by ``byname export_benchmark``; scores are those of :mod:`benchmarks`, so this
package must be installed where lmms-eval runs. Aggregates are in 0-1.
"""

from benchmarks.metrics.intervals import value
from benchmarks.metrics.multiple_choice import choice_metrics
from benchmarks.metrics.naming import count_names, naming_metrics
from benchmarks.metrics.recognition import recognition_metrics
from benchmarks.metrics.repic_naming import published_tallies
from rewards.names import names_written
from rewards.parsing import answer_part

_NAMING = ("f1", "precision", "recall", "published_f1", "names_given")


def doc_to_visual(doc):
    """References first, the query last."""
    return [image.convert("RGB") for image in doc["images"]]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    """All words in reading order, ``<image>`` where images stand: for models without messages."""
    return "\n".join(
        "<image>" if part["type"] == "image" else part["text"].strip()
        for message in doc["prompt"]
        for part in message["content"]
    )


def doc_to_messages(doc, lmms_eval_specific_kwargs=None):
    """The conversation as it is, images in their places."""
    images = iter(doc_to_visual(doc))
    return [
        {
            "role": message["role"],
            "content": [
                {"type": "image", "url": next(images)}
                if part["type"] == "image"
                else {"type": "text", "text": part["text"]}
                for part in message["content"]
            ],
        }
        for message in doc["prompt"]
    ]


def doc_to_target(doc):
    """For logs only."""
    if doc["options"]:
        return doc["options"][doc["correct"]]
    return doc["answer"] or " ".join(f"<{name}>" for name in doc["names"])


def process_naming(doc, results):
    entry = {
        "text": answer_part(results[0]),
        "names": list(doc["names"]),
        "absent": list(doc["absent_names"]),
    }
    return {f"byname_{key}": entry for key in _NAMING}


def process_recognition(doc, results):
    entry = {"text": results[0], "answer": doc["answer"]}
    return {f"byname_{key}": entry for key in ("accuracy", "positive", "negative")}


def process_multiple_choice(doc, results):
    entry = {"text": results[0], "options": list(doc["options"]), "correct": doc["correct"]}
    return {f"byname_{key}": entry for key in ("choice", "letter", "text")}


def _naming(entries, key):
    return value(
        naming_metrics([count_names(e["text"], e["names"], e["absent"]) for e in entries])[key]
    )


def f1(entries):
    return _naming(entries, "f1")


def precision(entries):
    return _naming(entries, "precision")


def recall(entries):
    return _naming(entries, "recall")


def published_f1(entries):
    """Of the variant for one and for four concepts; the two-concept file reads case, too."""
    expected = [[f"<{name}>" for name in e["names"]] for e in entries]
    tallies = published_tallies([e["text"] for e in entries], expected, "n")
    return value(naming_metrics(tallies)["f1"])


def names_given(entries):
    """Share of captions that write a name which was given, whether it belongs or not."""
    return sum(bool(names_written(e["text"], e["names"] + e["absent"])) for e in entries) / len(
        entries
    )


def _recognition(entries, key):
    return value(
        recognition_metrics([e["text"] for e in entries], [e["answer"] for e in entries])[key]
    )


def accuracy(entries):
    return _recognition(entries, "accuracy")


def positive(entries):
    return _recognition(entries, "positive")


def negative(entries):
    return _recognition(entries, "negative")


def _multiple_choice(entries, key):
    return value(
        choice_metrics(
            [e["text"] for e in entries],
            [e["options"] for e in entries],
            [e["correct"] for e in entries],
        )[key]
    )


def choice(entries):
    return _multiple_choice(entries, "choice")


def letter(entries):
    return _multiple_choice(entries, "letter")


def text(entries):
    return _multiple_choice(entries, "text")
