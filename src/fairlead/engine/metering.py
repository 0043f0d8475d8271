"""What a computation takes, counted while it runs: bytes of tensors alive, floating-point operations.

On tensors without values (PyTorch's fake tensors) nothing is computed and nothing allocated, and the counts are those
of the real computation: how planning measures this very engine before any weights are loaded.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

_aten = torch.ops.aten


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, counts the bytes of every tensor made (`live`, and its `peak`) and the operations of products.

    A storage counts once, whatever views it has, from its first tensor until it is freed; `resting` tensors (weights,
    gradients that are there already) do not count. Memory that a kernel takes and gives back within one operation is
    not seen.
    """

    def __init__(self, resting: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = self.flops = 0
        self._known = WeakIdKeyDictionary()
        self._scalars = WeakIdKeyDictionary()
        for tensor in resting:
            self._known[tensor.untyped_storage()] = None

    def restart_peak(self) -> int:
        """The peak since the last call; from here on it is taken anew."""
        peak, self.peak = self.peak, self.live
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is _aten._local_scalar_dense.default and args[0] in self._scalars:
            return self._scalars[args[0]]
        out = func(*args, **kwargs)
        if func is _aten.full.default and out.numel() == 1:
            self._scalars[out] = args[1]  # read back by models that tell their attention a window this way
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **kwargs, out_val=out)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._take(leaf.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        self._hold(storage, size)

    def _hold(self, storage: torch.UntypedStorage, size: int) -> None:
        """What else is due while a storage is alive."""
        weakref.finalize(storage, self._give_back, size).atexit = False

    def _give_back(self, size: int) -> None:
        self.live -= size
