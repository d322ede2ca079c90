"""Make one of the toybox's tiny models from nothing: policy, CLIP, diffusion, attribute classifier.

    byname tiny_model --accelerate configs/accelerate/cpu_2.yaml \\
        --config configs/tiny_models/toybox_base.yaml
    byname tiny_model --config configs/tiny_models/toybox_clip.yaml
    byname tiny_model --config configs/tiny_models/toybox_diffusion.yaml
    byname tiny_model --config configs/tiny_models/toybox_attribute_classifier.yaml
    byname tiny_model --model attribute_classifier --pairs runs/pairs/toy

The key ``model`` says which. Rows and images are drawn from seeds, row i from the seed and i alone,
so a resumed run sees what it would have seen. The same command resumes a run that was stopped, and
ends at the same weights. What comes out is copied to data_gen/toybox/weights/ to be shipped.

With ``--pairs`` nothing is trained: the texts of a set of image pairs say which toys were asked
for, the attribute classifier which are there, left and right; ``--sheet FILE`` draws some pairs.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import ProgressCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from benchmarks.toybox.generated_pairs import classify_pairs, draw_sheet, report
from data_gen.files.errors import InputError
from data_gen.files.files import refuse_other_json, write_json
from data_gen.files.redaction import command_without_secrets
from data_gen.files.sentences import figures, next_commands
from data_gen.files.settings import did_you_mean, read_settings
from data_gen.toybox.curriculum.stages import curriculum, curriculum_row
from data_gen.toybox.identity import from_number
from data_gen.toybox.models.attribute_classifier import (
    AttributeClassifier,
    ClassifierShape,
    classifier_accuracy,
    classifier_loss,
    classify_toys,
    load_attribute_classifier,
    pair_halves,
    save_attribute_classifier,
)
from data_gen.toybox.models.autoencoder import (
    AutoencoderShape,
    autoencoder_loss,
    build_autoencoder,
    encode_all,
    restoration,
    standardise,
)
from data_gen.toybox.models.clip import (
    ClipShape,
    build_clip,
    clip_loss,
    recipe_of,
    retrieval,
    save_clip,
)
from data_gen.toybox.models.diffusion import FlowShape, build_pipeline, flow_loss, trained_parts
from data_gen.toybox.models.images import DrawnImages, drawn_pairs, drawn_scenes
from data_gen.toybox.models.muon import Muon, parameter_groups
from data_gen.toybox.models.policy import (
    Decisions,
    TinyPolicy,
    build_model,
    build_processor,
    toybox_corpus,
    train_tokenizer,
)
from data_gen.toybox.models.training import Schedule, rows_of, train
from data_gen.toybox.models.vision import (
    DenseVision,
    VisionSettings,
    batches,
    vision_accuracy,
)
from data_gen.toybox.pairs import item_words, pair_words
from data_gen.toybox.rows import ToyboxSettings
from rl.checkpoints import choose
from rl.policy.loading import load_policy
from rl.policy.vision_attention import use_attention_by_length
from rl.run import quiet_libraries, shutdown_distributed
from rl.run_log import RunLog
from rl.sft import SFTTrainer

# The policy: TRL's trainer on conversations that are drawn while it runs


@dataclass(kw_only=True)
class PolicySettings:
    """The tiny policy, from nothing or from an earlier one. Optimisation: TrainingArguments'."""

    policy: str | None = field(
        default=None, metadata={"help": "Path or hub id to start from; null: from nothing."}
    )
    tiny: TinyPolicy = field(default_factory=TinyPolicy, metadata={"help": "Its shape."})
    toybox: ToyboxSettings = field(
        default_factory=ToyboxSettings, metadata={"help": "What the rows are like."}
    )
    stages: list[dict] = field(metadata={"help": "Curriculum stages."})
    n_rows: int = field(default=500_000, metadata={"help": "Rows to train on; each is seen once."})
    rows_seed: int = field(default=17, metadata={"help": "Seed of the rows."})
    save_dtype: str = field(default="float16", metadata={"help": "Precision of the saved weights."})
    freeze_vision: bool = field(
        default=False, metadata={"help": "The vision tower stays as it is; its projector trains."}
    )
    muon: bool = field(
        default=False, metadata={"help": "Matrices of layers are updated by Muon, others by AdamW."}
    )
    decision_weight: float = field(
        default=1.0,
        metadata={"help": "Weight in the loss of tokens that say whether somebody is there."},
    )
    resume: str = field(default="auto", metadata={"help": "auto, none, or a checkpoint's path."})


