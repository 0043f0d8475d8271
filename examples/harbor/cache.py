"""Stages cached by content: a stage runs again only when its inputs, its settings or its code have changed."""

from __future__ import annotations

import inspect
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from fairlead.identity import digest, digest_file
from fairlead.runs.atomic import disk_errors, write_json

MARK = "stage.json"
"""Written last into a stage's folder: a folder without it is a stage that has not finished."""

Make = Callable[[Path], Mapping[str, Path]]
"""Does the work in a new folder and returns its outputs, files or folders inside it, by name."""


@dataclass(frozen=True, kw_only=True)
class Output:
    """A file or folder that a finished stage left, and the sha256 of its content."""

    path: Path
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished stage: what it made, how long it took when it ran, and whether it ran now."""

    name: str
    outputs: Mapping[str, Output]
    seconds: float
    reused: bool

    def __getitem__(self, output: str) -> Output:
        return self.outputs[output]


class Cache:
    """Finished stages in a folder, one sub-folder for each (name, key)."""

    def __init__(self, folder: Path, *, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.finished: list[Finished] = []
        self._say = say

    def stage(
        self,
        name: str,
        make: Make,
        *,
        inputs: Mapping[str, Output] | None = None,
        settings: Mapping[str, Any] | None = None,
        code: Sequence[ModuleType | Callable[..., Any]] = (),
    ) -> Finished:
        """The stage's outputs, made by `make` unless an earlier run left them whole.

        The key is the sha256 of the name, the digests of `inputs`, `settings` (JSON), the source of `code` and the
        version of Fairlead. `make` gets a new folder; whatever it leaves there without finishing is removed next time.
        """
        key = digest(
            {
                "name": name,
                "inputs": {input_name: output.sha256 for input_name, output in (inputs or {}).items()},
                "settings": dict(settings or {}),
                "code": [digest(inspect.getsource(part)) for part in code],
                "fairlead": version("fairlead"),
            }
        )
        folder = self.folder / f"{name}-{key[:12]}"
        done = self._reuse(name, key, folder)
        if done is None:
            self._say(f"[dim]{name} …[/dim]")
            done = self._run(name, key, folder, make)
        self._say(f"[bold]{name}[/bold]: {'reused, took' if done.reused else 'done in'} {done.seconds:.0f} s")
        self.finished.append(done)
        return done

    def _reuse(self, name: str, key: str, folder: Path) -> Finished | None:
        """The stage as an earlier run left it, None where it did not finish or where its outputs have changed since."""
        try:
            mark = json.loads((folder / MARK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if mark["key"] != key:
            return None
        outputs = {}
        for output, entry in mark["outputs"].items():
            path = folder / entry["path"]
            if not path.exists() or content_digest(path) != entry["sha256"]:
                return None
            outputs[output] = Output(path=path, sha256=entry["sha256"])
        return Finished(name=name, outputs=outputs, seconds=mark["seconds"], reused=True)

    def _run(self, name: str, key: str, folder: Path, make: Make) -> Finished:
        with disk_errors(folder):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        start = time.monotonic()
        made = make(folder)
        seconds = time.monotonic() - start
        outputs = {output: Output(path=path, sha256=content_digest(path)) for output, path in made.items()}
        entries = {
            output: {"path": str(found.path.relative_to(folder)), "sha256": found.sha256}
            for output, found in outputs.items()
        }
        write_json(folder / MARK, {"name": name, "key": key, "seconds": seconds, "outputs": entries})
        return Finished(name=name, outputs=outputs, seconds=seconds, reused=False)


def content_digest(path: Path) -> str:
    """sha256 of a file's bytes, or of the names and bytes of every file under a folder."""
    if path.is_file():
        return digest_file(path)
    return digest(
        {str(file.relative_to(path)): digest_file(file) for file in sorted(path.rglob("*")) if file.is_file()}
    )
