import pytest

from tests.tiny import save_tiny_policy


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory):
    return save_tiny_policy(tmp_path_factory.mktemp("benchmarks") / "policy")


@pytest.fixture(scope="session")
def policy(policy_dir):
    """A random policy whose answers depend on the question: at the usual scale of fresh weights it
    only repeats the last token."""
    from rl.policy.loading import load_policy

    model, processor = load_policy(policy_dir)
    for name, weight in model.named_parameters():
        if weight.dim() >= 2 and "layers" in name:
            weight.data.mul_(12.0)
    return model, processor


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors gain nothing from a second thread, and on busy cores waiting for it costs most
    of the time."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
