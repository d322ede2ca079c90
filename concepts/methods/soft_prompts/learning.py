"""Learn the vectors of one concept's tokens by gradient descent through a frozen policy."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from concepts.methods.soft_prompts.batches import Batches
from concepts.methods.soft_prompts.examples import Example
from concepts.methods.soft_prompts.tokens import SoftTokens
from rl.policy.likelihood import answer_tokens

EXAMINED_AT_ONCE = 32
"""Pictures per call of the model where accuracy is measured."""


@dataclass(frozen=True)
class Descent:
    """How vectors are learned; :class:`concepts.methods.soft_prompts.yollava.YoLLaVASettings` says
    what each setting means."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    flip: float
    select_after: int
    train_end: bool
    written: int
    seed: int


@dataclass
class Progress:
    """Where learning stands after an epoch: all that is needed to go on from there.

    Attributes:
        vectors: ``inputs`` (T, D) and, where the head is not tied to the embedding, ``outputs``
            (W, D), as they are now.
        moments: the optimizer's two averages of each of them, as ``inputs/1`` and ``inputs/2``.
        best: the vectors of the best epoch so far.
        epoch, steps: epochs and optimizer steps that are done.
        accuracy: of the best epoch, 0-1: the mean of the accuracy on pictures that show the concept
            and of that on the others; -1 before any was measured.
        best_epoch: which epoch that was, counted from 1.
        losses: mean loss of each epoch.
    """

    vectors: dict[str, Tensor]
    moments: dict[str, Tensor] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)
    epoch: int = 0
    steps: int = 0
    accuracy: float = -1.0
    best_epoch: int = 0
    losses: list[float] = field(default_factory=list)


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of B answers, the mean over each answer's tokens and then over answers: what
    batches of one give on average (Yo'LLaVA Eq. 2).

    Args:
        logits: (B, C, V).
        labels: (B, C), -100 in padding.
    """
    losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")  # (B, C)
    return (losses.sum(1) / (labels != -100).sum(1)).mean()


def descend(
    model,
    tokens: SoftTokens,
    batches: Batches,
    examples: Sequence[Example],
    exam: Sequence[tuple[Example, bool]],
    start: Progress,
    how: Descent,
    done: Callable[[Progress], object],
) -> Progress:
    """Learn the vectors of the one concept of ``tokens``, from where ``start`` stands.

    Args:
        model: the policy, frozen.
        examples: what is trained on, all of it in each epoch.
        exam: questions whose answer begins with yes (true) or no, by which the best epoch is chosen
            among those after ``how.select_after``; of two alike, the later.
        start: from the beginning, or after an epoch.
        done: called after each epoch.
    """
    now, device = start, model.device
    tokenizer = tokens.processor.tokenizer
    targets = [_target(tokenizer, example.answer, how.train_end) for example in examples]
    leaves = {key: value.to(device).requires_grad_() for key, value in now.vectors.items()}
    optimizer = torch.optim.AdamW(
        leaves.values(), lr=how.learning_rate, weight_decay=how.weight_decay
    )
    for key, leaf in leaves.items():
        if now.moments:
            first, second = now.moments[f"{key}/1"], now.moments[f"{key}/2"]
            optimizer.state[leaf] = {
                "step": torch.tensor(float(now.steps)),
                "exp_avg": first.to(device),
                "exp_avg_sq": second.to(device),
            }
    while now.epoch < how.epochs:
        rng = random.Random(f"{how.seed}/{now.epoch}")
        order, losses = list(range(len(examples))), []
        rng.shuffle(order)
        for k in range(0, len(order), how.batch_size):
            chosen = order[k : k + how.batch_size]
            shown = [
                (examples[i], rng.random() < how.flip and examples[i].may_flip) for i in chosen
            ]
            answers = [targets[i] for i in chosen]
            longest = max(map(len, answers))
            labels = torch.tensor([[*a, *[-100] * (longest - len(a))] for a in answers])
            with tokens.in_model(model, *([v] for v in split(leaves, how.written))):
                loss = answer_loss(batches.logits(shown, answers)[:, :-1], labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()) * len(chosen))
            now.steps += 1
        now.epoch += 1
        now.losses.append(sum(losses) / len(examples))
        now.vectors = {key: leaf.detach().cpu().clone() for key, leaf in leaves.items()}
        now.moments = {
            f"{key}/{i}": optimizer.state[leaf][name].cpu().clone()
            for key, leaf in leaves.items()
            for i, name in ((1, "exp_avg"), (2, "exp_avg_sq"))
        }
        if now.epoch > how.select_after or now.epoch == how.epochs:
            measured = accuracy(model, tokens, batches, exam, now.vectors, how.written)
            if measured >= now.accuracy:
                now.accuracy, now.best_epoch = measured, now.epoch
                now.best = {key: value.clone() for key, value in now.vectors.items()}
        done(now)
    return now


def split(vectors: dict[str, Tensor], written: int) -> tuple[Tensor, Tensor]:
    """The input vectors, and the head's columns of the first ``written`` tokens. Where the head is
    tied, these are the inputs' own: a token has one vector, as in the policy's table."""
    outputs = vectors.get("outputs")
    return vectors["inputs"], vectors["inputs"][:written] if outputs is None else outputs


@torch.no_grad()
def accuracy(
    model,
    tokens: SoftTokens,
    batches: Batches,
    exam: Sequence[tuple[Example, bool]],
    vectors: dict[str, Tensor],
    written: int,
) -> float:
    """Share of right answers, 0-1: the mean of that where yes is right and of that where no is."""
    yes, no = answer_tokens(tokens.processor.tokenizer)
    right: dict[bool, list[bool]] = {True: [], False: []}
    moved = {key: value.to(model.device) for key, value in vectors.items()}
    with tokens.in_model(model, *([v] for v in split(moved, written))):
        for k in range(0, len(exam), EXAMINED_AT_ONCE):
            batch = exam[k : k + EXAMINED_AT_ONCE]
            asked = [(example, False) for example, _ in batch]
            logits = batches.logits(asked, [[]] * len(batch))[:, -1]
            says_yes = logits[:, yes].logsumexp(-1) > logits[:, no].logsumexp(-1)
            for (_, truth), said in zip(batch, says_yes.tolist(), strict=True):
                right[truth].append(said == truth)
    shares = [sum(of) / len(of) for of in right.values() if of]
    return sum(shares) / len(shares)


def _target(tokenizer: Any, answer: str, end: bool) -> list[int]:
    ids = tokenizer.encode(answer, add_special_tokens=False)
    return [*ids, tokenizer.eos_token_id] if end and tokenizer.eos_token_id is not None else ids
