"""Put learned vectors behind the image tokens of a row's last image, and watch who attends to them.

A vector stands at a place of its own, right after the image's last token: the processor's tensors
get one more text token there, so that a model works out positions (plain, or M-RoPE's three) and
its cache as for any prompt. What the decoder reads at that place is the vector: at every forward it
is normalised and rescaled to the length of the image's first token (MyVLM 2403.14599, section 3.3;
the paper takes CLS, which projected image tokens no longer hold).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn.functional import normalize, pad

from data_gen.files.errors import InputError


@dataclass(frozen=True)
class Places:
    """Where vectors stand in a batch of prompts. All are (K,), a number for each vector.

    Attributes:
        row: of the batch.
        at: the token that the vector is put in place of.
        image: the first token of the row's last image.
        width: the prompts' length in tokens; shorter inputs are single steps of decoding.
    """

    row: Tensor
    at: Tensor
    image: Tensor
    width: int


def with_places(
    inputs: dict[str, Tensor], counts: Sequence[int], image_token: int, pad_token: int, filler: int
) -> tuple[dict[str, Tensor], Places]:
    """Make room for vectors in the processor's tensors of B prompts, padded on the left.

    Args:
        inputs: by name; those of the shape of ``input_ids``, (B, L), get the new tokens.
        counts: how many vectors each prompt gets; 0 for prompts without an image.
        image_token: id of image tokens.
        pad_token: id of padding.
        filler: id of the new tokens, any ordinary one.

    Returns:
        The tensors, (B, L + the largest count), and where the places are.

    Raises:
        InputError: a prompt that gets vectors has no image.
    """
    ids, most = inputs["input_ids"], max(counts, default=0)
    made: dict[str, list[Tensor]] = {key: [] for key, v in inputs.items() if v.shape == ids.shape}
    rows, at, firsts = [], [], []
    for i, count in enumerate(counts):
        of_image = (ids[i] == image_token).nonzero().flatten().tolist()
        if count and not of_image:
            raise InputError("a vector stands behind an image, and this prompt has none; show one")
        end = of_image[-1] + 1 if of_image else 0
        first = end - 1
        while first > 0 and ids[i, first - 1] == image_token:
            first -= 1
        for key, parts in made.items():
            new = {"input_ids": filler, "attention_mask": 1}.get(key, 0)
            left = pad_token if key == "input_ids" else 0
            row = inputs[key][i]
            grown = torch.cat([row[:end], row.new_full((count,), new), row[end:]])
            parts.append(pad(grown, (most - count, 0), value=left))
        shift = most - count
        rows += [i] * count
        at += [shift + end + k for k in range(count)]
        firsts += [shift + first] * count
    tensors = {key: torch.stack(made[key]) if key in made else v for key, v in inputs.items()}
    row, place, image = (torch.tensor(of, dtype=torch.long) for of in (rows, at, firsts))
    places = Places(row, place, image, ids.shape[1] + most)
    return tensors, places


class PlacingProcessor:
    """A policy's processor that leaves places for vectors in every batch that it makes.

    Args:
        processor: the policy's own.
        model: the policy.
        counts: how many vectors each row of a batch gets.

    Attributes:
        places: of the latest batch.
    """

    def __init__(self, processor: Any, model: Any, counts: Sequence[int]):
        self.processor, self.counts = processor, list(counts)
        self.image_token = image_token_id(model)
        self.places: Places | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.processor, name)

    def __call__(self, *args, **kwargs):
        inputs = self.processor(*args, **kwargs)
        tokenizer = self.processor.tokenizer
        tensors, self.places = with_places(
            dict(inputs),
            self.counts,
            self.image_token,
            tokenizer.pad_token_id or 0,
            tokenizer.encode("a", add_special_tokens=False)[-1],
        )
        inputs.update(tensors)
        return inputs


@contextmanager
def vectors_behind_image(
    model: Any, processor: Any, vectors: Sequence[Tensor], watched: list | None = None
) -> Iterator[PlacingProcessor]:
    """Context in which ``model`` reads vectors behind the last image of each row of a batch.

    Args:
        model: the policy, with or without an adapter.
        processor: its own.
        vectors: of each of B rows, (k, D), k of them; k may be 0.
        watched: gets the decoder's attention weights at each forward, a tuple of (B, H, L, L) for
            each layer. The attention must be eager (:func:`eager_attention`).

    Yields:
        The processor to use for the batch: of these B rows, in their order.
    """
    placing = PlacingProcessor(processor, model, [len(of) for of in vectors])
    values = torch.cat(list(vectors))  # (K, D)

    def put(_, args: tuple, kwargs: dict):
        embeds, places = kwargs.get("inputs_embeds"), placing.places
        if embeds is None or places is None or embeds.shape[1] < places.width:
            return None
        if watched is not None:
            kwargs["output_attentions"] = True
        row, at, image = (of.to(embeds.device) for of in (places.row, places.at, places.image))
        length = embeds[row, image].detach().norm(dim=-1, keepdim=True)
        put_in = normalize(values.to(embeds.device).float(), dim=-1) * length.float()
        new = embeds.index_put((row, at), put_in.to(embeds.dtype))
        return args, {**kwargs, "inputs_embeds": new}

    def watch(_, __, output) -> None:
        if watched is not None:
            watched.append(output.attentions)

    decoder = decoder_of(model)
    handles = [
        decoder.register_forward_pre_hook(put, with_kwargs=True),
        decoder.register_forward_hook(watch),
    ]
    try:
        yield placing
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Context in which the decoder attends in the plain way, which gives attention weights; the
    vision tower keeps its own."""
    config = decoder_of(model).config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before


def attention_penalty(attentions: Sequence[Tensor], places: Places, mask: Tensor, of: str):
    """Mean square of the attention around learned vectors, summed over layers and vectors.

    Args:
        attentions: of each layer, (B, H, L, L): from query tokens (rows) to keys (columns).
        places: of the vectors.
        mask: (B, L), 1 for tokens that are not padding.
        of: ``column``: the attention that later tokens pay *to* a vector (the paper's section 3.3:
            "other tokens"); ``row``: the attention that the vector's own place pays to the tokens
            before it (the released code).
    """
    row, at = places.row.to(mask.device), places.at.to(mask.device)
    after = torch.arange(mask.shape[1], device=mask.device)[None] > at[:, None]  # (K, L)
    before = torch.arange(mask.shape[1], device=mask.device)[None] <= at[:, None]
    counted = (after if of == "column" else before) & mask[row].bool()
    total = 0.0
    for weights in attentions:
        chosen = weights[row].float()  # (K, H, L, L)
        each = torch.arange(len(at), device=mask.device)
        paid = chosen[each, :, :, at] if of == "column" else chosen[each, :, at, :]  # (K, H, L)
        squares = (paid**2 * counted[:, None]).sum((1, 2))
        total = total + (squares / (counted.sum(1) * paid.shape[1]).clamp(min=1)).sum()
    return total


def decoder_of(model: Any) -> Any:
    """The language model's body, of a policy with or without an adapter."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    return plain.get_decoder()


def image_token_id(model: Any) -> int:
    """Id of the tokens that stand for an image.

    Raises:
        InputError: the model's configuration does not say.
    """
    found = [getattr(model.config, key, None) for key in ("image_token_id", "image_token_index")]
    known = [token for token in found if token is not None]
    if not known:
        raise InputError(
            f"the configuration of a {model.config.model_type!r} policy names no image token, "
            "behind which MyVLM puts its vectors; use another policy or method"
        )
    return known[0]
