"""What somebody who reads only the caption learns from it, asked by a judge; CoViP's reward.

    caption_questions = w · right − decided / n      −1 at once for a degenerate caption

Questions of two kinds are asked about every caption. Some follow from what the owner said about
the subjects in the image: `right` of them are answered as they should be. The n others are about
subjects that were introduced, too, but are not in the image: they must stay undecided, and
`decided` of them do not. w is 1 / number of questions of the first kind, which keeps the reward in
−1…1, or `per_question`: in CoViP ⅓, with three questions a subject.

The row's column `questions` is JSON: a list of

    {"question": "Who gave <bo> to its owner?", "options": ["an aunt", "a friend"], "answer": 0}

with null as the answer of questions that must stay undecided. The judge is a function, given by its
address, because nothing here knows an endpoint; `judge_settings` are passed to it by name:

    reward_settings:
      caption_questions:
        judge: data_gen.files.judge:answer_questions
        judge_settings: {url: http://localhost:8000/v1, model: NAME}

    def judge(asked: list[tuple[str, str, list[str]]], **settings) -> list[int | None]

It is given (caption, question, options), all of a batch at once, and returns for each the index of
the option that it chooses, `len(options)` if the caption does not tell, None if no answer came. It
is called with an empty list before weights load, to check its settings.

A missing answer is no zero: where one is missing, every completion of that row in the batch gets
None. (TRL adds a None as 0 to the other rewards, so it must not befall one completion of a group
alone.) The share of missing answers is logged as `caption_questions/unanswered`.

Source: CoViP (arXiv 2602.03454), its rewards in code. Degenerate are captions there of whose
sentences or 5-grams 30 % or more are repeated, of whose runs of 10, 20 or 30 words 20 % or more,
or that have more than 511 tokens.

Cheats refused: silence (nothing right), naming or describing everyone (undecided questions become
decided), telling all possible answers (they decide nothing, or wrongly), repetition and captions
without an end (degenerate), an empty caption (the judge is not even asked). Not refused here: text
that addresses the judge, which is for the judge to withstand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from rewards.parsing import caption_text
from rewards.penalties import ngrams, repeated
from rewards.unicode_text import words

_SENTENCE = re.compile(r"[.!?…。！？\n]+")
_REPEATED_RUNS = {5: 0.3, 10: 0.2, 20: 0.2, 30: 0.2}  # words: share from which it is too much
_REPEATED_SENTENCES = 0.3


def caption_questions(
    completions,
    *,
    questions,
    completion_ids=None,
    judge: Callable[..., list[int | None]] | None = None,
    judge_settings: Mapping | None = None,
    per_question: float | None = None,
    max_tokens: int = 511,
    log_metric=None,
    **_,
) -> list[float | None]:
    """Score captions by what a judge can and cannot answer from them.

    Args:
        completions: B strings or conversations.
        questions: B JSON texts, see the module's docstring; None in rows without questions.
        completion_ids: B lists of C token ids, as TRL passes them.
        judge: answers questions from captions; see the module's docstring.
        judge_settings: passed to the judge by name.
        per_question: what a right answer adds; None: 1 / number of questions with an answer.
        max_tokens: longer captions are degenerate.
        log_metric: TRL's; is given the share of questions without an answer.

    Returns:
        B rewards, each −1 or more, or None: no questions, or an answer is missing.

    Raises:
        ValueError: there is no judge, or it returns what cannot be, or a row's questions are none.

    Source:
        CoViP, arXiv 2602.03454.
    """
    if judge is None:
        raise ValueError(
            "caption_questions needs a judge, such as data_gen.files.judge:answer_questions"
        )
    asked, places = [], []  # places: completion, question of each
    rewards: list[float | None] = [None] * len(completions)
    rows = [None if row is None else _read(row) for row in questions]
    for i, (completion, row) in enumerate(zip(completions, rows, strict=True)):
        if row is None:
            continue
        text = caption_text(completion)
        if len(completion_ids[i] if completion_ids else ()) > max_tokens or is_degenerate(text):
            rewards[i] = -1.0
        elif not text.strip():
            rewards[i] = 0.0
        else:
            asked += [(text, question, options) for question, options, _ in row]
            places += [(i, j) for j in range(len(row))]
    answers = judge(asked, **(judge_settings or {}))
    if len(answers) != len(asked):
        raise ValueError(f"the judge was asked {len(asked)} questions and answers {len(answers)}")
    told: dict[int, list] = {}
    for (i, _j), answer in zip(places, answers, strict=True):
        told.setdefault(i, []).append(answer)
    for i, row_answers in told.items():
        if None not in row_answers:
            rewards[i] = _score(rows[i] or [], row_answers, per_question)
    missing = {questions[i] for i, row_answers in told.items() if None in row_answers}
    if log_metric and asked:
        log_metric("caption_questions/unanswered", answers.count(None) / len(asked))
    return [
        None if row in missing else reward for row, reward in zip(questions, rewards, strict=True)
    ]


def is_degenerate(text: str) -> bool:
    """Whether a caption repeats itself beyond what CoViP allows; see the module's docstring."""
    sentences = [tuple(words(sentence)) for sentence in _SENTENCE.split(text)]
    return repeated([s for s in sentences if s]) <= -_REPEATED_SENTENCES or any(
        repeated(ngrams(text, n)) <= -share for n, share in _REPEATED_RUNS.items()
    )


def _read(row: str) -> list[tuple[str, list[str], int | None]]:
    try:
        read = [(each["question"], each["options"], each["answer"]) for each in json.loads(row)]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"a row's questions cannot be read, {error!r}: {row[:200]!r}") from error
    for question, options, answer in read:
        if not (
            isinstance(question, str)
            and isinstance(options, list)
            and (answer is None or (isinstance(answer, int) and 0 <= answer < len(options)))
        ):
            raise ValueError(
                f"a row's question {question!r} has the answer {answer!r} of the options {options}"
            )
    return read


def _score(row: list, answers: list[int], per_question: float | None) -> float:
    pairs = [(truth, answer) for (_, _, truth), answer in zip(row, answers, strict=True)]
    positive = [answer == truth for truth, answer in pairs if truth is not None]
    decided = [
        answer < len(options)
        for (_, options, truth), answer in zip(row, answers, strict=True)
        if truth is None
    ]
    weight = per_question if per_question is not None else 1 / max(len(positive), 1)
    return weight * sum(positive) - sum(decided) / max(len(decided), 1)
