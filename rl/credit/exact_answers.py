r"""Exact expected rewards where a task has candidate answers: nothing is sampled.

For a row whose task has ``answers`` (:mod:`data_gen.tasks.table`), such as yes and no, the G places
of a group hold the candidate answers a themselves, each once, and its reward is r(a). With

    weight   G pi(a | prompt), on the row's loss mask
    advantage r(a), divided by the policy's own standard deviation where TRL would divide by the
             group's: sqrt(E[r^2] - E[r]^2), with E[r] = sum_a pi(a) r(a)

TRL's loss, unchanged, has the gradient -grad E[r]: what a sampled group has in expectation, without
its variance, and never still, because right and wrong answers are always both there. With yes/no
rewards E[r] is p(right) (RLPR, arXiv 2506.18254, and VeriFree, arXiv 2505.21493, reward such a
probability of sampled reasoning; here there is none to sample). There is no baseline, because
there is no variance to reduce. A group's mean that holds its own rollouts multiplies the sampled
gradient by 1 - 1/G; this one is not. What the policy would write beside the candidates counts as
one token with reward 0. The end token is in the completion but not in the loss: a reward that is
decided by the answer says nothing of what follows.

KL and entropy terms are weighted alike: they are the policy's expectation over the candidates.
After the first of several passes over the same completions (``num_iterations``) the weights are
those of the policy that opened them, and TRL's ratios and clipping apply, as to any rollout.

An answer is a candidate in every spelling that is one token (``yes``, ``Yes``, ``YES``, with or
without a space before); if none is, in every spelling as a sequence, whose probability is that of
all its tokens. Where there are more than G, those of the right answer come first, and the rest
counts as written beside the candidates.

What it costs: a group's prompt once to find pi and once in the loss (with ``share_prompt``), two
tokens per candidate, and no decoding. Where the policy answers in one word that is no faster than
sampling: 64 completions of the tiny base on yes/no rows took 0.5 to 0.6 s of one core either way,
before the loss. What is saved is variance: of the sampled groups 42 % were still, of these none.
"""

from collections.abc import Iterable, Sequence

from data_gen.files.errors import InputError
from data_gen.tasks.table import TASKS
from rl.policy.likelihood import spellings


def candidates(tokenizer, answers: Sequence[str]) -> dict[str, list[list[int]]]:
    """Candidate completions of each answer, without the end token.

    Raises:
        InputError: one candidate begins with another, so that their probabilities overlap.
    """
    found = {}
    for answer in answers:
        spelt = spellings(tokenizer, answer)
        found[answer] = [ids for ids in spelt if len(ids) == 1] or spelt
    every = [ids for of_answer in found.values() for ids in of_answer]
    for i, one in enumerate(every):
        for other in every[i + 1 :]:
            shorter = min(len(one), len(other))
            if one[:shorter] == other[:shorter]:
                texts = " and ".join(repr(tokenizer.decode(ids)) for ids in (one, other))
                raise InputError(
                    f"exact_answers cannot tell {texts} apart: in this tokenizer one begins with "
                    f"the other; switch it off or name the tasks that it is for"
                )
    return found


class ExactAnswers:
    """The candidate completions of rows whose task has answers.

    Args:
        tokenizer: the policy's.
        tasks: tasks of the rows.
        group: completions per prompt, G.

    Raises:
        InputError: no task has answers; an answer has more spellings than a group has places; or
            candidates overlap.
    """

    def __init__(self, tokenizer, tasks: Iterable[str], group: int):
        self.end = tokenizer.eos_token_id
        self.group = group
        self._of_task = {
            name: candidates(tokenizer, answers)
            for name in sorted(set(tasks))
            if (task := TASKS.get(name)) and (answers := task.answers)
        }
        if not self._of_task:
            raise InputError(
                "exact_answers is on, but no task of the rows has candidate answers; the table of "
                "tasks (data_gen/tasks/table.py) lists them"
            )
        for name, of_answer in self._of_task.items():
            for answer, spelt in of_answer.items():
                if len(spelt) > group:
                    raise InputError(
                        f"exact_answers needs num_generations of at least {len(spelt)}: this "
                        f"tokenizer spells the answer {answer!r} of {name} in so many ways"
                    )

    def __contains__(self, row: dict) -> bool:
        """Whether nothing is sampled for the row."""
        return row["task"] in self._of_task

    def completion(self, row: dict, place: int) -> list[int]:
        """What stands at a place (0 ... G - 1) of the row's group, the end token included.

        Right answers come first. A place beyond the candidates repeats the first one, and
        :meth:`counts` says so.
        """
        listed = self._listed(row)
        return [*listed[place if place < len(listed) else 0], self.end]

    def counts(self, row: dict, place: int) -> bool:
        """Whether a place of the row's group holds a candidate of its own."""
        return place < len(self._listed(row))

    def is_right(self, row: dict, place: int) -> bool:
        """Whether a place of the row's group spells the right answer."""
        return place < len(self._of_task[row["task"]].get(row["answer"], ()))

    def _listed(self, row: dict) -> list[list[int]]:
        of_answer = self._of_task[row["task"]]
        order = sorted(of_answer, key=lambda answer: answer != row["answer"])
        return [ids for answer in order for ids in of_answer[answer]]
