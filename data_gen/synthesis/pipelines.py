"""Load and call the diffusion pipelines that a config names: any diffusers class, any weights.

Only safetensors are read, and no code that comes with weights is run. An image's noise depends only
on its seed and is drawn on the CPU, so that a batch gives the same images on every machine of the
same kind.
"""

# pyright: reportPrivateImportUsage=false
# (diffusers imports its classes lazily, which pyright takes for private.)

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from data_gen.files.errors import SourceError
from data_gen.files.files import fingerprint_of, is_missing_path
from data_gen.toybox.weights import local_weights

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
        offload: ``none``; ``model`` or ``sequential`` move parts to the GPU only while they run.
        ip_adapter: arguments of ``load_ip_adapter`` (``pretrained_model_name_or_path_or_dict``,
            ``subfolder``, ``weight_name``) and ``scale``.
        image_argument: the argument that takes a given image: ``image`` or ``ip_adapter_image``.
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
    """Check the settings of a config without loading weights.

    Args:
        where: the config's key, for messages.

    Raises:
        SourceError: an unknown key, class, type or directory; says which and what there is.
    """
    given: dict[str, Any] = {
        ("name" if key == "class" else key): value for key, value in settings.items()
    }
    known = {f: ("class" if f == "name" else f) for f in PipelineSettings.__dataclass_fields__}
    unknown = sorted(set(given) - set(known))
    if unknown or "weights" not in given:
        raise SourceError(
            f"{where}: "
            + (f"unknown key '{unknown[0]}'" if unknown else "'weights' is missing")
            + f"; it may have {', '.join(known.values())}"
        )
    made = PipelineSettings(**given)
    pipeline_class(made.name, where)
    for key, allowed in (
        ("dtype", DTYPES),
        ("offload", OFFLOADS),
        ("image_argument", ("image", "ip_adapter_image")),
    ):
        if getattr(made, key) not in allowed:
            raise SourceError(
                f"{where}: {key} must be {', '.join(allowed)}, not {getattr(made, key)!r}"
            )
    if made.scheduler is not None:
        _scheduler_class(made.scheduler, where)
    path = Path(local_weights(made.weights))
    if path.exists() and not (path / "model_index.json").is_file():
        raise SourceError(
            f"{where}: {path} holds no model_index.json; give a directory in "
            "diffusers' format, or a hub id"
        )
    if is_missing_path(str(path)) or (not path.exists() and len(path.parts) != 2):
        raise SourceError(
            f"{where}: {path} does not exist; give a directory in diffusers' format, "
            "or a hub id (owner/name); byname tiny_model makes the toybox's"
        )
    return made


def pipeline_class(name: str, where: str) -> Any:
    """The pipeline class of that name.

    Raises:
        SourceError: diffusers has no such class, or it is not a pipeline.
    """
    found = getattr(diffusers, name, None) if name[:1].isalpha() else None
    if name not in AUTO and not (
        inspect.isclass(found) and issubclass(found, diffusers.DiffusionPipeline)
    ):
        raise SourceError(
            f"{where}: {name!r} is not a pipeline class of diffusers "
            f"{diffusers.__version__}; give one, or {' or '.join(AUTO)}"
        )
    return found


def _scheduler_class(settings: Mapping, where: str) -> Any:
    found = getattr(diffusers, str(settings.get("class")), None)
    if not (inspect.isclass(found) and issubclass(found, diffusers.SchedulerMixin)):
        raise SourceError(
            f"{where}: scheduler: {settings.get('class')!r} is not a scheduler class of diffusers"
        )
    return found


def weights_fingerprint(path: str) -> str:
    """A digest of a directory's files: their names, sizes and first 64 KiB; a hub id as it is."""
    path = local_weights(path)
    if not Path(path).is_dir():
        return path
    parts: list[str] = []
    for file in sorted(Path(path).rglob("*")):
        if file.is_file():
            with open(file, "rb") as opened:
                parts += [
                    str(file.relative_to(path)),
                    str(file.stat().st_size),
                    opened.read(2**16).hex(),
                ]
    return fingerprint_of(*parts)


