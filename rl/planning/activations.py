"""What a forward and backward pass of the language model keeps alive, by running it without data.

The model's own code runs on tensors that have shapes and no memory (``FakeTensorMode``), with one
and with two layers; a layer's part is the difference, and all layers are alike. So architecture,
attention and checkpointing are measured, and none is described here.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForImageTextToText
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

from rl.planning.peak import PeakMemory
from rl.policy.loading import LoraSettings, freeze


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass.

    Attributes:
        rows: sequences.
        length: tokens of each.
        scored: tokens, over all rows, whose log-probability is computed.
        dtype: of the weights.
        lora: adapters that are trained; ``None`` trains the language model.
        checkpointing: whether layers are computed again in the backward pass.
    """

    rows: int
    length: int
    scored: int
    dtype: torch.dtype = torch.bfloat16
    lora: LoraSettings | None = None
    checkpointing: bool = False


def activation_bytes(config: Any, run: Pass) -> int:
    """The most bytes that a pass has alive beside weights and gradients.

    Args:
        config: of an image-text-to-text model. Its vision tower is taken to be frozen: it is run
            before, without a backward pass, and leaves its features alone.
    """
    one, two = (_peak(_with_layers(config, layers), run) for layers in (1, 2))
    return one + (two - one) * (config.get_text_config().num_hidden_layers - 1)


def _with_layers(config: Any, layers: int) -> Any:
    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    for name in ("layer_types", "mlp_layer_types"):
        if isinstance(getattr(text, name, None), list):
            setattr(text, name, getattr(text, name)[:layers])
    vision = getattr(config, "vision_config", None)
    for name in ("depth", "num_hidden_layers"):
        if isinstance(getattr(vision, name, None), int):
            setattr(vision, name, 1)  # it is built and not run
    for name in ("fullatt_block_indexes", "deepstack_visual_indexes"):
        if hasattr(vision, name):
            setattr(vision, name, [0])
    return config


def _peak(config: Any, run: Pass) -> int:
    model, decoder, head = _on_meta(config, run)
    with FakeTensorMode():
        _materialize(model)
        if run.checkpointing:
            # The state of random numbers is kept for dropout; fake tensors have none.
            options = {"use_reentrant": False, "preserve_rng_state": False}
            decoder.gradient_checkpointing_enable(options)
        model.train()
        embedded = torch.zeros(
            run.rows, run.length, config.get_text_config().hidden_size, dtype=run.dtype
        )
        if run.lora is None or run.checkpointing:
            embedded.requires_grad_(True)  # the embedding is trained, or checkpointing asks for it
        known = [*model.parameters(), embedded]
        for parameter in model.parameters():
            if parameter.requires_grad:  # gradients stay, and may be split: they are counted apart
                parameter.grad = torch.zeros_like(parameter)
                known.append(parameter.grad)
        with PeakMemory(known) as memory:
            hidden = decoder(inputs_embeds=embedded, use_cache=False).last_hidden_state
            chosen = hidden.reshape(-1, hidden.shape[-1])[: run.scored]
            logps = ChunkedLogProbFunction.apply(
                chosen,
                head.weight,
                head.bias,
                torch.zeros(run.scored, dtype=torch.long),
                1.0,
                _CHUNKED_LOGPROB_CHUNK_SIZE,
                None,
                1.0,
                ("entropy",),
            )[0]
            logps.mean().backward()
        return memory.peak


def _on_meta(config: Any, run: Pass) -> tuple[Any, Any, Any]:
    """The model with its adapters, its decoder and its LM head: peft moves adapters to a device,
    which fake tensors do not allow."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(run.dtype)
    try:
        with torch.device("meta"):
            model: Any = AutoModelForImageTextToText.from_config(config)
            freeze(model, vision=True, projector=True)
            decoder, head = model.get_decoder(), model.get_output_embeddings()
            if run.lora is not None:
                model = get_peft_model(model, run.lora.config_for(model))
    finally:
        torch.set_default_dtype(usual)
    return model, decoder, head


def _materialize(model: Any) -> None:
    """Put fake tensors in the place of those on ``meta``: operators then choose kernels as on a
    device. Weights that are tied stay so."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None and id(old) not in made:
                new = torch.empty(old.shape, dtype=old.dtype)
                made[id(old)] = torch.nn.Parameter(new, requires_grad=old.requires_grad)
            if old is not None:
                module._parameters[name] = made[id(old)]
        for name, old in module._buffers.items():
            if old is not None:
                module._buffers[name] = torch.zeros(old.shape, dtype=old.dtype)
