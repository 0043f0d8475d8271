from __future__ import annotations

import gc

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fairlead.engine.metering import Meter


def test_a_storage_counts_once_until_it_is_freed() -> None:
    with Meter() as meter:
        whole = torch.zeros(1000)
        view = whole.view(10, 100).T
        assert (meter.live, meter.peak) == (4000, 4000)
        other = whole + 1
        assert meter.live == 8000
        del whole
        assert meter.live == 8000, "a view keeps it"
        del view, other
    gc.collect()
    assert (meter.live, meter.peak) == (0, 8000)


def test_what_is_written_in_place_takes_nothing() -> None:
    with Meter() as meter:
        whole = torch.zeros(1000)
        whole += 1
        whole[:10].mul_(2)
    assert meter.peak == 4000


def test_what_rests_does_not_count() -> None:
    weight = torch.nn.Parameter(torch.ones(64, 32))
    with Meter([weight]) as meter:
        inputs = torch.ones(8, 32)
        product = inputs @ weight.T
        assert meter.live == 4 * 8 * (32 + 64)
        product.sum().backward()
    assert meter.flops == 2 * 8 * 32 * 64 * 2, "the product, and its derivative by the weight"


def test_the_peak_is_taken_anew() -> None:
    with Meter() as meter:
        kept = torch.zeros(100)
        _ = torch.zeros(1000)
        assert meter.restart_peak() == 4400
        assert meter.restart_peak() in (400, 4400)
        del kept


def test_tensors_without_values_count_alike() -> None:
    def work() -> tuple[int, int]:
        weight = torch.nn.Parameter(torch.ones(50, 40))
        with Meter([weight]) as meter:
            torch.softmax(torch.ones(30, 40) @ weight.T, dim=-1).square().sum().backward()
        return meter.peak, meter.flops

    real = work()
    with FakeTensorMode():
        assert work() == real
