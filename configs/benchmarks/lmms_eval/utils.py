"""lmms-eval looks for a task's functions beside its YAML file; they are in the package."""

from benchmarks.harness.lmms_eval import *  # noqa: F403
