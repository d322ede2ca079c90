"""How many bytes of tensors are alive at once, counted without allocating them."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the tensors that are made within it, those on the meta device as if they were there.

    Args:
        model: whose weights are not counted.

    Attributes:
        now, peak: bytes of the tensors that are alive, and the most there were.
    """

    def __init__(self, model: torch.nn.Module | None = None):
        super().__init__()
        self.now = self.peak = 0
        weights = model.parameters() if model is not None else ()
        self._known = {weight.untyped_storage()._cdata for weight in weights}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.now)
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
