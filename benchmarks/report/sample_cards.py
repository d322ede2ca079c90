"""Samples as HTML cards: images, boxes, and captions with their names coloured.

Whatever a model wrote passes through :func:`benchmarks.report.html.safe`.
"""

import math
from string import ascii_uppercase

from benchmarks.report.html import safe
from benchmarks.report.preference_cards import is_preference, preference_card

MAX_TEXT = 4000  # characters of one completion that are shown


def gallery(samples: list[dict]) -> str:
    """Cards, one per sample of ``gallery.json`` (see ``benchmarks.harness.samples``)."""
    return f'<div class="gallery">{"".join(map(_card, samples))}</div>'


def marked(text: str, marks: list[list]) -> str:
    """A completion with its names coloured.

    Args:
        text: what the model wrote.
        marks: [start, end, "right" | "wrong"], in order and not overlapping.
    """
    cut, out, at = text[:MAX_TEXT], [], 0
    for start, end, kind in marks:
        if at <= start < end <= len(cut):
            out += [
                safe(cut[at:start]),
                f'<mark class="{"right" if kind == "right" else "wrong"}">'
                f"{safe(cut[start:end])}</mark>",
            ]
            at = end
    out.append(safe(cut[at:]))
    if len(text) > MAX_TEXT:
        out.append(f' <span class="note">… {len(text) - MAX_TEXT:,} more characters</span>')
    return "".join(out) or '<span class="note">(nothing)</span>'


def policy_class(index: int) -> str:
    """CSS class of the n-th policy: the first is grey, the others have a colour each."""
    return "p0" if index == 0 else f"c{(0, 4, 5, 3, 2)[(index - 1) % 5]}"


def _card(sample: dict) -> str:
    outputs = list(sample["outputs"].items())
    if is_preference(sample):
        return preference_card(sample, [policy_class(k) for k in range(len(outputs))])
    options = sample.get("options") or []  # files of earlier versions have none
    images = [i for i, part in enumerate(sample["prompt"]) if "image" in part]
    shown = []
    for n, i in enumerate(images):
        after = sample["prompt"][i + 1 :]
        words = after[0]["text"] if after and "text" in after[0] else ""
        query = n == len(images) - 1
        boxes = _boxes(sample, outputs) if query else ""
        if query and options:
            words = ""  # it repeats question and options, which stand beside
        shown.append(
            f'<figure{" class=query" if query else ""}><div class="image">'
            f'<img alt="" src="{safe(sample["prompt"][i]["image"])}">{boxes}</div>'
            f"<figcaption>{safe(words.strip())}</figcaption></figure>"
        )
    said = "".join(_said(label, out, policy_class(k)) for k, (label, out) in enumerate(outputs))
    short = options or sample["answer"] is not None or sample["box"] is not None
    css = "sample short" if short else "sample"
    asked = _question(sample, options) if options or not images else ""
    return (
        f'<article class="{css}"><div class="shown">{"".join(shown)}</div><div>'
        f'<p class="truths"><strong>{safe(sample["title"])}</strong> · {_truth(sample)}</p>'
        f'{asked}<div class="said">{said}</div></div></article>'
    )


def _question(sample: dict, options: list[str]) -> str:
    """The words of a question, and its options by letter, the right one marked."""
    lines = "".join(
        f"<li{' class=right' if i == sample['correct'] else ''}><b>{letter}</b> {safe(option)}"
        f"{' <b class=tick-right>✓</b>' if i == sample['correct'] else ''}</li>"
        for i, (letter, option) in enumerate(zip(ascii_uppercase, options, strict=False))
    )
    listed = f'<ul class="options">{lines}</ul>' if lines else ""
    return f'<p class="question">{safe(sample.get("question", ""))}</p>{listed}'


def _truth(sample: dict) -> str:
    if sample.get("options"):
        return f"the right one is <strong>{ascii_uppercase[sample['correct']]}</strong>"
    if sample["answer"] is not None:
        return f"the answer is <strong>{safe(sample['answer'])}</strong>"
    if sample["box"] is not None:
        return "the true box is dashed"
    if not sample["names"] and not sample["absent_names"]:
        return "no concept was shown"
    expected = _chips("right", sample["names"])
    absent = _chips("wrong", sample["absent_names"])
    return " · ".join(
        [f"there: {expected}"] * bool(expected) + [f"not there: {absent}"] * bool(absent)
    )


def _chips(css: str, names: list[str]) -> str:
    return " ".join(f'<span class="chip {css}">{safe(name)}</span>' for name in names)


def _said(label: str, out: dict, css: str) -> str:
    verdict = {True: '<b class="tick-right">✓</b> ', False: '<b class="tick-wrong">✗</b> '}
    facts = [f"IoU {out['iou']:.2f}"] if out["iou"] is not None else []
    if out.get("chosen") is not None:
        facts += [f"answers {ascii_uppercase[out['chosen']]}"]
    facts += [f"{out['n_tokens']} token{'' if out['n_tokens'] == 1 else 's'}"]
    missed = _chips("missed", out["missed"])
    return (
        f'<div class="{css}"><h4>{verdict.get(out["right"], "")}{safe(label)} '
        f"<span>{' · '.join(facts)}</span></h4><p>{marked(out['text'], out['marks'])}</p>"
        + (f'<p class="note">missed {missed}</p>' if missed else "")
        + "</div>"
    )


def _boxes(sample: dict, outputs: list) -> str:
    boxes = [("truth", sample["box"], "truth")] if sample["box"] is not None else []
    boxes += [
        (policy_class(k), out["box"], label)
        for k, (label, out) in enumerate(outputs)
        if out["box"] is not None
    ]
    return "".join(_box(css, box, title) for css, box, title in boxes)


def _box(css: str, box: list, title: str) -> str:
    x1, y1, x2, y2 = (min(max(float(v), 0.0), 1.0) if math.isfinite(v) else 0.0 for v in box)
    return (
        f'<span class="box {css}" title="{safe(title)}" style="left:{x1:.2%};top:{y1:.2%};'
        f'width:{max(x2 - x1, 0):.2%};height:{max(y2 - y1, 0):.2%}"></span>'
    )
