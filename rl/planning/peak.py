"""Count the bytes of tensors that are alive, and the most that there were at once."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """While it is entered, counts storages that operators make, until they are freed.

    Real tensors and fake ones (``FakeTensorMode``) count alike, on any device; what an operator
    uses inside itself does not count.

    Args:
        known: tensors that were there before, such as weights: they do not count.

    Attributes:
        now: bytes alive.
        peak: the most of them at once.
    """

    def __init__(self, known: Iterable[torch.Tensor] = ()):
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}
        self._known = [tensor.untyped_storage() for tensor in known]
        for storage in self._known:
            self._alive[storage._cdata] = weakref.ref(storage)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return

        def freed(_: Any) -> None:
            self.now -= size
            self._alive.pop(key, None)

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)
