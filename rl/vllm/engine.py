"""TRL's vLLM engine, with the prompts, caches and log-probabilities that images need.

What TRL 1.16 does, and this one does instead:

- It gives vLLM token ids in which every image is expanded already, and vLLM expands them again.
  Here vLLM gets unexpanded ids, and the prompt that it made of them must be the trainer's, token
  for token.
- After new weights it empties vLLM's cache of prompts, but not that of image features. Here both,
  where weights that make features are trained.
- It asks for log-probabilities after barred tokens are taken out, and compares them with the
  trainer's, which are of the whole vocabulary. Here they are of the whole vocabulary on both sides.
- It names the weights of a CLIP or SigLIP tower as transformers 5 does, and vLLM knows them by the
  names before. Here it gets those.
- It leaves the precision to vLLM, which takes half of it for weights in fp32. Here it is the
  trainer's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from trl.generation import vllm_generation
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from data_gen.files.errors import InputError
from data_gen.toybox.weights import local_weights
from rl.policy.loading import trains_images
from rl.vllm.prompts import first_difference, unexpanded_ids

PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
"""Settings of the sampler under which every token is drawn by the policy's own probability."""


@contextmanager
def engine_in_trl(options: dict[str, Any]) -> Iterator[None]:
    """Context in which TRL's trainer makes an :class:`Engine` with these options."""
    grpo_trainer.VLLMGeneration = partial(Engine, options=options)  # pyright: ignore
    try:
        yield
    finally:
        grpo_trainer.VLLMGeneration = VLLMGeneration  # pyright: ignore


