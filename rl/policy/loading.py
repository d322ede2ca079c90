"""The policy: any vision-language model that transformers loads for image-text-to-text.

A frozen vision tower runs under ``no_grad``, so that neither gradient checkpointing nor LoRA's
input hooks can cause a backward pass through it. Not implemented: quantised weights, pushing to a
hub.
"""

import difflib
import math
import re
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import file_exists, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import GatedRepoError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from peft import (
    LoraConfig,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
)
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig

from data_gen.files.errors import InputError
from data_gen.files.files import is_missing_path
from data_gen.toybox.weights import NAMES, local_weights

DTYPES = ("float32", "bfloat16", "float16", "auto")
"""Of weights; ``auto`` is what the policy was saved in."""

CONFIGS = ("config.json", "adapter_config.json")
"""One of them is in every directory of a policy."""

HUB_SECONDS = 5.0
"""How long the hub may take to say whether it has a model."""

MOST_NEAR = 200
"""Policies of a folder that are compared with a path that is not there."""

_PROJECTOR = re.compile(r"(^|\.)(\w*merger\w*|multi_modal_projector|connector|projector|aligner)\b")
_VISION_TOKEN = re.compile(r"image|img|vision|video", re.IGNORECASE)


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters on the linear layers of the language model.

    Args:
        r: rank.
        alpha: the scale is ``alpha / r``.
        dropout: on the adapter's input.
    """

    r: int = 64
    alpha: int = 128
    dropout: float = 0.05

    def config_for(self, model: nn.Module) -> LoraConfig:
        """The peft configuration for ``model``. It names linear layers of the language model in
        full, so that layers of the same name in the vision tower get no adapter."""
        prefix, decoder = _decoder(model)
        leaves = {
            name.rsplit(".", 1)[-1]
            for name, module in decoder.named_modules()
            if isinstance(module, nn.Linear)
        }
        target = rf"{re.escape(prefix)}\..*\.({'|'.join(sorted(leaves))})"
        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=target,
            task_type="CAUSAL_LM",
        )


@dataclass(frozen=True)
class Trainable:
    """Parameter counts. ``parts`` maps language, projector, vision, adapter to trainable counts."""

    trainable: int
    total: int
    parts: dict[str, int]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {n:,}" for name, n in self.parts.items() if n)
        return f"{self.trainable:,} of {self.total:,} ({self.trainable / self.total:.1%}): {parts}"


def load_policy(
    path: str | Path,
    *,
    dtype: str | torch.dtype = "float32",
    freeze_vision: bool = True,
    freeze_projector: bool = True,
    lora: LoraSettings | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    load_in_4bit: bool = False,
):
    """Load a model and its processor from safetensors.

    Args:
        path: hub id, directory of a full model, directory of a LoRA adapter (whose base model is
            loaded first; the adapter stays unmerged, because merging costs recall), or
            ``toybox_base``, the policy that ships with the package.
        dtype: of the weights; a name such as ``bfloat16`` or a torch dtype.
        freeze_vision: no gradient reaches the vision tower.
        freeze_projector: the same for the layers between tower and language model.
        lora: add adapters to the language model; peft then freezes everything else. ``path`` must
            not be an adapter already.
        trust_remote_code: run code that ships with the model.
        attn_implementation: as in ``from_pretrained``; ``None`` lets transformers choose.
        load_in_4bit: frozen linear weights in 4 bits (QLoRA, arXiv 2305.14314), computing in
            ``dtype``. Needs a GPU and bitsandbytes.

    Returns:
        ``(model, processor)``; the processor pads on the left.

    Raises:
        OSError: no such model, or one without safetensors.
        InputError: ``lora`` for a directory that is an adapter already; weights that are damaged,
            not all there (:func:`load_whole`), or not finite.
    """
    dtype = torch_dtype(dtype)
    name, path = str(path), local_weights(path)
    refuse_missing(path)
    adapter = is_adapter(path)
    if adapter and lora is not None:
        raise InputError(
            f"{path} already is an adapter: train it on without `lora_r`, or name its "
            f"base model as the policy"
        )
    model = load_whole(
        AutoModelForImageTextToText,
        base_path(path) if adapter else path,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        attn_implementation=attn_implementation,
        **({"quantization_config": _four_bits(dtype)} if load_in_4bit else {}),
    )
    if not adapter:
        model.name_or_path = recorded(name)  # an adapter that is trained on it says so
    if adapter:
        model = PeftModel.from_pretrained(model, str(path), is_trainable=True)
        for config in model.peft_config.values():
            config.base_model_name_or_path = recorded(str(config.base_model_name_or_path))
        _refuse_other_tensors(path, get_peft_model_state_dict(model, save_embedding_layers=False))
    elif lora is not None:
        model = get_peft_model(model, lora.config_for(model))
    freeze(model, vision=freeze_vision, projector=freeze_projector)
    if broken := first_broken(model.named_parameters()):
        raise InputError(
            f"the weights of {path} are not finite ({broken}): the run that saved them went wrong; "
            f"take an earlier checkpoint, or train anew"
        )
    return model, load_processor(path, trust_remote_code=trust_remote_code)


def _four_bits(dtype: str | torch.dtype) -> BitsAndBytesConfig:
    """Normal floats of 4 bits, whose scales are stored in 8. Tower and projector stay as they are:
    they are small, and what a policy sees hangs on them."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if dtype == "auto" else dtype,
        llm_int8_skip_modules=["visual", "vision_tower", "multi_modal_projector", "lm_head"],
    )


