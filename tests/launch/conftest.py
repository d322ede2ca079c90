import pytest
import torch

from tests.tiny import save_tiny_policy, save_tiny_rows


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny policy, rows with and without pictures, and a place for runs."""
    where = tmp_path_factory.mktemp("tiny")
    return {
        "policy": save_tiny_policy(where / "policy"),
        "runs": where / "runs",
        "rows": save_tiny_rows(where / "rows", n=24, text_only=3),
    }


@pytest.fixture
def one_thread():
    """For programs that run inside the test's process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def evaluating():
    """``launch/evaluate.py`` as a module."""
    import launch.evaluate

    return launch.evaluate
