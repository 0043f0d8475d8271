"""A model of the story, and the folder of names under which their runs are found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from examples.harbor.cache import Output


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A model of the story: full weights, and the adapter on them for all but the fine-tuned one."""

    name: str
    model: Output
    adapter: Output | None = None

    @property
    def inputs(self) -> dict[str, Output]:
        return {"model": self.model} | ({} if self.adapter is None else {"adapter": self.adapter})

    @property
    def where(self) -> dict[str, str]:
        """Arguments that name the weights to a verb."""
        return {"model": str(self.model.path)} | ({} if self.adapter is None else {"adapter": str(self.adapter.path)})

    @property
    def run(self) -> Path:
        """The run directory that made it."""
        return (self.adapter or self.model).path.parent.parent


def link(policy: Policy, folder: Path) -> Path:
    """The run of a model under its name in `folder`, a relative link: what reports then call it."""
    folder.mkdir(parents=True, exist_ok=True)
    place, new = folder / policy.name, folder / f".{policy.name}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(os.path.relpath(policy.run, folder))
    new.replace(place)
    return place
