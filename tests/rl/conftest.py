import pytest

from data_gen.rows import read_rows
from tests.tiny import save_tiny_policy, save_tiny_rows


@pytest.fixture(scope="session")
def policy_path(tmp_path_factory):
    return save_tiny_policy(tmp_path_factory.mktemp("tiny") / "policy")


@pytest.fixture(scope="session")
def rows_path(tmp_path_factory):
    return save_tiny_rows(tmp_path_factory.mktemp("tiny") / "rows", n=24)


@pytest.fixture(scope="session")
def rows(rows_path):
    return read_rows(rows_path)


@pytest.fixture(scope="session")
def mixed_rows(tmp_path_factory):
    """18 rows with images, 4 without."""
    return read_rows(save_tiny_rows(tmp_path_factory.mktemp("tiny") / "mixed", 18, text_only=4))
