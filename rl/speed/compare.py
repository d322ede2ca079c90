"""Time stock TRL and this trainer step by step in one process, phase by phase.

Both trainers have the same weights, rows and seed, and train on the same completions: generation is
timed, and its result is then replaced by completions that were drawn beforehand. Their steps
alternate, so that other load on the machine affects both.
"""

import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainerCallback
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rl.policy.loading import LoraSettings, load_policy
from rl.policy.vision_attention import use_attention_by_length
from rl.speed.workload import Shape, rows_of_shape
from rl.trainer import PolicyTrainer, TrainerOptions

PHASES = ("images", "generation", "reference", "loss", "optimizer", "step")


@dataclass
class Measured:
    """Measurements of one trainer: seconds per phase and round, tokens, images, losses per step.

    ``peak``: bytes that a step needed on a GPU beyond what it found there, at most.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    tokens: int = 0
    images: int = 0
    losses: list[float] = field(default_factory=list)
    peak: int = 0

    def median(self, phase: str) -> float:
        """Median seconds of a phase; 0 if it did not occur."""
        return statistics.median(self.seconds[phase]) if self.seconds[phase] else 0.0


def compare(
    path: str,
    shape: Shape,
    *,
    rounds: int = 5,
    warmup: int = 2,
    seed: int = 0,
    which=("stock", "ours"),
    options: TrainerOptions | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Measured]:
    """Time ``rounds`` steps of each trainer after ``warmup`` steps; the trainers alternate.

    Args:
        path: policy directory or hub id.
        shape: of the step.
        which: the trainers to run; one alone, to measure its peak memory.
        options: of ours; by default everything is shared where it pays.
        dtype: of the weights.
    """
    runs = {name: _Run(name, path, shape, rounds + warmup, seed, options, dtype) for name in which}
    turns = _Turns(list(runs))
    threads = [threading.Thread(target=run.train, args=(turns,)) for run in runs.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for run in runs.values():
        if run.error:
            raise run.error
        for phase in run.measured.seconds:
            del run.measured.seconds[phase][:warmup]
    return {name: run.measured for name, run in runs.items()}


def now() -> float:
    """Seconds, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class _Turns(TrainerCallback):
    """Lets one trainer at a time make a step."""

    def __init__(self, names: list[str]):
        self.names, self.now, self.changed = names, 0, threading.Condition()

    def take(self, name: str) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.names[self.now] == name)

    def give(self, name: str, last: bool = False) -> None:
        with self.changed:
            place = self.names.index(name)
            following = self.names[(place + 1) % len(self.names)]
            if last:
                self.names.remove(name)
            if self.names:
                self.now = self.names.index(following) if following in self.names else 0
            self.changed.notify_all()


class _Run(TrainerCallback):
    """One trainer, with timers and counters."""

    def __init__(self, name, path, shape, steps, seed, options, dtype):
        self.name, self.measured, self.error = name, Measured(), None
        self.spent = defaultdict(float)
        model, processor = load_policy(path, dtype=dtype)
        use_attention_by_length(model)
        rows = rows_of_shape(processor, shape, shape.prompts * 2, seed)
        generator = torch.Generator().manual_seed(seed)
        words = [i for t, i in sorted(processor.tokenizer.get_vocab().items()) if t.isalpha()]
        picks = torch.randint(
            len(words), (shape.prompts * shape.G, shape.completion), generator=generator
        )
        self.drawn = [[words[i] for i in row] for row in picks.tolist()]
        size = shape.prompts * shape.G
        args = GRPOConfig(
            output_dir="runs/speed",
            per_device_train_batch_size=size,
            num_generations=shape.G,
            max_completion_length=shape.completion,
            max_steps=steps,
            learning_rate=1e-6,
            beta=shape.beta,
            gradient_checkpointing=shape.checkpointing,
            bf16=dtype == torch.bfloat16,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1,
            seed=seed,
            generation_kwargs={"min_new_tokens": shape.completion},
        )
        extra: dict[str, Any] = {}
        if shape.lora:
            extra["peft_config"] = LoraSettings(dropout=shape.dropout).config_for(model)
        cls: Any = GRPOTrainer
        if name == "ours":
            cls = PolicyTrainer
            extra["options"] = options or TrainerOptions(
                share_prompt="auto", share_vision="auto", fast_sampling=True
            )
        self.trainer = cls(
            model=model,
            reward_funcs=[alternating],
            args=args,
            train_dataset=rows,
            processing_class=processor,
            callbacks=[self],
            **extra,
        )
        self._count_work(model)
        self._time_phases()

    def train(self, turns: _Turns) -> None:
        self.turns = turns
        turns.take(self.name)
        try:
            self.trainer.train()
        except BaseException as error:  # raised again in the calling thread
            self.error = error
        turns.give(self.name, last=True)

    def on_step_begin(self, args, state, control, **kwargs):
        self.turns.take(self.name)
        self.spent = defaultdict(float)
        self.measured.tokens = self.measured.images = 0
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.held = torch.cuda.memory_allocated()
        self.started = now()

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.optimizing = now()

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.spent["optimizer"] = now() - self.optimizing

    def on_step_end(self, args, state, control, **kwargs):
        spent = self.spent
        spent["step"] = now() - self.started
        if torch.cuda.is_available():
            needed = torch.cuda.max_memory_allocated() - self.held
            self.measured.peak = max(self.measured.peak, needed)
        spent["loss"] = spent["step"] - spent.pop("prepared") - spent["optimizer"]
        for phase in PHASES:
            self.measured.seconds[phase].append(spent[phase])
        self.turns.give(self.name)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            self.measured.losses.append(logs["loss"])

    def _time_phases(self) -> None:
        """Time the methods that make up the phases; several calls in a step add up."""
        trainer = self.trainer
        self._time(trainer, "_prepare_inputs", "prepared")
        self._time(
            trainer, "_generate_single_turn", "generation", after=lambda out: (self.drawn, out[1])
        )
        self._time(
            trainer,
            "_get_per_token_logps_and_entropies",
            "reference",
            only=lambda: not torch.is_grad_enabled(),
        )
        self._time(trainer.processing_class, "_process_images", "images")

    def _time(self, owner, name: str, phase: str, after=None, only=lambda: True) -> None:
        usual = getattr(owner, name)

        def timed(*args, **kwargs):
            start = now()
            out = usual(*args, **kwargs)
            if only():
                self.spent[phase] += now() - start
            return after(out) if after else out

        setattr(owner, name, timed)

    def _count_work(self, model: Any) -> None:
        """Count tokens of whole sequences through the decoder, and images through the tower."""

        def tokens(module, args, kwargs):
            if kwargs["inputs_embeds"].size(1) > 1:  # not those sampled one by one
                self.measured.tokens += kwargs["inputs_embeds"].shape[:2].numel()

        def images(module, args, kwargs):
            self.measured.images += len(kwargs["grid_thw"])

        models: tuple[Any, ...] = (model, self.trainer.ref_model)
        for each in models:
            if each is not None:
                each.get_decoder().register_forward_pre_hook(tokens, with_kwargs=True)
                each.base_model.visual.register_forward_pre_hook(images, with_kwargs=True)


def alternating(completions, **_):
    """A reward that varies within every group."""
    return [float(i % 2) for i in range(len(completions))]
