from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.project import Project
from tests.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def project(tmp_path: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> Project:
    shutil.copytree(tiny, tmp_path / "model")
    made = Project(tmp_path, capsys)
    made.configure(adapter={"r": 2})
    return made
