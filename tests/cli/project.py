"""A project in which `fairlead train` works, until a test breaks one thing in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.calling import call
from tests.training.small import make_config


@dataclass(frozen=True)
class Project:
    """A folder in which `fairlead train fairlead.yaml` works; a test then breaks one thing."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def config(self) -> Path:
        return self.folder / "fairlead.yaml"

    def configure(self, loss: Any = "dpo", **settings: Any) -> None:
        """Write fairlead.yaml, and the rows of the loss's kind."""
        config = make_config(self.folder, self.model, loss, **settings)
        self.config.write_text(yaml.safe_dump(config.model_dump(mode="json")))

    def fail(self, *options: str, code: int = 2, lines: int = 1) -> str:
        """Train; gives the message that it fails with, which must be the last thing said."""
        assert call("train", self.config, *options) == code
        out, err = self.capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert "Warning" not in err
        message = err[err.rindex("fairlead: ") :].strip()
        assert len(message.splitlines()) == lines
        assert message.endswith((".", "?", ")")), "whole sentences"
        assert not list(self.folder.glob("runs/*/manifest.json"))
        assert not list(self.folder.glob("runs/*/artifacts/*/*.safetensors"))
        assert not list(self.folder.rglob("*.partial"))
        return message
