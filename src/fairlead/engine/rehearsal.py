"""How large the heap grows: a training step on tensors without values, whose blocks are taken from the real allocator.

The C library's heap does not give every freed block back: small objects that outlive a pass lie between large tensors,
and holes do not always fit what comes next. What a process takes on a CPU is therefore more than its tensors, by as
much as half. How much depends on sizes and order, so it is not put into a factor: blocks of the same sizes are taken
and given back in the same order, between the same small objects, and never touched, so that they cost no memory.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from fairlead.engine.attention import UnsupportedAttention, causal_of
from fairlead.engine.groups import PromptGroup
from fairlead.engine.memory import UNTRACEABLE, outlined_batch, scores_of
from fairlead.engine.metering import Meter
from fairlead.engine.scoring import Scorer
from fairlead.models.outline import filled
from fairlead.models.quiet import quiet

STEPS = 2
"""Steps that are rehearsed: the second finds the optimizer's state where the first left its holes."""
ALIGNMENT, HUGE = 64, 2**21
"""What PyTorch aligns the tensors of a CPU to; those of at least so many bytes to the second, where it is to use huge
pages."""
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """The most bytes of tensors alive at once, weights apart, and the most by which the heap grew for them."""

    live: int
    heap: int

    @property
    def gaps(self) -> float:
        """What the heap takes beyond the tensors in it, as a share of these."""
        return max(0.0, self.heap / self.live - 1) if self.live else 0.0


def rehearse(
    model: Any,
    batches: Sequence[Sequence[PromptGroup]],
    *,
    compute: torch.dtype,
    engine: str = "auto",
    which: Sequence[int] | None = None,
    columns: frozenset[str] = frozenset(),
    checkpointing: bool = False,
) -> Rehearsed | None:
    """Steps of these micro-batches, with gradients and optimizer; arguments as for `measure_pass`.

    None where the C library is not glibc, or where the model family cannot be run without values. In a process whose
    heap has been large before, what is measured is by how much more it grows.
    """
    heap = _Heap.here()
    if heap is None:
        return None
    if checkpointing:
        causal_of(model).activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    for packed in {"auto": (True, False), "packed": (True,), "padded": (False,)}[engine]:
        try:
            with FakeTensorMode(), quiet():
                filled(model, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"))
                scorer = Scorer(model=model, packed=packed, compute=compute)
                with _HeapMeter(heap, [*model.parameters(), *model.buffers()]) as meter:
                    _take_steps(scorer, batches, which, columns)
            return Rehearsed(live=meter.peak, heap=meter.most)
        except (UnsupportedAttention, TypeError):
            continue
        except (*UNTRACEABLE, MemoryError):
            break
    return None


def _take_steps(
    scorer: Scorer,
    batches: Sequence[Sequence[PromptGroup]],
    which: Sequence[int] | None,
    columns: frozenset[str],
) -> None:
    trained = [each for each in scorer.model.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        with scorer.attention():
            for groups in batches:
                batch = outlined_batch(scorer.batch(groups, which))
                scores_of(scorer, batch, columns).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


class _Heap:
    """The allocator of glibc, by way of the functions that PyTorch itself calls."""

    def __init__(self, library: Any) -> None:
        self._library = library
        library.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
        library.free.argtypes = [ctypes.c_void_p]
        library.sbrk.argtypes, library.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
        self._start = self._end()
        self._mapped: dict[int, int] = {}
        self._mapped_bytes = 0

    @classmethod
    def here(cls) -> _Heap | None:
        """The heap of this process; None where it is not glibc's."""
        try:
            library = ctypes.CDLL(None)
            assert library.gnu_get_libc_version
            return cls(library)
        except (OSError, AttributeError, TypeError):
            return None

    @property
    def grown(self) -> int:
        """Bytes by which the heap has grown, with the large blocks that lie outside of it."""
        return self._end() - self._start + self._mapped_bytes

    def take(self, size: int) -> int:
        """The address of a new block, which is not touched. Raises MemoryError where there is none of that size."""
        place = ctypes.c_void_p()
        alignment = HUGE if size >= HUGE and os.environ.get(HUGE_PAGES) == "1" else ALIGNMENT
        if self._library.posix_memalign(ctypes.byref(place), alignment, max(1, size)) != 0 or not place.value:
            raise MemoryError
        if place.value > self._end():
            self._mapped[place.value] = size
            self._mapped_bytes += size
        return place.value

    def give_back(self, address: int) -> None:
        """Free a block."""
        self._mapped_bytes -= self._mapped.pop(address, 0)
        self._library.free(address)

    def _end(self) -> int:
        return int(self._library.sbrk(0))


class _HeapMeter(Meter):  # type: ignore[no-untyped-call]
    """A meter that also takes a block for every storage, and remembers how far the heap grew (`most`)."""

    def __init__(self, heap: _Heap, resting: Iterable[Tensor]) -> None:
        super().__init__(resting)
        self._heap = heap
        self.most = 0

    def _hold(self, storage: torch.UntypedStorage, size: int) -> None:
        address = self._heap.take(size)
        self.most = max(self.most, self._heap.grown)
        weakref.finalize(storage, self._let_go, size, address).atexit = False

    def _let_go(self, size: int, address: int) -> None:
        self._give_back(size)
        self._heap.give_back(address)
