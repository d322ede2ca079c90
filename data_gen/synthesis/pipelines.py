"""Diffusion pipelines as a config names them: any class of diffusers, any weights in its format.

Only safetensors are read, and no code that comes with weights is run. A picture's noise depends on
its seed alone, and is drawn on the CPU, so that a batch gives the same pictures wherever and
whenever it is drawn on the same kind of machine.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import is_missing_path, stamp_of

DTYPES = ("float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "sequential")
AUTO = ("AutoPipelineForText2Image", "AutoPipelineForImage2Image")


@dataclass(frozen=True)
class PipelineSettings:
    """What to load and how to call it.

    Args:
        weights: a directory or a hub id, in diffusers' format.
        name: a pipeline class of diffusers; ``class`` in a config.
        revision, variant: of the weights on the hub.
        dtype: of the weights.
        scheduler: ``class`` and its options, instead of the pipeline's own.
        offload: ``model`` or ``sequential`` move parts to the GPU when they are needed.
        ip_adapter: arguments of ``load_ip_adapter`` (``pretrained_model_name_or_path_or_dict``,
            ``subfolder``, ``weight_name``) and ``scale``.
        image_argument: what a given picture is handed over as: ``image`` or ``ip_adapter_image``.
        call: further arguments of every call: steps, guidance, strength, negative_prompt, ...
    """

    weights: str
    name: str = AUTO[0]
    revision: str | None = None
    variant: str | None = None
    dtype: str = "bfloat16"
    scheduler: dict | None = None
    offload: str = "none"
    ip_adapter: dict | None = None
    image_argument: str = "image"
    call: dict = field(default_factory=dict)


def pipeline_settings(settings: Mapping, where: str) -> PipelineSettings:
    """Check a config's settings without loading weights.

    Args:
        where: the config's key, for messages.

    Raises:
        SourceError: an unknown key, class, type or directory; says which and what there is.
    """
    given = {("name" if key == "class" else key): value for key, value in settings.items()}
    known = {f: ("class" if f == "name" else f) for f in PipelineSettings.__dataclass_fields__}
    unknown = sorted(set(given) - set(known))
    if unknown or "weights" not in given:
        raise SourceError(f"{where}: " + (f"unknown key '{unknown[0]}'" if unknown else
                                          "'weights' is missing")
                          + f"; it may have {', '.join(known.values())}")
    made = PipelineSettings(**given)
    pipeline_class(made.name, where)
    for key, allowed in (("dtype", DTYPES), ("offload", OFFLOADS),
                         ("image_argument", ("image", "ip_adapter_image"))):
        if getattr(made, key) not in allowed:
            raise SourceError(f"{where}: {key} must be {', '.join(allowed)}, not "
                              f"{getattr(made, key)!r}")
    if made.scheduler is not None:
        _scheduler_class(made.scheduler, where)
    path = Path(made.weights)
    if path.exists() and not (path / "model_index.json").is_file():
        raise SourceError(f"{where}: {path} holds no model_index.json; give a directory in "
                          "diffusers' format, or a hub id")
    if is_missing_path(made.weights) or (not path.exists() and len(path.parts) != 2):
        raise SourceError(f"{where}: {path} is not there; give a directory in diffusers' format, "
                          "or a hub id (owner/name). The toybox's is made by launch/diffusion.py")
    return made


def pipeline_class(name: str, where: str) -> type:
    """The class of that name.

    Raises:
        SourceError: diffusers has none, or it is no pipeline.
    """
    found = getattr(diffusers, name, None) if name[:1].isalpha() else None
    if name not in AUTO and not (inspect.isclass(found)
                                 and issubclass(found, diffusers.DiffusionPipeline)):
        raise SourceError(f"{where}: {name!r} is no pipeline class of diffusers "
                          f"{diffusers.__version__}; give one, or {' or '.join(AUTO)}")
    return found


def _scheduler_class(settings: Mapping, where: str) -> type:
    found = getattr(diffusers, str(settings.get("class")), None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.SchedulerMixin)):
        raise SourceError(f"{where}: scheduler: {settings.get('class')!r} is no scheduler class of "
                          "diffusers")
    return found


def weights_stamp(path: str) -> str:
    """A digest of a directory's files, by name, size and how they begin; a hub id as it is."""
    if not Path(path).is_dir():
        return path
    parts: list[str] = []
    for file in sorted(Path(path).rglob("*")):
        if file.is_file():
            with open(file, "rb") as opened:
                parts += [str(file.relative_to(path)), str(file.stat().st_size),
                          opened.read(2**16).hex()]
    return stamp_of(*parts)


