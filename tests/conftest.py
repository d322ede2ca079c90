"""Which tests are slow: they start processes or Java, or train; `make test-fast` skips them."""

import hypothesis
import pytest

from tests.places import ROOT

# How quickly a machine draws examples says nothing about the code.
hypothesis.settings.register_profile(
    "byname", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
)
hypothesis.settings.load_profile("byname")

# They need another environment: `make test-vllm`.
collect_ignore = ["vllm"]

SLOW = (
    "tests/launch/test_compare.py",
    "tests/launch/test_grpo_processes.py",
    "tests/launch/test_grpo_resume.py",
    "tests/data_gen/leaks/test_leaks.py",
    "tests/launch/test_tiny_policy.py",
    "tests/rl/test_trainer.py",
    "tests/launch/test_sft_rows.py",
    "tests/launch/test_generate_kill.py",
    "tests/test_wheel.py",
    "tests/launch/test_app.py",
    "tests/benchmarks/captions/test_coco.py",
    "tests/launch/test_evaluate_processes.py",
    "tests/launch/test_grpo_folders.py",
    "tests/rl/sharing/test_sharing.py",
    "tests/launch/tools/test_bench_data.py",
    "tests/launch/tools/test_gpu_check.py",
    "tests/launch/test_first_hour.py",
    "tests/rl/sharing/test_sharing_exact.py",
    "tests/rl/test_finite.py",
    "tests/benchmarks/captions/test_scores.py",
    "tests/data_gen/toybox/test_weights.py",
    "tests/rl/sharing/test_dropout.py",
    "tests/rl/test_families.py",
)
"""Files whose tests take more than some ten seconds together, by `pytest --durations=0`; the
longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and let them begin: processes that share the files take them in this order, and at
    the end only short ones are left."""
    order = {ROOT / name: place for place, name in enumerate(SLOW)}
    for item in items:
        if item.path in order:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: order.get(item.path, len(order)))
