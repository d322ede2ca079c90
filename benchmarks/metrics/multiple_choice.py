"""Multiple-choice metrics: right by the letter answered, by the option's text, by likelihood.

Options are shuffled where questions are loaded (:mod:`benchmarks.published.multiple_choice`): A is
right in 97.5 % of the released text questions, and RAP's released scorer drops English articles, so
that to it no answer at all equals "A". Here an answer in another form is no answer.

How much of a benchmark needs the references at all is measured by asking it without them
(:mod:`benchmarks.published.controls`): a model that has seen no concept solves 94 % of one public
set.
"""

import re
from collections.abc import Sequence
from string import ascii_uppercase

import numpy as np

from benchmarks.metrics.intervals import Metric, ratio
from rewards.parsing import answer_part
from rewards.unicode_text import normalise

_LETTER = r"(?P<letter>[A-Z])"
_FORMS = (
    re.compile(rf"[\s*(\[\"']*{_LETTER}[\s*)\]\"'.,:]*", re.IGNORECASE),  # all there is
    re.compile(rf"\(?{_LETTER}[).:](?!\w)"),  # at the beginning
    re.compile(rf"\b(?i:answer|option|choice)\b(?: is)?\s*:?\s*[*(\[\"']*{_LETTER}(?![\w'])"),
)
_WORDS = re.compile(r"\w+")


def answered_letter(text: str, options: int) -> int | None:
    """Which option's letter a text answers, or ``None``.

    Understood: a letter alone (``B``, ``(b)``, ``**B.**``), one that begins the answer (``B. Dog``)
    and ``the answer is B``, ``option B``. Two different letters are no answer, and the article in
    ``A dog`` is no letter.

    Args:
        text: any string.
        options: how many there are, up to 26.
    """
    text = normalise(text).strip()
    if alone := _FORMS[0].fullmatch(text):
        found = {alone["letter"].upper()}
    else:
        begins = _FORMS[1].match(text.lstrip("* "))
        found = {begins["letter"]} if begins else set()
        found |= {match["letter"] for match in _FORMS[2].finditer(text)}
    places = {ascii_uppercase.index(letter) for letter in found}
    return places.pop() if len(places) == 1 and max(places) < options else None


def answered_text(text: str, options: Sequence[str]) -> int | None:
    """Which option's words a text writes, or ``None`` for none or several.

    Compared as whole words without case and signs; where one option contains another ("black" in
    "black and white"), the longer one counts.

    Args:
        text: any string.
        options: texts, all different.
    """
    said = _padded(text)
    found = []
    for i in sorted(range(len(options)), key=lambda i: -len(options[i])):
        option = _padded(options[i])
        if option.strip() and option in said:
            found.append(i)
            said = said.replace(option, " \0 ")
    return found[0] if len(found) == 1 else None


def answered_option(text: str, options: Sequence[str]) -> int | None:
    """Which option a text answers, after its reasoning: by its letter, and where there is none by
    its words.

    Args:
        text: any string.
        options: texts, all different, in the order in which they were shown.
    """
    text = answer_part(text)
    letter = answered_letter(text, len(options))
    return answered_text(text, options) if letter is None else letter


def choice_metrics(
    texts: Sequence[str], options: Sequence[Sequence[str]], correct: Sequence[int]
) -> dict[str, Metric]:
    """The scores of N answers.

    Args:
        texts: what the policy wrote.
        options: in the order in which they were shown.
        correct: place of the right one.

    Returns:
        ``letter`` and ``text`` (share right by letter and by the option's words), ``choice`` (by
        letter, and where there is none by words), ``answered`` (share with one or the other) and
        ``first`` (share of answers that are the first option; 1 / options without a habit).
    """
    said = [answer_part(text) for text in texts]
    letters = [answered_letter(t, len(o)) for t, o in zip(said, options, strict=True)]
    words = [answered_text(t, o) for t, o in zip(said, options, strict=True)]
    chosen = [answered_option(t, o) for t, o in zip(texts, options, strict=True)]

    def right(found):
        return ratio([a == b for a, b in zip(found, correct, strict=True)])

    answered = np.array([c is not None for c in chosen], dtype=bool)
    return {
        "choice": right(chosen),
        "letter": right(letters),
        "text": right(words),
        "answered": ratio(answered),
        "first": ratio([c == 0 for c in chosen], answered),
    }


def likelihood_metrics(
    scores: Sequence[Sequence[tuple[float, int]]], correct: Sequence[int]
) -> dict[str, Metric]:
    """The scores of N questions by likelihood; of equals the first counts.

    Args:
        scores: for each question and option its log-likelihood (nats) and its number of tokens, of
            :func:`rl.policy.likelihood.option_log_likelihoods`.
        correct: place of the right one.

    Returns:
        ``likelihood`` (the most likely option is right) and ``likelihood_per_token`` (the same
        for the mean over an option's tokens, which does not favour short ones).
    """
    whole = [int(np.argmax([s for s, _ in of])) for of in scores]
    mean = [int(np.argmax([s / max(n, 1) for s, n in of])) for of in scores]
    return {
        "likelihood": ratio([a == b for a, b in zip(whole, correct, strict=True)]),
        "likelihood_per_token": ratio([a == b for a, b in zip(mean, correct, strict=True)]),
    }


def _padded(text: str) -> str:
    return f" {' '.join(_WORDS.findall(normalise(text).casefold()))} "
