from __future__ import annotations

import pytest

from fairlead.errors import ConfigError
from fairlead.stages import machines
from fairlead.stages.machines import GIB, GPUS, available_memory, find_gpu, own_memory, usable


@pytest.mark.parametrize("name", ["RTX 4090", "rtx_4090", "rtx-4090"])
def test_a_gpu_is_found_however_it_is_written(name: str) -> None:
    machine = find_gpu(name)
    assert (machine.name, machine.kind, machine.gpu) == ("rtx-4090", "cuda", GPUS["rtx-4090"])
    assert machine.capacity == usable(24 * GIB) < 23 * GIB


def test_an_unknown_gpu_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"--gpu: 'h10O' is not known. Did you mean h100\? Known are a10, "):
        find_gpu("h10O")


def test_memory_is_left_for_driver_and_blocks() -> None:
    assert usable(0) == 0
    assert usable(21 * GIB) == 19 * GIB


def test_what_this_machine_has() -> None:
    available = available_memory()
    assert available is not None
    assert available > 100 << 20
    assert own_memory() > 10 << 20


def test_the_limit_of_a_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "_free_by_kernel", lambda: 8 * GIB)
    monkeypatch.setattr(machines, "_free_by_group", lambda: 3 * GIB)
    assert available_memory() == 3 * GIB
    monkeypatch.setattr(machines, "_free_by_group", lambda: None)
    assert available_memory() == 8 * GIB
    monkeypatch.setattr(machines, "_free_by_kernel", lambda: None)
    assert available_memory() is None
