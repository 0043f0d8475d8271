from __future__ import annotations

import shutil
from pathlib import Path

from fairlead.runs.directory import Input, RunDirectory
from fairlead.runs.lineage import lineage


def create(path: Path, *parents: Path) -> RunDirectory:
    inputs = [Input(path=str(parent / "artifacts"), sha256="0" * 64, parent_run=str(parent)) for parent in parents]
    return RunDirectory.create(path, stage="train", config={}, inputs=inputs, seed=0)


def test_a_root_has_no_ancestors(tmp_path: Path) -> None:
    assert lineage(create(tmp_path / "root")) == []


def test_ancestors_come_nearest_first_and_once_each(tmp_path: Path) -> None:
    root = create(tmp_path / "root").path
    left, right = create(tmp_path / "left", root).path, create(tmp_path / "right", root).path
    child = create(tmp_path / "child", left, right)
    found = lineage(child)
    assert [(ancestor.path.name, ancestor.depth, ancestor.child.name) for ancestor in found] == [
        ("left", 1, "child"),
        ("right", 1, "child"),
        ("root", 2, "left"),
    ]
    assert all(ancestor.run is not None for ancestor in found)


def test_a_parent_that_is_gone_is_named_all_the_same(tmp_path: Path) -> None:
    parent = create(tmp_path / "parent").path
    child = create(tmp_path / "child", parent)
    shutil.rmtree(parent)
    (ancestor,) = lineage(child)
    assert ancestor.path.name == "parent"
    assert ancestor.run is None


def test_runs_that_name_each_other_do_not_go_on_for_ever(tmp_path: Path) -> None:
    one = create(tmp_path / "one", tmp_path / "two")
    create(tmp_path / "two", tmp_path / "one")
    assert [ancestor.path.name for ancestor in lineage(one)] == ["two"]