def load_pipeline(settings: PipelineSettings, device: str, beside=None):
    """Load a pipeline onto a device.

    Args:
        beside: a loaded pipeline of the same weights, whose parts are shared.

    Raises:
        SourceError: the weights cannot be had, or are of another class.
    """
    kind = pipeline_class(settings.name, "pipeline")
    try:
        if beside is not None:
            # diffusers hands over what is of the annotated type, which AutoencoderTiny is not.
            own = {name: part for name, part in beside.components.items() if name == "vae"}
            pipeline = kind.from_pipe(beside, **own)
        else:
            pipeline = kind.from_pretrained(
                settings.weights, dtype=getattr(torch, settings.dtype), use_safetensors=True,
                revision=settings.revision, variant=settings.variant)
        if settings.scheduler:
            options = {k: v for k, v in settings.scheduler.items() if k != "class"}
            pipeline.scheduler = _scheduler_class(settings.scheduler, "pipeline").from_config(
                pipeline.scheduler.config, **options)
        if settings.ip_adapter:
            options = dict(settings.ip_adapter)
            scale = options.pop("scale", 0.6)
            pipeline.load_ip_adapter(**options)
            pipeline.set_ip_adapter_scale(scale)
    except Exception as error:
        # diffusers, transformers and the hub's client each raise their own kinds.
        raise SourceError(f"pipeline {settings.name} cannot be loaded from {settings.weights}: "
                          f"{(str(error).strip() or repr(error)).splitlines()[0][:300]}; check the "
                          "name, the class and the network") from None
    pipeline.set_progress_bar_config(disable=True)
    if settings.offload == "none":
        return pipeline.to(device)
    getattr(pipeline, f"enable_{settings.offload}_cpu_offload")(device=device)
    return pipeline


def draw(
    pipeline, settings: PipelineSettings, prompts: Sequence[str], seeds: Sequence[int],
    size: tuple[int, int], images: Sequence[Image.Image] | None = None,
) -> list[Image.Image]:
    """One picture for each prompt, RGB.

    Args:
        seeds: of each picture's noise.
        size: width and height asked for, in pixels, where the class can be asked; what comes out
            otherwise is resized.
        images: the picture that each begins with, where it does.

    Raises:
        SourceError: the pipeline refuses its arguments.
    """
    if images is not None and settings.image_argument == "ip_adapter_image" and len(prompts) > 1:
        # A list of pictures stands for one prompt's several references there.
        return [draw(pipeline, settings, [p], [s], size, [i])[0]
                for p, s, i in zip(prompts, seeds, images, strict=True)]
    accepted = inspect.signature(type(pipeline).__call__).parameters
    arguments = dict(settings.call)
    unknown = sorted(set(arguments) - set(accepted))
    if unknown:
        raise SourceError(f"pipeline: call: {type(pipeline).__name__} takes no '{unknown[0]}'")
    arguments |= {key: value for key, value in zip(("width", "height"), size, strict=True)
                  if key in accepted}
    if isinstance(arguments.get("negative_prompt"), str):
        arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
    if images is not None:
        alone = settings.image_argument == "ip_adapter_image"
        arguments[settings.image_argument] = images[0] if alone else list(images)
    try:
        found = pipeline(prompt=list(prompts), **arguments, generator=[
            torch.Generator("cpu").manual_seed(seed) for seed in seeds]).images
    except (TypeError, ValueError) as error:
        raise SourceError(f"pipeline {type(pipeline).__name__} refuses: "
                          f"{(str(error).splitlines() or ['?'])[0][:300]}; see 'call' and 'size'"
                          ) from None
    except torch.cuda.OutOfMemoryError:
        raise SourceError(f"the GPU's memory does not hold {len(prompts)} pictures of "
                          f"{size[0]}x{size[1]}; lower batch_size or size, or set offload: model"
                          ) from None
    return [image.convert("RGB") if image.size == tuple(size)
            else image.convert("RGB").resize(size, Image.Resampling.LANCZOS) for image in found]
