"""New tokens whose vectors lie outside of a policy: nothing of its weights or tables is changed.

A copy of the processor knows the tokens. Of a name's tag, ``<bo>``, what stands between the
brackets is the token: the brackets stay what they are, so that a policy that writes ``<`` before a
name goes on doing so. Inside :meth:`SoftTokens.in_model`, the embedding layer gives the tokens'
vectors for their ids, and the head scores those of them that may be written. It is what resizing
both tables would do, for tied and untied heads and below adapters, but outside of the context the
policy is bit for bit what it was.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from tokenizers import AddedToken, decoders, normalizers
from torch import Tensor, nn
from torch.nn import functional

from data_gen.files.errors import InputError


class SoftTokens:
    """Tokens of N concepts.

    Args:
        processor: of the policy; it is copied.
        words: per concept the texts of its tokens, such as ``<bo>`` and ``<bo/1>``; the first one
            is the tag of its name. Two concepts share none.

    Attributes:
        processor: the copy that reads the inside of each tag, and each other text, as one token.
        ids: per concept, the ids of its tokens.

    Raises:
        InputError: a text is given twice, or is a token of the policy itself, such as ``<image>``;
            or the policy's tokenizer cannot be taught tokens inside of brackets.
    """

    def __init__(self, processor, words: Sequence[Sequence[str]]):
        texts = [text for of in words for text in of]
        own = {token.content for token in processor.tokenizer.added_tokens_decoder.values()}
        if taken := sorted(own & set(texts)):
            raise InputError(
                f"no concept can be called {taken[0][1:-1]!r}: {taken[0]} is a token of the policy "
                f"itself; rename it"
            )
        if twice := sorted(text for text in set(texts) if texts.count(text) > 1):
            raise InputError(
                f"no concept can be called {twice[0][1:-1]!r} beside another whose token "
                f"{twice[0]} is; rename one of them"
            )
        self.processor = copy.deepcopy(processor)
        tokenizer = self.processor.tokenizer
        marks = _read_inside_brackets(tokenizer, [of[0] for of in words])
        tokens = [[mark, *of[1:]] for mark, of in zip(marks, words, strict=True)]
        tokenizer.add_tokens(
            [AddedToken(text, normalized=False) for of in tokens for text in of[1:]]
        )
        self.ids: list[list[int]] = [tokenizer.convert_tokens_to_ids(of) for of in tokens]

    @contextmanager
    def in_model(
        self, model, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
    ) -> Iterator[None]:
        """Context in which ``model`` knows the tokens. Gradients reach their vectors.

        A token can be written where its concept's name stands in the row's prompt, and nowhere
        else: rows of different concepts may share a batch.

        Args:
            model: any image-text-to-text model; adapters may wrap it.
            inputs: per concept (T, D), the vectors of its T tokens.
            outputs: per concept (W, D), W from 1 to T: the columns of the head for its first W
                tokens. The others are never written.
        """
        embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
        device = embedding.weight.device
        flat = torch.tensor([i for of in self.ids for i in of], device=device)
        names = torch.tensor([of[0] for of in self.ids], device=device)
        written = [of[: len(out)] for of, out in zip(self.ids, outputs, strict=True)]
        columns = torch.tensor([i for of in written for i in of], device=device)
        silent = flat[~torch.isin(flat, columns)]
        owner = torch.tensor([n for n, of in enumerate(written) for _ in of], device=device)
        width = max(embedding.weight.size(0), int(flat.max()) + 1) if len(flat) else 0
        slots = torch.full((width,), -1, device=device)
        slots[flat] = torch.arange(len(flat), device=device)
        present = torch.zeros(0, len(names), dtype=torch.bool, device=device)

        def embed(of_model: Callable, ids: Tensor) -> Tensor:
            nonlocal present
            if ids.dim() == 2 and ids.size(1) > 1:  # a prompt; later calls bring one token a row
                present = (ids[..., None] == names).any(1)  # (B, N)
            slot = slots[ids]
            known = of_model(ids.masked_fill(slot >= 0, 0))
            table = torch.cat(list(inputs)).to(known.device, known.dtype)
            return torch.where((slot >= 0)[..., None], table[slot.clamp(min=0)], known)

        def score(of_model: Callable, hidden: Tensor) -> Tensor:
            logits = of_model(hidden)  # (B, S, V)
            table = torch.cat(list(outputs)).to(hidden.device, hidden.dtype)
            scores = functional.linear(hidden, table).to(logits.dtype)
            absent = ~present[:, owner].to(logits.device)  # (B, number of columns)
            scores = scores.masked_fill(absent[:, None], -torch.inf)
            wide = functional.pad(logits, (0, max(0, width - logits.size(-1))), value=-torch.inf)
            wide = wide.index_fill(-1, silent.to(logits.device), -torch.inf)
            return wide.index_copy(-1, columns.to(logits.device), scores)

        with _wrapped(embedding, embed), _wrapped(head, score):
            yield


@contextmanager
def frozen(model) -> Iterator[None]:
    """Context in which no weight of ``model`` asks for a gradient and dropout is off; afterwards
    each is as it was."""
    asked = [p for p in model.parameters() if p.requires_grad]
    training = [m for m in model.modules() if m.training]
    for parameter in asked:
        parameter.requires_grad_(False)
    model.eval()
    try:
        yield
    finally:
        for parameter in asked:
            parameter.requires_grad_(True)
        for module in training:
            module.training = True


def is_tied(model) -> bool:
    """Whether the head's columns are the embedding table itself."""
    return model.get_output_embeddings().weight is model.get_input_embeddings().weight


def _read_inside_brackets(tokenizer, tags: Sequence[str]) -> list[str]:
    """Teach a tokenizer to read the inside of each tag as one token, and to write it back;
    elsewhere the same letters stay what they are.

    Returns:
        The texts of these tokens: marks of a private area of Unicode, which stand for the names
        between normalizing and decoding.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f"{type(tokenizer).__name__} is no tokenizer of the library `tokenizers`, and cannot "
            f"be taught the names of concepts; choose a policy that has one"
        )
    marks = [f"\ue000{i}\ue001" for i in range(len(tags))]
    backend = tokenizer.backend_tokenizer
    reads = [normalizers.Replace(t, f"<{m}>") for t, m in zip(tags, marks, strict=True)]
    writes = [decoders.Replace(m, t[1:-1]) for t, m in zip(tags, marks, strict=True)]
    backend.normalizer = normalizers.Sequence([*reads, *filter(None, [backend.normalizer])])
    backend.decoder = decoders.Sequence([*filter(None, [backend.decoder]), *writes])
    tokenizer.add_tokens([AddedToken(mark, normalized=True) for mark in marks])
    return marks


@contextmanager
def _wrapped(module: nn.Module, around: Callable) -> Iterator[None]:
    """Context in which ``module(x)`` is ``around(its own forward, x)``."""
    own, of_instance = module.forward, module.__dict__.get("forward")
    module.forward = lambda x, *args, **kwargs: around(own, x)
    try:
        yield
    finally:
        if of_instance is None:
            del module.forward
        else:
            module.forward = of_instance