def load_pipeline(settings: PipelineSettings, device: str, share_with: Any = None) -> Any:
    """Load a pipeline onto a device.

    Args:
        share_with: a loaded pipeline of the same weights, whose parts are used.

    Raises:
        SourceError: the weights cannot be loaded, or are of another class.
    """
    kind = pipeline_class(settings.name, "pipeline")
    try:
        if share_with is not None:
            # from_pipe passes on only parts of the annotated types, which AutoencoderTiny is not.
            own = {name: part for name, part in share_with.components.items() if name == "vae"}
            pipeline = kind.from_pipe(share_with, **own)
        else:
            pipeline = kind.from_pretrained(
                local_weights(settings.weights),
                dtype=getattr(torch, settings.dtype),
                use_safetensors=True,
                revision=settings.revision,
                variant=settings.variant,
            )
        if settings.scheduler:
            options = {k: v for k, v in settings.scheduler.items() if k != "class"}
            pipeline.scheduler = _scheduler_class(settings.scheduler, "pipeline").from_config(
                pipeline.scheduler.config, **options
            )
        if settings.ip_adapter:
            options = dict(settings.ip_adapter)
            scale = options.pop("scale", 0.6)
            pipeline.load_ip_adapter(**options)
            pipeline.set_ip_adapter_scale(scale)
    except Exception as error:
        # diffusers, transformers and the hub's client each raise their own exceptions.
        raise SourceError(
            f"pipeline {settings.name} cannot be loaded from {settings.weights}: "
            f"{(str(error).strip() or repr(error)).splitlines()[0][:300]}; check the "
            "name, the class and the network"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    if settings.offload == "none":
        return pipeline.to(device)
    getattr(pipeline, f"enable_{settings.offload}_cpu_offload")(device=device)
    return pipeline


def generate_images(
    pipeline: Any,
    settings: PipelineSettings,
    prompts: Sequence[str],
    seeds: Sequence[int],
    size: tuple[int, int],
    images: Sequence[Image.Image] | None = None,
) -> list[Image.Image]:
    """One RGB image per prompt.

    Args:
        seeds: of each image's noise.
        size: width and height in pixels. They are passed to classes that take them; an image of
            another size is resized.
        images: for image-to-image pipelines, the image that each begins with.

    Raises:
        SourceError: the pipeline refuses its arguments.
    """
    if images is not None and settings.image_argument == "ip_adapter_image" and len(prompts) > 1:
        # There, a list of images means several references for one prompt.
        return [
            generate_images(pipeline, settings, [p], [s], size, [i])[0]
            for p, s, i in zip(prompts, seeds, images, strict=True)
        ]
    accepted = inspect.signature(type(pipeline).__call__).parameters
    arguments = dict(settings.call)
    unknown = sorted(set(arguments) - set(accepted))
    if unknown:
        raise SourceError(f"pipeline: call: {type(pipeline).__name__} takes no '{unknown[0]}'")
    arguments |= {
        key: value for key, value in zip(("width", "height"), size, strict=True) if key in accepted
    }
    if isinstance(arguments.get("negative_prompt"), str):
        arguments["negative_prompt"] = [arguments["negative_prompt"]] * len(prompts)
    if images is not None:
        alone = settings.image_argument == "ip_adapter_image"
        arguments[settings.image_argument] = images[0] if alone else list(images)
    try:
        found = pipeline(
            prompt=list(prompts),
            **arguments,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        ).images
    except (TypeError, ValueError) as error:
        raise SourceError(
            f"pipeline {type(pipeline).__name__} refuses: "
            f"{(str(error).splitlines() or ['?'])[0][:300]}; see 'call' and 'size'"
        ) from None
    except torch.cuda.OutOfMemoryError:
        raise SourceError(
            f"the GPU's memory does not hold {len(prompts)} images of "
            f"{size[0]}x{size[1]}; lower batch_size or size, or set offload: model"
        ) from None
    return [
        image.convert("RGB")
        if image.size == tuple(size)
        else image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for image in found
    ]