def load_whole(kind: Any, path: str | Path, **settings) -> Any:
    """``kind.from_pretrained(path)`` from safetensors, every tensor of which is in its place.

    Raises:
        InputError: tensors are missing (they would be random numbers), unknown, damaged or of
            another shape.
    """
    try:
        model, info = kind.from_pretrained(
            path, use_safetensors=True, output_loading_info=True, **settings
        )
    except (RuntimeError, SafetensorError) as error:
        why = (str(error).strip().splitlines() or ["?"])[0]
        raise InputError(
            f"the weights of {path} cannot be read ({why}); fetch or save them again"
        ) from error
    _refuse_tensors(path, info["missing_keys"], info["unexpected_keys"])
    return model


def _refuse_other_tensors(adapter: str | Path, expected: Iterable[str]) -> None:
    """Refuse an adapter whose file lacks tensors, or holds others, which peft only warns of."""
    file = Path(adapter) / "adapter_model.safetensors"
    if file.is_file():
        with safe_open(file, "pt") as stored:
            found = set(stored.keys())
        _refuse_tensors(adapter, set(expected) - found, found - set(expected))


def _refuse_tensors(path: str | Path, missing: Iterable, unknown: Iterable) -> None:
    for what, names in (("lack a", sorted(missing)), ("hold an unknown", sorted(unknown))):
        if names:
            more = f" and {len(names) - 1} others" if len(names) > 1 else ""
            raise InputError(
                f"the weights of {path} {what} tensor, {names[0]}{more}: they are not those of its "
                f"config.json; fetch or save them again"
            )


def first_broken(named: Iterable[tuple[str, nn.Parameter | torch.Tensor | None]]) -> str | None:
    """Name of the first tensor with a number that is not finite, of this process's parts."""
    names, parts = [], []
    for name, tensor in named:
        part = getattr(tensor, "ds_tensor", tensor)  # ZeRO-3's share
        part = getattr(part, "to_local", lambda part=part: part)()  # FSDP's
        if isinstance(part, torch.Tensor) and part.numel() and part.is_floating_point():
            names.append(name)
            parts.append(part.detach())
    if not parts:
        return None
    # One number per tensor, and one wait for the device; a NaN is the largest of all.
    largest = torch._foreach_norm(parts, math.inf)  # pyright: ignore[reportPrivateImportUsage]
    finite = torch.stack([value.float() for value in largest]).isfinite().tolist()
    return next((name for name, ok in zip(names, finite, strict=True) if not ok), None)


def load_processor(path: str | Path, *, trust_remote_code: bool = False):
    """The processor of a policy, or of its base model where an adapter has none of its own.

    Padding on the left is set and asserted: with padding on the right, every position of a batched
    generation would be wrong without an error.
    """
    path = local_weights(path)
    if not Path(path).is_dir():
        refuse_missing(path)
    if is_adapter(path) and not (Path(path) / "tokenizer_config.json").exists():
        path = base_path(path)
    processor = AutoProcessor.from_pretrained(
        path, padding_side="left", trust_remote_code=trust_remote_code
    )
    assert processor.tokenizer.padding_side == "left", "the processor must pad on the left"
    return processor


