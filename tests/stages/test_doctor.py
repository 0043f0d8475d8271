from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from fairlead.stages import doctor as stage
from fairlead.stages.doctor import doctor


def test_this_machine_can_do_what_the_tests_do(tmp_path: Path) -> None:
    found = doctor(tmp_path)
    assert found.faults == ()
    assert found.packages["torch"] == metadata.version("torch")
    assert all(found.packages.values())
    assert {extra.name for extra in found.extras} >= {"quant", "dev"}
    assert all(extra.purpose for extra in found.extras), "each optional part says what it is for"
    assert found.memory is not None
    assert found.disk_free is not None
    assert found.threads is not None
    assert found.speed is not None
    assert found.speed.bf16 > 0
    assert found.speed.ratio == found.speed.bf16 / found.speed.fp32
    assert found.speed.auto in ("bf16", "fp32")


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_computing", lambda: (1, (), None, []))
    assert doctor(tmp_path / "nowhere").disk_free is None


def test_packages_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stage._version
    monkeypatch.setattr(stage, "_version", lambda name: {"torch": None, "peft": "0.9.1"}.get(name, real(name)))
    found = doctor()
    assert [fault.split(":")[0] for fault in found.faults] == ["peft 0.9.1 is too old", "torch is missing"]
    assert found.speed is None
    assert found.threads is None


def test_a_package_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str) -> None:
        if name == "tokenizers":
            raise ImportError("undefined symbol: _ZN5torch")

    monkeypatch.setattr(stage, "import_module", load)
    found = doctor()
    assert found.faults == ("tokenizers cannot be imported (undefined symbol: _ZN5torch): install it anew",)
    assert found.speed is None


def test_the_slower_choice_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = stage.Speed(device="cpu", bf16=10.0, fp32=100.0, auto="bf16")
    monkeypatch.setattr(stage, "_speed", lambda _: slow)
    assert any("precision: auto takes bf16, but fp32 was faster" in note for note in doctor().notes)


@pytest.mark.parametrize(
    ("text", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("5.23.0.dev0", (5, 23, 0)), ("3", (3,)), ("", ())]
)
def test_numbers_of_a_version(text: str, numbers: tuple[int, ...]) -> None:
    assert stage._numbers(text) == numbers