class Engine(VLLMGeneration):
    """TRL's ``VLLMGeneration`` with what is told above.

    Args:
        *args, **kwargs: TRL's.
        options: further arguments of vLLM's ``LLM``, before which TRL's and ours give way.

    Raises:
        InputError: a server whose log-probabilities are of another kind than the trainer's.
    """

    def __init__(self, *args, options: dict[str, Any] | None = None, **kwargs):
        self._options = options or {}
        self._unexpanded: dict[tuple[int, ...], list[int]] = {}
        super().__init__(*args, **kwargs)

    @property
    def plain(self) -> bool:
        """Whether tokens are drawn by the policy's own probabilities, only that tokens that stand
        for images are barred. Then a token's log-probability before vLLM's processing is the
        trainer's."""
        return (
            self.temperature == 1.0
            and all(getattr(self, key) in (value, None) for key, value in PLAIN.items())
            and self.structured_outputs_regex is None
            and set(self.generation_kwargs) <= {"logit_bias", "seed"}
        )

    @property
    def logprobs_mode(self) -> str:
        """vLLM's name of the log-probabilities that are comparable with the trainer's. Those before
        processing know no temperature; under another one than 1, processed ones are taken."""
        return "raw_logprobs" if self.plain else "processed_logprobs"

    def remember(self, processor, prompts: list, ids: list[list[int]], **template) -> None:
        """Note what prompts are before their images are expanded; the ones before are forgotten.

        Args:
            prompts: conversations.
            ids: what the trainer's processor made of them, images expanded.
            template: arguments of the chat template.
        """
        self._unexpanded = {}
        for prompt, expanded in zip(prompts, ids, strict=True):
            key = tuple(expanded)
            if key not in self._unexpanded:
                self._unexpanded[key] = unexpanded_ids(processor, prompt, **template)

    # Why: arguments that TRL does not know. Equal to: TRL's engine otherwise.
    def _init_vllm(self) -> None:
        theirs: Any = getattr(vllm_generation, "LLM", None)
        assert theirs is not None or self.mode == "server"
        ours = {
            "model": local_weights(str(self.model.name_or_path)),
            "dtype": str(compute_dtype(self.model, self.accelerator)).removeprefix("torch."),
            "logprobs_mode": self.logprobs_mode,
        }
        vllm_generation.LLM = lambda **given: theirs(  # pyright: ignore
            **{**given, **ours, **self._options}
        )
        try:
            super()._init_vllm()
        finally:
            vllm_generation.LLM = theirs  # pyright: ignore
        if self.mode == "server" and self.accelerator.is_main_process:
            mode = self.vllm_client.get_server_info()["model_config"]["logprobs_mode"]
            if mode != self.logprobs_mode:
                raise InputError(
                    f"the vLLM server's log-probabilities are {mode}, and those that compare with "
                    f"the trainer's are {self.logprobs_mode}: start it with --logprobs-mode "
                    f"{self.logprobs_mode}"
                )

    # Why: transformers 5 no longer has `vision_model` in the names of a CLIP or SigLIP tower, and
    # vLLM still has: LLaVA's weights could not be passed on. Equal to: TRL's names otherwise.
    def _fix_param_name_to_vllm(self, name, extra_prefixes=None):
        name = super()._fix_param_name_to_vllm(name, extra_prefixes)
        if "vision_tower." in name and "vision_model." not in name and self._old_names():
            return name.replace("vision_tower.", "vision_tower.vision_model.", 1)
        return name

    def _old_names(self) -> bool:
        towers = {"CLIPVisionModel", "SiglipVisionModel"}
        return any(type(module).__name__ in towers for module in self.model.modules())

    # Why: a server that resizes images otherwise has other features than the prompt has places for.
    # Equal to: TRL's otherwise.
    def _place_features(self, features, prompt_ids):
        placed = super()._place_features(features, prompt_ids)
        if placed is not None and features is not None:
            theirs, ours = (
                [each["length"] for each in some["mm_placeholders"]["image"]]
                for some in (features, placed)
            )
            if theirs != ours:
                raise InputError(
                    f"the vLLM server makes {theirs} tokens of the images of a prompt, and the "
                    f"trainer {ours}: start it with the sizes of the run, such as "
                    f'--mm-processor-kwargs \'{{"size": {{"longest_edge": MAX_PIXELS, '
                    f'"shortest_edge": MIN_PIXELS}}}}\''
                )
        return placed

    # Why: features of images stay in vLLM's encoder cache, and are of the old weights. Equal to:
    # TRL's where no weight that makes features is trained.
    def sync_weights(self) -> None:
        super().sync_weights()
        if not trains_images(self.model):
            return
        if self.mode == "colocate":
            self.llm.llm_engine.reset_encoder_cache()
        elif self.accelerator.is_main_process:
            client = self.vllm_client
            answer = client.session.post(f"{client.base_url}/reset_encoder_cache")
            answer.raise_for_status()

    # Why: vLLM expands images itself. Equal to: TRL's for prompts without images.
    def generate(self, prompts, images, num_generations, profiler=None):
        given = prompts
        if self.mode == "colocate" and images is not None:
            given = [
                ids if shown is None else self._unexpanded[tuple(ids)]
                for ids, shown in zip(prompts, images, strict=True)
            ]
        found = super().generate(given, images, num_generations, profiler)
        if difference := first_difference(prompts, found[0]):
            raise InputError(
                f"vLLM would sample from another prompt than the one that is trained on: "
                f"{difference}; it expands the images of this model otherwise than the processor, "
                f"so train with use_vllm false"
            )
        return found

    @contextmanager
    def sampling(self, **settings) -> Iterator[None]:
        """Context in which completions are drawn under other settings of the sampler."""
        before = {key: getattr(self, key) for key in settings}
        vars(self).update(settings)
        try:
            yield
        finally:
            vars(self).update(before)


def compute_dtype(model: nn.Module, accelerator) -> torch.dtype:
    """In which the trainer computes: of mixed precision, else of the weights."""
    mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if accelerator.mixed_precision in mixed:
        return mixed[accelerator.mixed_precision]
    return next(p.dtype for p in model.parameters() if p.is_floating_point())
