"""Stop a training at its first number that is not finite: a loss, a gradient or a weight.

Without this, transformers logs the mean of the other losses in place of a NaN, and trains on: every
weight is NaN one step later, and the finite checkpoints are pruned for the broken ones.
"""

from typing import Any

import torch
from transformers import TrainerCallback

from data_gen.files.errors import InputError
from rl.policy.loading import first_broken

_NO_PROBABILITIES = "probability tensor contains"
"""What ``torch.multinomial`` says of them."""

_Trainer: Any = object  # for type checkers: what the Trainer brings


class NotFiniteError(InputError):
    """A number is not finite. The message says which, at which step, and what came before."""


class FiniteMixin(_Trainer):
    """Stands before a transformers ``Trainer`` among a trainer's base classes.

    Loss and gradient are checked before the optimizer steps, weights before a checkpoint is saved:
    weights and checkpoints stay as they were before the step. All processes stop together.

    Raises:
        NotFiniteError: from ``train``, at the first number that is not finite.
        InputError: from ``train``, where completions cannot be sampled because of such.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._losses: list[torch.Tensor] = []
        self.add_callback(_Watch(self))

    # Why: transformers hides losses that are not finite. Equal to: its own.
    def training_step(self, model, inputs, num_items_in_batch=None):
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except (FloatingPointError, RuntimeError) as error:
            # Weights that are too large, not yet infinite: nothing can be sampled with them. It may
            # be so in this process only: the others are not waited for.
            if not isinstance(error, FloatingPointError) and _NO_PROBABILITIES not in str(error):
                raise
            raise InputError(
                f"step {self.state.global_step + 1}: the policy's scores are not finite; try a "
                f"lower --learning_rate under another --name"
            ) from None
        self._losses.append(loss.detach())
        return loss

    def came_before(self) -> str:
        """What the losses of this step were computed from, for the message."""
        return ""

    def check_policy(self) -> None:
        """Refuse to train a policy whose weights are not finite."""
        self._refuse(first_broken(self.model.named_parameters()), "the policy's weight", 0)

    def check_step(self) -> None:
        """Before the optimizer steps: losses and gradients."""
        losses, self._losses = self._losses, []
        broken = [loss.item() for loss in losses if not torch.isfinite(loss).all()]
        step = self.state.global_step + 1
        self._refuse(f"{broken[0]}" if broken else None, "the loss is", step)
        if getattr(self.accelerator, "scaler", None) is None:  # else fp16 skips such a step itself
            gradients = ((n, p.grad) for n, p in self.model.named_parameters())
            self._refuse(first_broken(gradients), "the gradient of", step)

    def check_weights(self) -> None:
        """After the optimizer has stepped: the weights that it has changed."""
        trained = ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)
        self._refuse(first_broken(trained), "the weight", self.state.global_step)

    def _refuse(self, broken: str | None, what: str, step: int) -> None:
        count = torch.tensor(float(broken is not None), device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            count = self.accelerator.reduce(count, reduction="sum")
        if not count.item():
            return
        broken = broken if broken is not None else "(of another process)"
        ending = "" if what.endswith("is") else " is not finite"
        before = self.came_before() if step else ""
        where = f"step {step}: " if step else ""
        raise NotFiniteError(f"{where}{what} {broken}{ending}" + (f"; {before}" if before else ""))


class _Watch(TrainerCallback):
    """Calls the checks of a trainer at their time."""

    def __init__(self, trainer: FiniteMixin):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **_):
        self.trainer.check_policy()

    def on_pre_optimizer_step(self, args, state, control, **_):
        self.trainer.check_step()

    def on_step_end(self, args, state, control, **_):
        self.trainer.check_weights()
