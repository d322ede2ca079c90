import pytest

from tests.tiny import save_tiny_policy, save_tiny_rows


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A tiny policy, rows with and without pictures, and a place for runs."""
    where = tmp_path_factory.mktemp("tiny")
    return {"policy": save_tiny_policy(where / "policy"), "runs": where / "runs",
            "rows": save_tiny_rows(where / "rows", n=24, text_only=3)}
