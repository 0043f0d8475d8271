"""The folders of a sweep: its own, which is gone on with after a kill, and those of its points, kept where they fit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairlead.config import Config
from fairlead.errors import RunError
from fairlead.identity import digest, digest_file
from fairlead.models.sources import locate
from fairlead.runs.artifact import hashes
from fairlead.runs.atomic import write_json
from fairlead.runs.directory import Input, RunDirectory
from fairlead.stages.resuming import FREE_TO_CHANGE

POINTS = "points"
MADE_FOR = "made_for.json"

Part = Literal["train", "eval", "judge", "prompting"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folder of one point. What each run in it was made for is written down before the run is begun, as a digest
    of all that its result depends on."""

    folder: Path

    def run(self, part: Part) -> Path:
        """Where a run of the point lies."""
        return self.folder / part

    def is_kept(self, part: Part, key: str) -> bool:
        """Whether the run is there, complete, unchanged, and made for the same."""
        if self._made_for().get(part) != key or not (self.run(part) / "run.json").is_file():
            return False
        run = RunDirectory.open(self.run(part))
        return run.is_complete() and not run.verify()

    def begin(self, part: Part, key: str) -> bool:
        """Make ready for the run, and say whether one made for the same was broken off; any other one is removed."""
        made_for, place = self._made_for(), self.run(part)
        if made_for.get(part) == key and (place / "run.json").is_file() and not RunDirectory.open(place).is_complete():
            return True
        if place.exists():
            shutil.rmtree(place)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / MADE_FOR, {**made_for, part: key})
        return False

    def _made_for(self) -> dict[str, str]:
        try:
            content = json.loads((self.folder / MADE_FOR).read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def open_sweep(
    out: Path,
    *,
    config: Mapping[str, Any],
    user_set: Sequence[str],
    inputs: Sequence[Input],
    seed: int,
    config_path: Path | None,
) -> RunDirectory:
    """The new run of a sweep, or the unfinished one in the folder, whose record becomes that of what is asked now.

    Raises RunError as `check_free`.
    """
    check_free(out)

    def create(folder: Path) -> RunDirectory:
        return RunDirectory.create(
            folder, stage="sweep", config=config, user_set=user_set, inputs=inputs, seed=seed, config_path=config_path
        )

    if not (out / "run.json").is_file():
        return create(out)
    aside = out.with_name(f".{out.name}.part")  # beside it, so that relative paths are the same
    shutil.rmtree(aside, ignore_errors=True)
    create(aside)
    for name in ("config.json", "inputs.json", "run.json"):
        os.replace(aside / name, out / name)
    shutil.rmtree(aside)
    return RunDirectory.open(out)


def check_free(out: Path) -> None:
    """Raises RunError where the folder holds something else than a sweep that was broken off."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "run.json").is_file():
        begun = {"checkpoints", "artifacts", "config.json", "inputs.json"}
        if out.is_dir() and {each.name for each in out.iterdir() if each.suffix != ".part"} <= begun:
            return  # what is left of one that was killed as it began
        raise RunError(f"{out}: there is something of that name already. Choose another folder (--out), or remove it.")
    run = RunDirectory.open(out)
    if run.stage != "sweep":
        raise RunError(f"{out}: this is a run of `{run.stage}`. Choose another folder (--out).")
    if run.is_complete():
        raise RunError(
            f"{out}: this sweep is complete, and cannot be changed. See it with `fairlead report {out}`, or choose "
            "another folder (--out)."
        )


def training_key(config: Config, rows: Mapping[str, str], start: str) -> str:
    """Digest of all that a training run's result depends on: settings, the content of its rows, what it starts from.

    rows: sha256 of each file. Where things lie, and how much is kept, does not matter.
    """
    dumped = config.model_dump(mode="json")
    settings = {
        name: {key: value for key, value in section.items() if f"{name}.{key}" not in FREE_TO_CHANGE}
        if isinstance(section, dict)
        else section
        for name, section in dumped.items()
    }
    template = config.model.chat_template
    return digest(
        {
            "settings": settings,
            "train": [rows[path] for path in config.data.train],
            "eval": [rows[path] for path in config.data.eval],
            "start": start,
            "template": digest_file(template) if template and Path(template).is_file() else template,
        }
    )


def identity_of(path: str, adapter: str | None = None) -> str:
    """What stands for the weights of a model that is not loaded: a digest of its files, or the hub id."""
    source = locate(path, adapter=adapter)
    base = Path(source.base)
    weights = source.base if source.kind == "hub" else digest_file(base) if base.is_file() else digest(hashes(base))
    return digest([weights, *(digest(hashes(Path(each.path))) for each in source.adapters)])
