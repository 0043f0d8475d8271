from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from examples.harbor.cache import MARK, Cache, Finished, Output, content_digest


class Counting:
    """A stage that writes its text and counts how often it ran."""

    def __init__(self, text: str = "made") -> None:
        self.text, self.runs = text, 0

    def __call__(self, folder: Path) -> Mapping[str, Path]:
        self.runs += 1
        (folder / "out.txt").write_text(self.text)
        return {"out": folder / "out.txt"}


def run(folder: Path, make: Counting, **given: object) -> Finished:
    return Cache(folder, say=lambda text: None).stage("stage", make, **given)  # type: ignore[arg-type]


def test_a_finished_stage_is_reused(tmp_path: Path) -> None:
    make = Counting()
    first, second = run(tmp_path, make), run(tmp_path, make)
    assert make.runs == 1
    assert (first.reused, second.reused) == (False, True)
    assert second["out"] == first["out"]
    assert second.seconds == first.seconds


def some_code() -> int:
    return 1


def other_code() -> int:
    return 2


def test_changed_inputs_settings_or_code_run_it_again(tmp_path: Path) -> None:
    make = Counting()
    source = Output(path=tmp_path, sha256="a")
    variants: list[dict[str, object]] = [
        {},
        {"inputs": {"x": source}},
        {"inputs": {"x": Output(path=tmp_path, sha256="b")}},
        {"inputs": {"y": source}},
        {"settings": {"beta": 0.1}},
        {"settings": {"beta": 0.3}},
        {"code": [some_code]},
        {"code": [other_code]},
    ]
    for variant in [*variants, *variants]:
        run(tmp_path, make, **variant)
    assert make.runs == len(variants)


def test_a_moved_input_with_the_same_content_does_not(tmp_path: Path) -> None:
    make = Counting()
    run(tmp_path, make, inputs={"x": Output(path=tmp_path / "here", sha256="a")})
    run(tmp_path, make, inputs={"x": Output(path=tmp_path / "there", sha256="a")})
    assert make.runs == 1


def test_an_interrupted_stage_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    def fail(folder: Path) -> Mapping[str, Path]:
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, say=lambda text: None).stage("stage", fail)
    make = Counting()
    done = run(tmp_path, make)
    assert make.runs == 1
    assert not (done["out"].path.parent / "half.txt").exists()


@pytest.mark.parametrize("damage", ["changed", "gone", "mark"])
def test_a_damaged_stage_runs_again(tmp_path: Path, damage: str) -> None:
    make = Counting()
    out = run(tmp_path, make)["out"].path
    if damage == "changed":
        out.write_text("other")
    elif damage == "gone":
        out.unlink()
    else:
        (out.parent / MARK).write_text('{"key"')
    assert run(tmp_path, make)["out"].path.read_text() == "made"
    assert make.runs == 2


def test_a_folders_digest_depends_on_names_and_bytes(tmp_path: Path) -> None:
    digests = set()
    for name, text in (("a", "1"), ("b", "1"), ("a", "2")):
        folder = tmp_path / f"{name}{text}"
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / name).write_text(text)
        digests.add(content_digest(folder))
    assert len(digests) == 3