def refuse_missing(path: str | Path) -> None:
    """Refuse a policy that is not there, in seconds: transformers would ask the hub for any path.

    Raises:
        FileNotFoundError: why it cannot be loaded (see :func:`why_missing`).
    """
    if reason := why_missing(path):
        raise FileNotFoundError(f"cannot open the policy '{path}': {reason}")


def why_missing(path: str | Path) -> str | None:
    """Why a policy cannot be loaded, as the end of a sentence; ``None`` if it seems to be there.

    Args:
        path: directory, short name or hub id. The hub is asked for an id that is neither in its
            cache nor found on disk, and has :data:`HUB_SECONDS` to answer.
    """
    try:
        path = local_weights(path)
    except OSError:  # longer than the name of a file can be
        return "that is no name of a directory"
    near = _nearest(path)
    hint = f"; did you mean '{near}'?" if near else ""
    if Path(path).is_dir():
        if is_adapter(path):
            return _why_no_base(path)
        if any((Path(path) / name).is_file() for name in CONFIGS):
            return None
        return f"it holds neither {' nor '.join(CONFIGS)}{hint}"
    if Path(path).exists():
        return f"it is no directory{hint}"
    try:
        validate_repo_id(path)
    except HFValidationError:
        return f"there is no such directory{hint}"
    if is_missing_path(path):
        return f"there is no such directory{hint}"
    if any(isinstance(try_to_load_from_cache(path, name), str) for name in CONFIGS):
        return None
    found = _on_hub(path)
    if found is None:
        return f"there is no such directory, nor can the hub be asked for such an id{hint}"
    return None if found else f"there is no such directory, nor such a hub id{hint}"


def _why_no_base(adapter: str) -> str | None:
    try:
        base = base_path(adapter)
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"its adapter_config.json cannot be used ({str(error).splitlines()[0]:.100})"
    reason = None if is_adapter(base) else why_missing(base)
    return reason and f"it is an adapter of '{base}', and {reason}"


def _on_hub(name: str) -> bool | None:
    """Whether the hub has a model of this id; ``None`` where it does not say so in time."""
    answers: list[bool] = []

    def ask() -> None:
        with suppress(Exception):  # the hub's errors and those of its client share no base class
            try:
                answers.append(any(file_exists(name, config) for config in CONFIGS))
            except GatedRepoError:  # it is there, and loading says what is missing
                answers.append(True)

    if not HF_HUB_OFFLINE:
        thread = threading.Thread(target=ask, daemon=True)  # its own retries take minutes
        thread.start()
        thread.join(HUB_SECONDS)
    return answers[0] if answers else None


def _nearest(path: str) -> str | None:
    """The policy on this machine whose path is most like one that is not there."""
    parent = Path(path).parent
    folders = [Path("."), Path("runs"), parent, parent.parent]
    patterns = ("*/{}", "*/policy/{}", "*/checkpoints/checkpoint-*/{}")
    try:
        there = {
            str(file.parent)
            for folder in folders
            if folder.is_dir()
            for pattern in patterns
            for config in CONFIGS
            for file in islice(folder.glob(pattern.format(config)), MOST_NEAR)
        }
    except (OSError, ValueError):  # no name of a file
        there = set()
    near = difflib.get_close_matches(path, sorted({*there, *NAMES} - {path}), n=1, cutoff=0.5)
    return near[0] if near else None


