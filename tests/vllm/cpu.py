"""What vLLM's CPU build needs before it is imported, in a process of its own."""

import os

import torch

_OPERATORS: list[torch.library.Library] = []  # an operator lives as long as its library


def prepare() -> None:
    """Let vLLM load on a CPU, and let weights be passed to it there.

    - PyPI's torchvision is built for CUDA, and does not load beside a CPU's torch unless its two
      operators are known, which nothing here calls.
    - vLLM packs the weights of a linear layer for the CPU's kernels and forgets them; TRL passes
      new ones into the parameter that is then gone. A plain linear layer keeps it.
    """
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if not _OPERATORS:
        library = torch.library.Library("torchvision", "FRAGMENT")
        boxes = "Tensor dets, Tensor scores"
        library.define(f"nms({boxes}, float iou_threshold) -> Tensor")
        library.define(f"qnms({boxes}, float iou_threshold) -> Tensor")
        _OPERATORS.append(library)

    from vllm.model_executor.layers import utils

    def plain(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain
