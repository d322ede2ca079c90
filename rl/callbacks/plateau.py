"""Stop a training whose metric has not become better for so many evaluations."""

import math
from collections.abc import Sequence

from transformers import TrainerCallback


class StopAtPlateau(TrainerCallback):
    """Counts evaluations since the best one in the trainer's own log, which a checkpoint holds: a
    run that resumes stops where it would have stopped. (transformers' ``EarlyStoppingCallback``
    begins to count anew.)

    Args:
        metric: as ``metric_for_best_model`` names it, with or without ``eval_``.
        patience: evaluations without a better value, at least 1.
    """

    def __init__(self, metric: str, patience: int):
        self.metric, self.patience = f"eval_{metric.removeprefix('eval_')}", patience

    def on_evaluate(self, args, state, control, **_):
        values = [line[self.metric] for line in state.log_history if self.metric in line]
        if evaluations_since_best(values, self._greater(args.greater_is_better)) >= self.patience:
            control.should_training_stop = True

    def _greater(self, given: bool | None) -> bool:
        """Whether more is better: as given, or as transformers tells by the metric's name."""
        return not self.metric.endswith("loss") if given is None else given


def evaluations_since_best(values: Sequence[float | None], greater_is_better: bool) -> int:
    """How many values came after the best one; all of them where none is a number. One that is
    equal to the best is no better, and one that is no number is no better, either."""
    best, since = -math.inf, 0
    for value in values:
        number = -math.inf if value is None or math.isnan(value) else float(value)
        if not greater_is_better and number > -math.inf:
            number = -number
        best, since = (number, 0) if number > best else (best, since + 1)
    return since