def torch_dtype(name: str | torch.dtype) -> str | torch.dtype:
    """The dtype of weights that a setting names.

    Raises:
        InputError: it is none of :data:`DTYPES`.
    """
    if isinstance(name, torch.dtype) or name == "auto":
        return name
    if name not in DTYPES:
        raise InputError(f"dtype is {name!r}; it must be one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def is_adapter(path: str | Path) -> bool:
    """Whether ``path`` is a directory that holds a LoRA adapter."""
    return (Path(path) / "adapter_config.json").exists()


def recorded(name: str) -> str:
    """How an adapter records its base, so that it loads from any folder: short names and hub ids as
    they are, a directory by its whole path."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def base_path(adapter: str | Path) -> str:
    """The base model of an adapter directory.

    A relative path is resolved from the working directory; shipped weights are found from any.
    """
    return local_weights(str(PeftConfig.from_pretrained(str(adapter)).base_model_name_or_path))


def freeze(model: nn.Module, *, vision: bool, projector: bool) -> None:
    """Freeze the vision tower, the projector, or both; wholly frozen modules run under ``no_grad``.

    Training is equal to that without ``no_grad``, which only skips a backward pass whose gradients
    are not used.
    """
    prefix, _ = _decoder(model)
    for name, parameter in model.named_parameters():
        part = _part(name, prefix)
        if (part == "vision" and vision) or (part == "projector" and projector):
            parameter.requires_grad_(False)
    if vision:
        body = model.get_submodule(prefix.rpartition(".")[0])
        for name, child in body.named_children():
            if name != prefix.rpartition(".")[2]:
                _run_without_gradients(child)


def _run_without_gradients(module: nn.Module) -> None:
    """Wrap the largest wholly frozen modules in ``no_grad``. Nothing trainable lies upstream of a
    vision tower, so no gradient that is used is lost."""
    parameters = list(module.parameters())
    if not parameters:
        return
    if isinstance(module, nn.ModuleList) or any(p.requires_grad for p in parameters):
        for child in module.children():
            _run_without_gradients(child)
    else:
        module.forward = torch.no_grad()(module.forward)


def trainable_parameters(model: nn.Module) -> Trainable:
    """Count parameters; those that ZeRO-3 splits over processes count in full."""
    prefix, _ = _decoder(model)
    parts: dict[str, int] = dict.fromkeys(("language", "projector", "vision", "adapter"), 0)
    total = 0
    for name, parameter in model.named_parameters():
        size = getattr(parameter, "ds_numel", parameter.numel())
        total += size
        if parameter.requires_grad:
            parts["adapter" if "lora_" in name else _part(name, prefix)] += size
    return Trainable(sum(parts.values()), total, parts)


def trains_images(model: nn.Module) -> bool:
    """Whether a weight that makes image features is trained: the tower's, the projector's, or an
    adapter's on either."""
    prefix, _ = _decoder(model)
    return any(
        parameter.requires_grad and _part(name, prefix) != "language"
        for name, parameter in model.named_parameters()
    )


def vision_token_ids(model, processor) -> list[int]:
    """Ids of every special token that stands for images or video: no policy may sample one.

    Read from the model's configuration (``image_token_id``, ``vision_start_token_id`` ...) and
    from the tokenizer's special tokens (``<|image_pad|>``, ``<image>`` ...). One sampled image
    token would make the number of placeholders differ from the number of image features.
    """
    tokenizer = processor.tokenizer
    special = {
        token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    ids = {i for text, i in special.items() if _VISION_TOKEN.search(text)}
    config = model.config.to_dict()
    ids |= {
        value
        for key, value in config.items()
        if isinstance(value, int)
        and _VISION_TOKEN.search(key)
        and key.endswith(("token_id", "token_index"))
    }
    return sorted(ids - set(tokenizer.convert_tokens_to_ids([tokenizer.eos_token])))


def suppress_vision_tokens(
    generation_kwargs: dict | None, model, processor, *, vllm: bool = False
) -> dict:
    """Generation settings under which no vision special token can be sampled.

    TRL suppresses the image token only, and not even that where a config sets ``suppress_tokens``.
    The result suppresses the config's own tokens and all vision tokens.
    """
    kwargs = dict(generation_kwargs or {})
    ids = vision_token_ids(model, processor)
    if vllm:
        kwargs["logit_bias"] = {**kwargs.get("logit_bias", {}), **dict.fromkeys(ids, -100.0)}
    else:
        kwargs["suppress_tokens"] = sorted({*(kwargs.get("suppress_tokens") or []), *ids})
    return kwargs


def _decoder(model: Any) -> tuple[str, nn.Module]:
    """Full name and module of the language model's body."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    decoder = plain.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder), decoder


def _part(name: str, decoder: str) -> str:
    """``language``, ``projector`` or ``vision``, from a parameter's full name."""
    if name.startswith(decoder + ".") or "lm_head" in name:
        return "language"
    return "projector" if _PROJECTOR.search(name) else "vision"
