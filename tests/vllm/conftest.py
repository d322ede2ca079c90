"""Not part of `make test`: vLLM has an environment of its own (`make test-vllm`)."""

from importlib.util import find_spec

if find_spec("vllm"):  # before anything imports it, torchvision or TRL
    from tests.vllm.cpu import prepare

    prepare()
