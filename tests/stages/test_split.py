"""Splitting files: what is written, that the proof is a real check, and what moves when rows are added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.data.reading import read
from fairlead.data.split import Split, prompt_key
from fairlead.errors import ConfigError, DataError
from fairlead.identity import digest_file
from fairlead.stages import split as stage
from fairlead.stages.split import split_files
from tests.data.samples import Json, assistant, lines, user


def row(number: int, variant: int = 0, segment: str | None = None) -> Json:
    """A pair; variants of a number have prompts that are near-duplicates."""
    words = [f"w{number}x{place}" for place in range(16)]
    words[15] += f"v{variant}" if variant else ""
    found: Json = {
        "id": f"{number}-{variant}",
        "prompt": [user(" ".join(words))],
        "chosen": [assistant(f"yes, {number} {variant}")],
        "rejected": [assistant(f"no, {number} {variant}")],
    }
    return found if segment is None else found | {"segment": segment}


def write_rows(folder: Path, *rows: Json, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_bytes(lines(*rows))
    return path


ROWS = [row(number, variant, f"s{number % 3}") for number in range(120) for variant in range(2)]


def test_both_sides_the_manifest_and_the_proof(tmp_path: Path) -> None:
    path = write_rows(tmp_path, *ROWS, ROWS[0] | {"id": "bad", "chosen": []})
    report = split_files(path, to=tmp_path / "out" / "split", fraction=0.2)
    folder = tmp_path / "out" / "split"
    train, held_out = read(folder / "train.jsonl").rows, read(folder / "held_out.jsonl").rows
    assert {row.id for row in (*train, *held_out)} == {row["id"] for row in ROWS}
    assert (len(train), len(held_out)) == (report.train.rows, report.held_out.rows)
    assert (report.prompts, report.clusters, report.largest_cluster) == (240, 120, 2)
    assert report.train.prompts + report.held_out.prompts == 240
    assert report.train.sha256 == digest_file(folder / "train.jsonl")
    assert (report.proof.exact_prompts, report.proof.near_prompts, report.proof.exact_answers) == (0, 0, 0)
    assert report.moved is None
    assert report.ledger["quarantined"] == 1
    assert sum(counts["held_out"] for counts in report.segments.values()) == report.held_out.rows
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["format"] == 1
    assert manifest["sources"] == {str(path): {"sha256": digest_file(path), "rows": 241}}
    assert manifest["settings"]["near_duplicates"] is True
    assert manifest["held_out"]["sha256"] == digest_file(folder / "held_out.jsonl")
    assert manifest["proof"]["near_prompts"] == 0
    assert "to" not in manifest


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    path = write_rows(tmp_path, *ROWS)
    made = []
    for name in ("one", "other"):
        split_files(path, to=tmp_path / name, stratify=True)
        made.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert made[0] == made[1]
    assert set(made[0]) == {"train.jsonl", "held_out.jsonl", "manifest.json"}


def test_exact_only_counts_near_matches_and_lets_them_be(tmp_path: Path) -> None:
    report = split_files(write_rows(tmp_path, *ROWS), to=tmp_path / "split", fraction=0.3, near_duplicates=False)
    assert report.clusters == report.prompts == 240
    assert report.proof.exact_prompts == 0
    assert report.proof.near_prompts > 20


def test_the_proof_fails_where_a_near_duplicate_crosses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof compares the sides: it does not trust how they were made."""
    path = write_rows(tmp_path, *ROWS)
    rows = read(path).rows

    def torn(*_: Any, **__: Any) -> Split[Any]:
        return Split(train=rows[1:], held_out=rows[:1], prompts=240, clusters=120, largest_cluster=2)

    monkeypatch.setattr(stage, "split", torn)
    with pytest.raises(DataError, match=r"1 held-out prompts have .*; the first is 0-0, like 0-1\. .*--seed"):
        split_files(path, to=tmp_path / "split")
    assert not (tmp_path / "split").exists()


def test_what_moved_when_rows_were_added_is_counted(tmp_path: Path) -> None:
    to = tmp_path / "split"
    split_files(write_rows(tmp_path, *ROWS), to=to, fraction=0.3)
    before = {prompt_key(row): name for name in ("train", "held_out") for row in read(to / f"{name}.jsonl").rows}
    others = [row(number) for number in range(500, 600)]
    report = split_files(write_rows(tmp_path, *ROWS, *others), to=to, fraction=0.3)
    assert report.moved is not None
    assert (report.moved.prompts, report.moved.to_train, report.moved.to_held_out) == (240, 0, 0)
    variants = [row(number, 7) for number in range(120)]
    report = split_files(write_rows(tmp_path, *ROWS[:200], *variants), to=to, fraction=0.3)
    after = {prompt_key(row): name for name in ("train", "held_out") for row in read(to / f"{name}.jsonl").rows}
    gone = [after[key] for key, name in before.items() if key in after and after[key] != name]
    assert gone
    assert report.moved.prompts == 200
    assert (report.moved.to_train, report.moved.to_held_out) == (gone.count("train"), gone.count("held_out"))


def test_whole_segments(tmp_path: Path) -> None:
    path = write_rows(tmp_path, *ROWS)
    report = split_files(path, to=tmp_path / "split", fraction=0, by="segment", held_out_segments=["s1"])
    assert report.segments == {
        "s0": {"train": 80, "held_out": 0},
        "s1": {"train": 0, "held_out": 80},
        "s2": {"train": 80, "held_out": 0},
    }


def test_several_files_are_one_set(tmp_path: Path) -> None:
    paths = [write_rows(tmp_path, *ROWS[::2], name="a.jsonl"), write_rows(tmp_path, *ROWS[1::2], name="b.jsonl")]
    report = split_files(paths, to=tmp_path / "split")
    assert (report.clusters, len(report.sources)) == (120, 2)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    path = write_rows(tmp_path, *ROWS)
    with pytest.raises(DataError, match=r"no row is held out of 240\. Raise --fraction"):
        split_files(path, to=tmp_path / "split", fraction=0)
    with pytest.raises(DataError, match=r"no row is left to train on .*2 of 2 prompts.* --exact-only"):
        split_files(write_rows(tmp_path, *ROWS[:2], name="two.jsonl"), to=tmp_path / "split", fraction=0.9999)
    with pytest.raises(DataError, match="is a file"):
        split_files(path, to=path)
    with pytest.raises(DataError, match="is an input too"):
        split_files(write_rows(tmp_path, *ROWS, name="train.jsonl"), to=tmp_path)
    with pytest.raises(DataError, match=r"the limit is 2\.00%"):
        split_files(write_rows(tmp_path, *ROWS[:9], ROWS[9] | {"chosen": []}, name="bad.jsonl"), to=tmp_path / "split")
    with pytest.raises(ConfigError, match=r"stratify"):
        split_files(path, to=tmp_path / "split", by="segment", stratify=True)
    assert not (tmp_path / "split").exists()
