from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fairlead.config import read_config
from fairlead.data.records import Preference
from fairlead.errors import RunError
from fairlead.stages.init import init


def test_the_project_is_valid(tmp_path: Path) -> None:
    written = init(tmp_path / "new" / "project")
    assert {path.name for path in written} == {"fairlead.yaml", "pairs.jsonl", "README.md", ".gitignore"}
    config = read_config(written[0])
    lines = Path(config.data.train[0]).read_text(encoding="utf-8").splitlines()
    rows = [msgspec.json.decode(line, type=Preference, strict=True) for line in lines]
    assert len({row.id for row in rows}) == len(rows) >= 8
    assert all(row.chosen != row.rejected for row in rows)
    assert all(set(json.loads(line)) == {"id", "prompt", "chosen", "rejected"} for line in lines)


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"README\.md"):
        init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_file_in_the_way_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "project").write_text("")
    with pytest.raises(RunError, match="in the way"):
        init(tmp_path / "project")
