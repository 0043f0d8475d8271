"""Ways in which a checkpoint can be damaged, each with what is then said of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.training.checkpoint import FILES, MANIFEST, OPTIMIZER, STATE, WEIGHTS


def flip(path: Path, *, at: int, bit: int = 0) -> None:
    """Flip one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def _zero(path: Path, size: int) -> None:
    content = bytearray(path.read_bytes())
    content[-size:] = bytes(min(size, len(content)))
    path.write_bytes(content)


def _manifest(path: Path, **changes: Any) -> None:
    content = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**content, **changes}))


def _become_the_one_before(path: Path) -> None:
    before = sorted(path.parent.glob("step-*"))[-2]
    for name in (*FILES, MANIFEST):
        shutil.copy(before / name, path / name)


def _swap(path: Path) -> None:
    aside = path / "aside"
    (path / WEIGHTS).rename(aside)
    (path / OPTIMIZER).rename(path / WEIGHTS)
    aside.rename(path / OPTIMIZER)


def _replace_by_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


HALF_RENAMED = "half-renamed"

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated file": (lambda p: os.truncate(p / WEIGHTS, 100), f"{WEIGHTS} is damaged"),
    "empty file": (lambda p: os.truncate(p / OPTIMIZER, 0), f"{OPTIMIZER} is damaged"),
    "longer file": (lambda p: os.truncate(p / STATE, 100_000), f"{STATE} is damaged"),
    "one flipped bit": (lambda p: flip(p / WEIGHTS, at=-1), f"{WEIGHTS} is damaged"),
    "one flipped bit of the state": (lambda p: flip(p / STATE, at=20), f"{STATE} is damaged"),
    "zeroed bytes": (lambda p: _zero(p / WEIGHTS, 16), f"{WEIGHTS} is damaged"),
    "zeroed file": (lambda p: _zero(p / OPTIMIZER, 1 << 30), f"{OPTIMIZER} is damaged"),
    "missing file": (lambda p: (p / OPTIMIZER).unlink(), f"{OPTIMIZER} is missing"),
    "swapped files": (_swap, f"{WEIGHTS} is damaged"),
    "missing manifest": (lambda p: (p / MANIFEST).unlink(), "no manifest, so it was never finished"),
    "empty folder": (lambda p: [file.unlink() for file in p.iterdir()], "no manifest"),
    "torn manifest": (lambda p: os.truncate(p / MANIFEST, 40), "manifest cannot be read"),
    "no object in the manifest": (lambda p: (p / MANIFEST).write_text("[1]"), "manifest cannot be read"),
    "manifest of nothing": (lambda p: _manifest(p, files={}), "that of another checkpoint"),
    "wrong version": (lambda p: _manifest(p, format=99), "it has format 99, this version reads"),
    "files of another checkpoint": (_become_the_one_before, "that of another checkpoint"),
    "a file in its place": (_replace_by_a_file, "manifest cannot be read"),
    HALF_RENAMED: (lambda p: p.rename(p.with_name(f".{p.name}.partial")), ""),
}
"""What is done to the folder of the newest checkpoint, and what is said of it; one that was never renamed into place
is no checkpoint, and nothing is said of it."""