@dataclass
class PolicyArguments(TrainingArguments):
    """Optimisation of the policy, as in transformers, but on the CPU where there is nothing else.

    Launchers do not pass accelerate's own ``use_cpu`` on, and processes that are not told of it
    would each train for themselves.
    """

    def __post_init__(self):
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()


def conversations(settings: PolicySettings) -> Dataset:
    """Rows as conversations, drawn when they are asked for: nothing is stored."""
    stages = curriculum(settings.stages, settings.n_rows, settings.toybox)

    def draw(batch: dict) -> dict:
        rows = [curriculum_row(i, settings.rows_seed, stages) for i in batch["index"]]
        return {key: [row[key] for row in rows] for key in ("messages", "images")}

    return Dataset.from_dict({"index": range(settings.n_rows)}).with_transform(draw)


def start_policy(settings: PolicySettings):
    """The model and its processor, loaded or made."""
    if settings.policy:
        return load_policy(
            settings.policy,
            dtype=torch.float32,
            freeze_vision=settings.freeze_vision,
            freeze_projector=False,
        )
    tokenizer = train_tokenizer(toybox_corpus(), settings.tiny.vocab_size)
    return build_model(tokenizer, settings.tiny), build_processor(tokenizer, settings.tiny)


def muon_of(model, args: TrainingArguments) -> Muon:
    """Muon for the matrices of layers; embeddings and the output layer are AdamW's."""
    groups = parameter_groups(
        model.named_parameters(), args.weight_decay, skip=("embed_tokens", "lm_head")
    )
    return Muon(groups, args.learning_rate, beta2=args.adam_beta2)


def measure(policy: Path) -> list[str | Path]:
    """The command that measures a policy on held-out toys."""
    config = "configs/benchmarks/toybox.yaml"
    return ["byname", "evaluate", "--config", config, "--policy", policy]


def command() -> list[str]:
    """The command that runs, without keys."""
    return command_without_secrets(sys.argv)


def claim(place: Path) -> None:
    """Refuse to save a model over one that this command has not made; else write down, beside it,
    which command makes it.

    Args:
        place: the model's folder.

    Raises:
        InputError: there is one of another command, or of none of ours.
        FileExistsError: the note is something else's file.
    """
    note = place.parent / "command.json"
    refuse_other_json(note, {"command"})
    made_by = None
    for file in (note, place / "recipe.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            made_by = made_by or json.loads(file.read_bytes())["command"]
    if os.path.lexists(place) and made_by != command():
        raise InputError(f"{place} is there, and this command did not make it; name another --out")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"command": command()})


def make_policy(settings: PolicySettings, args: PolicyArguments) -> None:
    """Train on the curriculum, save the policy with its recipe."""
    set_seed(args.seed)
    folder = Path(args.output_dir or "runs/toybox_base")
    claim(folder / "policy")
    # What can be refused at once comes before the tokenizer is trained and weights are loaded.
    rows = conversations(settings)
    checkpoint = choose(settings.resume, folder, args.world_size)
    folder.mkdir(parents=True, exist_ok=True)
    model, processor = start_policy(settings)
    if args.use_cpu:
        model.set_attn_implementation({"text_config": "eager"})  # faster there, backward included
    use_attention_by_length(model)
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=rows,
        data_collator=DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True),
        processing_class=processor,
        optimizers=(muon_of(model, args) if settings.muon else None, None),
        callbacks=[RunLog(folder / "log.jsonl", show=not args.disable_tqdm)],
    )
    if settings.decision_weight != 1:
        trainer.weigh = Decisions(processor.tokenizer, settings.decision_weight)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        count = sum(p.numel() for p in trainer.model.parameters())
        print(f"{count:,} parameters, {settings.n_rows:,} rows, output in {folder}", flush=True)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.is_world_process_zero():
        out = folder / "policy"
        trained = trainer.accelerator.unwrap_model(trainer.model)
        trained.set_attn_implementation("sdpa")
        trained.to(getattr(torch, settings.save_dtype)).save_pretrained(out)
        processor.save_pretrained(out)
        (out / "recipe.json").write_text(
            json.dumps(
                {
                    "arguments": asdict(settings),
                    "command": command(),
                    "log": trainer.state.log_history,
                },
                indent=1,
                default=str,
            )
        )
        print(f"saved {out}\n{next_commands(measure(out))}", flush=True)


