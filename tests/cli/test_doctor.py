"""`fairlead doctor`: what it prints, and how it ends."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from fairlead.stages.doctor import Examination, Extra, Gpu, Speed
from tests.cli.calling import call


def examination(**changes: Any) -> Examination:
    found: dict[str, Any] = {
        "python": "3.12.1",
        "packages": {"torch": "2.13.0", "peft": "0.21.2"},
        "extras": (
            Extra(name="quant", purpose="4 bits", is_installed=False, command="pip install 'fairlead[quant]'"),
            Extra(name="dev", purpose="tests", is_installed=True, command="pip install 'fairlead[dev]'"),
        ),
        "processor": "a processor",
        "cores": 8,
        "threads": 4,
        "features": ("avx2",),
        "memory": 16_000_000_000,
        "memory_free": 9_000_000_000,
        "disk_free": None,
        "gpus": (Gpu(name="a card", memory=24_000_000_000, free=20_000_000_000, has_bf16=True),),
        "speed": Speed(device="cuda", bf16=60_000.0, fp32=20_000.0, auto="bf16"),
        "faults": (),
        "notes": ("something worth knowing",),
    }
    return Examination(**(found | changes))


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put_stage(found: Examination) -> None:
        monkeypatch.setitem(sys.modules, "fairlead.stages.doctor", SimpleNamespace(doctor=lambda _: found))

    return put_stage


def test_what_is_printed(put: Any, capsys: pytest.CaptureFixture[str]) -> None:
    put(examination())
    assert call("doctor") == 0
    out = capsys.readouterr().out
    for words in (
        "a processor, 8 cores, 4 threads used",
        "16.0 GB, 9.0 GB free",
        "disk       unknown free",
        "a card, 24.0 GB, 20.0 GB free",
        "bfloat16 60,000 and float32 20,000 GFLOP/s on cuda: 3 times; precision: auto takes bf16",
        "quant  pip install 'fairlead[quant]'  (4 bits)",
        "dev    installed  (tests)",
        "note: something worth knowing",
    ):
        assert words in out, words


def test_what_is_missing_ends_with_3(put: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fault = "peft is missing: pip install 'peft>=0.18'"
    put(examination(packages={"torch": "2.13.0", "peft": None}, speed=None, threads=None, faults=(fault,)))
    assert call("doctor") == 3
    out, err = capsys.readouterr()
    assert "peft   missing" in out
    assert err.endswith(f"fairlead: {fault}.\n")
    assert call("doctor", "--json") == 3
    assert json.loads(capsys.readouterr().out)["faults"] == [fault]
