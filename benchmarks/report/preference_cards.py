"""A sample of the preference benchmark as an HTML card: the history, both candidates, and for each
system the predicted profile beside the true one, the scores and the answer.

Whatever a model wrote passes through :func:`benchmarks.report.html.safe`.
"""

from benchmarks.report.html import safe
from rewards.preference import ELEMENTS, LETTERS

MAX_TEXT = 4000  # characters of one completion that are shown


def is_preference(sample: dict) -> bool:
    """Whether a sample of ``gallery.json`` is one of this benchmark."""
    return any("chain" in out for out in sample["outputs"].values())


def preference_card(sample: dict, classes: list[str]) -> str:
    """The card.

    Args:
        sample: see :func:`benchmarks.harness.samples.sample`.
        classes: CSS class of each of its outputs.
    """
    liked, disliked = sample.get("profiles") or (None, None)
    said = "".join(
        _said(label, out, css, liked, disliked)
        for (label, out), css in zip(sample["outputs"].items(), classes, strict=True)
    )
    return (
        f'<article class="sample preference"><div class="shown">{_pictures(sample["prompt"])}</div>'
        f'<div><p class="truths"><strong>{safe(sample["title"])}</strong> · the right one is '
        f"<strong>{safe(sample['answer'])}</strong></p>"
        f'<p class="question">{safe(sample.get("question", ""))}</p>'
        f'<div class="said">{said}</div></div></article>'
    )


def _pictures(prompt: list[dict]) -> str:
    """Each run of pictures under the words before it."""
    groups: list[tuple[str, list[str]]] = []
    words = ""
    for part in prompt:
        if "text" in part:
            words = part["text"]
        elif words or not groups:
            groups.append((words, [part["image"]]))
            words = ""
        else:
            groups[-1][1].append(part["image"])
    return "".join(
        '<figure class="history"><div class="row">'
        + "".join(f'<img alt="" src="{safe(image)}">' for image in images)
        + f"</div><figcaption>{safe(words.strip())}</figcaption></figure>"
        for words, images in groups
    )


def _said(label: str, out: dict, css: str, liked, disliked) -> str:
    chain = out.get("chain") or {}
    scores = chain.get("scores") or [(None, None)] * len(ELEMENTS)
    lines = "".join(
        f"<tr><th>{safe(element.replace('_', ' '))}</th>"
        f"{_term(chain.get('liked'), liked, i)}{_term(chain.get('disliked'), disliked, i)}"
        f"<td>{_number(scores[i][0])}</td><td>{_number(scores[i][1])}</td></tr>"
        for i, element in enumerate(ELEMENTS)
    )
    totals = chain.get("totals") or (None, None)
    verdict = '<b class="tick-right">✓</b> ' if out.get("right") else '<b class="tick-wrong">✗</b> '
    answer = f"answers {safe(chain['answer'])}" if chain.get("answer") else "no answer"
    fault = f'<p class="note">{safe(chain["fault"])}</p>' if chain.get("fault") else ""
    heads = "".join(f"<th>{letter}</th>" for letter in LETTERS)
    return (
        f'<div class="{css}"><h4>{verdict}{safe(label)} <span>{answer}</span></h4>'
        f"<table><thead><tr><th></th><th>likes</th><th>dislikes</th>{heads}</tr></thead><tbody>"
        f"{lines}<tr><th>total</th><td></td><td></td><td>{_number(totals[0])}</td>"
        f"<td>{_number(totals[1])}</td></tr></tbody></table>{fault}"
        f"<details><summary>in its words</summary><p>{safe(out['text'][:MAX_TEXT])}</p></details>"
        "</div>"
    )


def _term(said, true, i: int) -> str:
    """A predicted term, marked right or wrong where the true one is known."""
    term = said[i] if said else None
    if not true:
        return f"<td>{safe(term or '–')}</td>"
    right = term is not None and term.casefold() == true[i].casefold()
    shown = f'<mark class="{"right" if right else "wrong"}">{safe(term or "–")}</mark>'
    return f"<td>{shown}{'' if right else f' <small>{safe(true[i])}</small>'}</td>"


def _number(value) -> str:
    return "–" if value is None else str(int(value))