# The policy's vision tower and projector, pretrained alone


@dataclass(kw_only=True)
class VisionTowerSettings:
    """The vision tower and projector of the tiny policy: every image token says what it shows."""

    out: str = field(default="runs/toybox_vision", metadata={"help": "Output directory."})
    policy: str = field(metadata={"help": "Path of the policy whose tower is trained on."})
    pictures: VisionSettings = field(
        default_factory=VisionSettings, metadata={"help": "What the pictures are like."}
    )
    pictures_seed: int = field(default=71, metadata={"help": "Seed of the pictures."})
    schedule: Schedule = field(metadata={"help": "Its training."})
    held_out: int = field(default=1024, metadata={"help": "Held-out pictures per size."})
    threads: int = field(default=0, metadata={"help": "Torch threads; 0: torch's own choice."})


def make_vision_tower(settings: VisionTowerSettings) -> None:
    """Draw and train, measure on held-out toys, save the policy with its new tower."""
    schedule, out = settings.schedule, Path(settings.out)
    claim(out / "policy")
    if settings.threads:
        torch.set_num_threads(settings.threads)
    set_seed(schedule.seed)
    policy, processor = load_policy(
        settings.policy, dtype=torch.float32, freeze_vision=False, freeze_projector=False
    )
    use_attention_by_length(policy)
    model = DenseVision(policy.model.visual, processor.image_processor)
    print(
        f"{sum(p.numel() for p in model.tower.parameters()):,} parameters, {schedule.steps:,} "
        f"steps of {schedule.batch_size} pictures; output in {out}",
        flush=True,
    )
    drawn: Iterator[dict[str, torch.Tensor]] | None = None

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        nonlocal drawn
        if drawn is None:  # a run that resumes draws from its step on
            drawn = batches(step, schedule, settings.pictures_seed, settings.pictures, model.cell)
        return sum(model(next(drawn)).values(), start=torch.zeros(()))

    train(model, loss_of, schedule, out, "vision")
    measured = vision_accuracy(model, settings.pictures, settings.held_out, settings.pictures_seed)
    place = out / "policy"
    policy.to(torch.float16).save_pretrained(str(place))
    processor.save_pretrained(place)
    write_json(
        place / "recipe.json",
        {"arguments": asdict(settings), "measured": measured, "command": command()},
    )
    print(f"held-out toys: {figures(measured)}; saved {place}\n{next_commands(measure(place))}")


# CLIP


@dataclass(kw_only=True)
class ClipSettings:
    """The tiny CLIP: images of toys, and what can be said of them."""

    out: str = field(default="runs/toybox_clip", metadata={"help": "Output directory."})
    shape: ClipShape = field(default_factory=ClipShape, metadata={"help": "Its shape."})
    schedule: Schedule = field(metadata={"help": "Its training."})
    images: int = field(default=60_000, metadata={"help": "Images to train on."})
    images_seed: int = field(default=41, metadata={"help": "Seed of the images."})
    toys: dict[int, float] = field(
        default_factory=lambda: {0: 0.4, 1: 0.48, 2: 0.12},
        metadata={"help": "Toys in an image -> weight; 0: half of a pair."},
    )
    held_out: int = field(default=2000, metadata={"help": "Held-out images to measure with."})


def make_clip(settings: ClipSettings) -> None:
    """Draw, train, measure on held-out toys, save."""
    shape, schedule, out = settings.shape, settings.schedule, Path(settings.out)
    claim(out / "model")
    torch.manual_seed(schedule.seed)
    model, tokenizer, config = build_clip(shape)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {settings.images:,} images "
        f"of {shape.image_px} px, {schedule.steps:,} steps of {schedule.batch_size}; output in "
        f"{out}",
        flush=True,
    )

    def scenes(count: int, held_out: bool) -> DrawnImages:
        return drawn_scenes(
            out / "images",
            count,
            shape.image_px,
            settings.images_seed,
            settings.toys,
            held_out=held_out,
        )

    data = scenes(settings.images, False)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return clip_loss(model, tokenizer, data, picks, schedule.seed, step)

    train(model, loss_of, schedule, out, "clip")
    measured = retrieval(model, tokenizer, scenes(settings.held_out, True))
    save_clip(
        model, tokenizer, config, out / "model", recipe_of(shape, schedule, measured, command())
    )
    print(f"held-out toys: {figures(measured)}; saved {out / 'model'}")
    mined = ["--config", "configs/negatives/toybox.yaml", "--encoder", out / "model"]
    print(next_commands(["byname", "mine_negatives", *mined]))


# Diffusion: an autoencoder, then the flow


@dataclass(kw_only=True)
class DiffusionSettings:
    """The tiny diffusion model: FLUX's architecture, one toy twice, side by side."""

    out: str = field(default="runs/toybox_diffusion", metadata={"help": "Output directory."})
    cache: str = field(default="runs/toybox_images", metadata={"help": "Drawn pairs."})
    images: int = field(default=40_960, metadata={"help": "Pairs to train on."})
    images_seed: int = field(default=51, metadata={"help": "Seed of the pairs."})
    half_px: int = field(default=48, metadata={"help": "Side of half an image, in pixels."})
    autoencoder: AutoencoderShape = field(
        default_factory=AutoencoderShape, metadata={"help": "The autoencoder's shape."}
    )
    autoencoder_schedule: Schedule = field(metadata={"help": "The autoencoder's training."})
    flow: FlowShape = field(default_factory=FlowShape, metadata={"help": "The flow's shape."})
    flow_schedule: Schedule = field(metadata={"help": "The flow's training."})


def make_diffusion(settings: DiffusionSettings) -> None:
    """Draw, train both parts, save the pipeline."""
    out, schedule = Path(settings.out), settings.flow_schedule
    claim(out / "model")
    data = drawn_pairs(
        Path(settings.cache), settings.images, settings.half_px, settings.images_seed
    )
    autoencoder = trained_autoencoder(settings, data, out)
    latents = encode_all(autoencoder, data)
    standardise(autoencoder, latents)
    prompts = [
        pair_words(item_words(from_number(fact["toy"])), fact["scenes"]) for fact in data.facts
    ]
    torch.manual_seed(schedule.seed)
    pipeline = build_pipeline(settings.flow, autoencoder)
    parts = trained_parts(pipeline)
    print(
        f"{sum(p.numel() for p in parts.parameters()):,} parameters and "
        f"{sum(p.numel() for p in autoencoder.parameters()):,} of the autoencoder, "
        f"{schedule.steps:,} steps of {schedule.batch_size}; output in {out}",
        flush=True,
    )
    shift, scale = (autoencoder.config[key] for key in ("shift_factor", "scaling_factor"))

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return flow_loss(
            pipeline,
            (latents[picks].float() - shift) * scale,
            [prompts[i] for i in picks],
            generator,
        )

    train(parts, loss_of, schedule, out, "flow")
    unseen = drawn_pairs(
        Path(settings.cache), 512, settings.half_px, settings.images_seed, held_out=True
    )
    measured = {"autoencoder's PSNR on held-out toys, dB": restoration(autoencoder, unseen)}
    pipeline.to(dtype=torch.float16).save_pretrained(out / "model", safe_serialization=True)
    write_json(
        out / "model" / "recipe.json",
        {"arguments": asdict(settings), "measured": measured, "command": command()},
    )
    print(f"{figures(measured)}; saved {out / 'model'}")
    drawn = ["--config", "configs/data/diffusion_toy.yaml", "--pipeline.weights", out / "model"]
    print(next_commands(["byname", "generate", *drawn]))


def trained_autoencoder(settings: DiffusionSettings, data: DrawnImages, out: Path):
    """The autoencoder, trained or read back."""
    schedule = settings.autoencoder_schedule
    torch.manual_seed(schedule.seed)
    model = build_autoencoder(settings.autoencoder)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        # One half of each pair, so that a batch holds many toys.
        images = data.batch(rows_of(step, schedule.batch_size, len(data), schedule.seed))
        return autoencoder_loss(model, images.chunk(2, -1)[step % 2], generator)

    train(model, loss_of, schedule, out, "autoencoder")
    return model


# The attribute classifier


@dataclass(kw_only=True)
class AttributeClassifierSettings:
    """The attribute classifier, which measures what the diffusion model draws."""

    out: str = field(
        default="runs/toybox_attribute_classifier", metadata={"help": "Output directory."}
    )
    cache: str = field(default="runs/toybox_images", metadata={"help": "Drawn pairs."})
    shape: ClassifierShape = field(default_factory=ClassifierShape, metadata={"help": "Its shape."})
    schedule: Schedule = field(
        default_factory=lambda: Schedule(6000, 64), metadata={"help": "Its training."}
    )
    images: int = field(default=40_960, metadata={"help": "Pairs to train on."})
    images_seed: int = field(default=51, metadata={"help": "Seed of the pairs."})
    held_out: int = field(default=2048, metadata={"help": "Held-out pairs to measure with."})
    pairs: str | None = field(
        default=None, metadata={"help": "A set of pairs to classify; nothing is trained then."}
    )
    classifier: str = field(
        default="toybox_attribute_classifier", metadata={"help": "To classify `pairs` with."}
    )
    sheet: str | None = field(default=None, metadata={"help": "File to draw some of `pairs` to."})


def make_attribute_classifier(settings: AttributeClassifierSettings) -> None:
    """Draw, train, measure on held-out toys, save; or classify a set of pairs."""
    if settings.pairs is not None:
        found = classify_pairs(settings.pairs, load_attribute_classifier(settings.classifier))
        print(json.dumps(report(found), indent=1))
        if settings.sheet:
            draw_sheet(found, Path(settings.sheet))
        return
    shape, schedule, out = settings.shape, settings.schedule, Path(settings.out)
    claim(out / "model")
    torch.manual_seed(schedule.seed)
    model = AttributeClassifier(shape)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {settings.images:,} pairs "
        f"of {shape.image_px} px, {schedule.steps:,} steps; output in {out}",
        flush=True,
    )
    data = drawn_pairs(Path(settings.cache), settings.images, shape.image_px, settings.images_seed)

    def loss_of(step: int, generator: torch.Generator) -> torch.Tensor:
        picks = rows_of(step, schedule.batch_size, len(data), schedule.seed)
        return classifier_loss(model, data, picks, generator)

    train(model, loss_of, schedule, out, "attribute_classifier")
    unseen = drawn_pairs(
        Path(settings.cache), settings.held_out, shape.image_px, settings.images_seed, held_out=True
    )
    images, truth = pair_halves(unseen, range(len(unseen)))
    measured = classifier_accuracy(classify_toys(model, images), truth) | {"images": len(truth)}
    save_attribute_classifier(
        model,
        out / "model",
        {"schedule": asdict(schedule), "measured": measured, "command": command()},
    )
    print(f"held-out drawn toys: {figures(measured)}; saved {out / 'model'}")
    classify = ["--model", "attribute_classifier", "--classifier", out / "model"]
    print(next_commands(["byname", "tiny_model", *classify, "--pairs", "runs/pairs/toy"]))


# The program


@dataclass
class TinyModelSettings:
    """Which model."""

    model: str = field(
        metadata={"help": "policy, vision_tower, clip, diffusion or attribute_classifier."}
    )


MODELS: dict[str, tuple[Any, Sequence[type]]] = {
    "policy": (make_policy, (PolicySettings, PolicyArguments)),
    "vision_tower": (make_vision_tower, (VisionTowerSettings,)),
    "clip": (make_clip, (ClipSettings,)),
    "diffusion": (make_diffusion, (DiffusionSettings,)),
    "attribute_classifier": (make_attribute_classifier, (AttributeClassifierSettings,)),
}


def chosen(values: dict) -> Sequence[type]:
    """The settings of the model that is named."""
    name = values.get("model")
    if name not in MODELS:
        raise InputError(
            f"model must be one of {', '.join(MODELS)}, not {name!r}"
            f"{did_you_mean(str(name), MODELS)}; shipped configs are in "
            "configs/tiny_models/"
        )
    return MODELS[name][1]


def main(argv: list[str] | None = None) -> None:
    """Read the settings, make the model."""
    quiet_libraries()
    try:
        which, *settings = read_settings(
            sys.argv[1:] if argv is None else argv,
            TinyModelSettings,
            choose=chosen,
            library=(PolicyArguments,),
            program="tiny_model",
            doc=__doc__,
            listing="tiny_model --model NAME --help shows the settings of a model",
        )
        MODELS[which.model][0](*settings)
        shutdown_distributed()
    except (ValueError, OSError) as error:
        sys.exit(f"tiny_model: {error}")
    except KeyboardInterrupt:
        sys.exit("tiny_model: stopped; the same command resumes from the last checkpoint")


if __name__ == "__main__":
    main()
