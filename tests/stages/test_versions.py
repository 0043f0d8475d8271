"""Versions of a data set: what their manifests say, what they are made of, and runs that point to them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import fairlead
from fairlead.data.manifest import Changes, Manifest, Source, Values
from fairlead.data.records import Preference
from fairlead.errors import DataError, RunError
from fairlead.identity import digest_file
from fairlead.runs.directory import RunDirectory
from fairlead.stages.audit import audit
from fairlead.stages.import_rows import import_rows
from fairlead.stages.rubric import write_rubric
from fairlead.stages.split import split_files
from fairlead.stages.train import train
from fairlead.stages.versions import diff, make_version, read_version, verify_version
from tests.data.samples import JUDGEMENT, lines
from tests.data.test_hashing import pair
from tests.stages.running import StopsAfter
from tests.tiny import save_tiny
from tests.training.small import make_config, rows_of, write_rows

ROWS = [
    pair(f"r{n}", f"question {n}", f"yes {n}", f"no {n}", meta={"segment": f"s{n % 2}", "rubric": "1"})
    for n in range(40)
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    fairlead.write(ROWS, tmp_path / "pairs.jsonl")
    return tmp_path / "pairs.jsonl"


def swapped(row: Preference) -> Preference:
    return replace(row, chosen=row.rejected, rejected=row.chosen)


def test_files_and_rows_give_one_version(tmp_path: Path, file: Path) -> None:
    given = make_version(ROWS, to=tmp_path / "rows", name="pairs").manifest
    read = make_version(str(file), to=tmp_path / "file", name="pairs").manifest
    assert (given.hashes, given.file, given.counts) == (read.hashes, read.file, read.counts)
    assert (given.sources, given.ledger) == ((), None)
    assert read.sources == (Source(path="../pairs.jsonl", sha256=digest_file(file), rows=40),)
    assert read.ledger == {"rows_in": 40, "ok": 40, "fixed": 0, "quarantined": 0, "by_code": {}}
    assert read.counts.segment == Values(rows={"s0": 20, "s1": 20}, without=0)


def test_the_same_content_again_writes_nothing(tmp_path: Path, file: Path) -> None:
    first = make_version(file, to=tmp_path / "v1")
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    again = make_version(ROWS, to=tmp_path / "v1")
    assert (first.written, again.written, again.manifest) == (True, False, first.manifest)
    assert stamps == {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}


def test_another_content_is_refused(tmp_path: Path, file: Path) -> None:
    folder = make_version(file, to=tmp_path / "v1").folder
    with pytest.raises(DataError, match=r"another version, 'v1', .* it differs in hashes, counts\. Choose another"):
        make_version(ROWS[:9], to=folder)
    with pytest.raises(DataError, match="it differs in hashes"):
        make_version([swapped(ROWS[0]), *ROWS[1:]], to=folder)
    with pytest.raises(DataError, match="it differs in name, rubric"):
        make_version(file, to=folder, name="other", rubric=write_rubric(tmp_path / "rubric.yaml"))
    (folder / "rows.jsonl").write_text("")
    with pytest.raises(DataError, match="is not as it was made"):
        make_version(file, to=folder)
    with pytest.raises(DataError, match="holds other files"):
        make_version(file, to=tmp_path)


def test_verify_says_all_that_differs(tmp_path: Path) -> None:
    folder = make_version(ROWS, to=tmp_path / "v1").folder
    assert fairlead.verify_version(folder).manifest.counts.rows == 40
    content = (folder / "rows.jsonl").read_bytes()
    (folder / "rows.jsonl").write_bytes(content.replace(b"question 39", b"question 38"))
    with pytest.raises(DataError, match=r"other bytes: .* Both hashes are others: .* counts .* Restore the folder"):
        verify_version(folder)
    assert read_version(folder).manifest.counts.rows == 40


def test_quarantined_rows_are_accounted_for(tmp_path: Path) -> None:
    rows = [*rows_of("preference", 60), {"prompt": "q", "chosen": "a", "rejected": "a"}]
    file = write_rows(tmp_path / "p.jsonl", rows)
    manifest = make_version(file, to=tmp_path / "v1").manifest
    assert manifest.counts.rows == 60
    assert manifest.ledger is not None
    assert manifest.ledger["by_code"] == {"identical_pair": 1}
    assert manifest.sources[0].rows == 61
    with pytest.raises(DataError, match="with strict, none may be"):
        make_version(file, to=tmp_path / "v2", strict=True)
    with pytest.raises(DataError, match="there is no row"):
        make_version([], to=tmp_path / "v2")
    with pytest.raises(DataError, match="those before are of kind"):
        make_version([ROWS[0], *fairlead.read(write_rows(tmp_path / "f.jsonl", rows_of("feedback", 1))).rows], to="x")
    assert not (tmp_path / "v2").exists()


def test_the_rubric_and_the_rows_of_others(tmp_path: Path) -> None:
    rubric = write_rubric(tmp_path / "rubric.yaml")
    rows = [*ROWS, pair("x", "q", meta={"rubric": 2}), pair("y", "q2"), pair("z", "q3")]
    made = make_version(rows, to=tmp_path / "v1", rubric=rubric)
    record = made.manifest.rubric
    assert record is not None
    assert (record.version, record.rows_of_others, record.rows_without) == ("1", {"2": 1}, 2)
    assert record.sha256 == fairlead.read_rubric(rubric).sha256
    assert [criterion["name"] for criterion in record.criteria] == ["correct", "safe", "to the point"]
    assert made.notes == (
        "1 rows say to be judged by rubric 2, and the rubric given is 1.",
        "2 rows do not say by which rubric they were judged (meta.rubric).",
    )
    assert "**to the point**" in (made.folder / "README.md").read_text()
    assert make_version(rows, to=made.folder, rubric=fairlead.read_rubric(rubric)).written is False
    assert make_version(ROWS, to=tmp_path / "v2", rubric=rubric).notes == ()


def test_annotations_name_rubrics_and_annotators(tmp_path: Path) -> None:
    said = [{"annotator": name, "label": "a", "rubric": rubric} for name, rubric in (("ann", "1"), ("bea", "2"))]
    path = tmp_path / "judged.jsonl"
    path.write_bytes(lines(JUDGEMENT | {"annotations": said, "id": "j"}))
    manifest = make_version(path, to=tmp_path / "v1", rubric=write_rubric(tmp_path / "rubric.yaml")).manifest
    assert manifest.annotators == {"ann": 1, "bea": 1}
    assert manifest.rubric is not None
    assert manifest.rubric.rows_of_others == {"2": 1}


def test_what_the_audit_found(tmp_path: Path, file: Path) -> None:
    run = tmp_path / "runs" / "audit"
    found = audit(file, out=run)
    made = make_version(file, to=tmp_path / "sets" / "v1", audit=run)
    record = made.manifest.audit
    assert record is not None
    assert (record.path, record.of_these_files, record.rows) == ("../../runs/audit", True, 40)
    assert [(each.code, each.severity, each.value, each.count) for each in record.findings] == [
        (each.code, each.severity, each.value, each.count) for each in found.findings
    ]
    assert sum(record.severities.values()) == len(found.findings)
    assert record.id == RunDirectory.open(run).record["id"]
    other = make_version(ROWS[:30], to=tmp_path / "sets" / "v2", audit=run)
    assert "The audit read other files than this version was made of." in other.notes


def test_audits_that_are_none(tmp_path: Path, file: Path) -> None:
    run = tmp_path / "audit"
    audit(file, out=run)
    with pytest.raises(RunError, match="is not a run"):
        make_version(file, to=tmp_path / "v1", audit=tmp_path)
    RunDirectory.create(tmp_path / "probe", stage="probe", config={}, seed=0)
    with pytest.raises(RunError, match="is a run of probe, not of audit"):
        make_version(file, to=tmp_path / "v1", audit=tmp_path / "probe")
    (run / "findings.json").write_text("{}")
    with pytest.raises(RunError, match=r"findings\.json has 2 bytes .* Audit the rows again"):
        make_version(file, to=tmp_path / "v1", audit=run)
    assert not (tmp_path / "v1").exists()


def test_versions_that_were_made_of_versions(tmp_path: Path, file: Path) -> None:
    first = make_version(file, to=tmp_path / "sets" / "v1").folder
    second = make_version(ROWS[:35], to=tmp_path / "sets" / "v2", parents=[first], filters=["refusals left out"]).folder
    manifest = read_version(second).manifest
    assert manifest.changes == Changes(added=0, removed=5, flipped=0, changed=0, metadata=0)
    assert manifest.filters == ("refusals left out",)
    (parent,) = manifest.parents
    assert (parent.type, parent.path, parent.name, parent.rows) == ("version", "../v1", "v1", 40)
    assert parent.hashes == read_version(first).manifest.hashes
    rows = [swapped(ROWS[0]), replace(ROWS[1], weight=0.5), *ROWS[2:35], pair("new", "q")]
    third = make_version(rows, to=tmp_path / "sets" / "deep" / "v3", parents=[second / "manifest.json"]).manifest
    assert third.changes == Changes(added=1, removed=0, flipped=1, changed=1, metadata=0)
    assert third.parents[0].path == "../../v2"
    assert third.parents[0].parents[0].path == "../../v1"
    assert "  - version v1: ../../v1" in (tmp_path / "sets" / "deep" / "v3" / "README.md").read_text()


def test_what_rows_were_read_from_is_a_parent_by_itself(tmp_path: Path, file: Path) -> None:
    first = make_version(file, to=tmp_path / "v1").folder
    again = make_version(first, to=tmp_path / "v2", parents=[first]).manifest
    assert [parent.path for parent in again.parents] == ["../v1"]
    assert again.hashes == read_version(first).manifest.hashes
    split_files(file, to=tmp_path / "sides", fraction=0.3)
    side = make_version(tmp_path / "sides" / "train.jsonl", to=tmp_path / "v3").manifest
    (parent,) = side.parents
    assert (parent.type, parent.path, parent.hashes) == ("split", "../sides", None)
    assert parent.sha256 == digest_file(tmp_path / "sides" / "manifest.json")
    assert parent.sources == (Source(path="../pairs.jsonl", sha256=digest_file(file), rows=40),)
    assert side.changes is None
    fairlead.write(ROWS[:3], tmp_path / "sides" / "other.jsonl")
    assert make_version(tmp_path / "sides" / "other.jsonl", to=tmp_path / "v4").manifest.parents == ()


def test_several_parents_are_compared_with_together(tmp_path: Path) -> None:
    one, other = (make_version(rows, to=tmp_path / name).folder for name, rows in (("a", ROWS[:20]), ("b", ROWS[20:])))
    joined = make_version([one, other], to=tmp_path / "all").manifest
    assert joined.counts.rows == 40
    assert joined.changes == Changes(added=0, removed=0, flipped=0, changed=0, metadata=0)
    assert [parent.name for parent in joined.parents] == ["a", "b"]


def test_parents_that_are_none(tmp_path: Path, file: Path) -> None:
    for name, words in (("none", "cannot be read as a parent"), ("pairs.jsonl", "is no manifest")):
        with pytest.raises(DataError, match=words):
            make_version(ROWS, to=tmp_path / "v1", parents=[tmp_path / name])
    made = make_version(ROWS, to=tmp_path / "v1", filters=["short ones left out"])
    assert made.notes[-1].startswith("How many rows the filters removed is not known")


def test_diff_of_versions_and_files(tmp_path: Path, file: Path) -> None:
    folder = make_version(file, to=tmp_path / "v1").folder
    after = tmp_path / "after.jsonl"
    fairlead.write([swapped(ROWS[0]), *ROWS[2:]], after)
    for before in (folder, str(folder), folder / "rows.jsonl", file, ROWS, [file]):
        found = fairlead.diff(before, after)
        assert found.counts == {"added": 0, "removed": 1, "flipped": 1, "changed": 0, "metadata": 0}
    assert diff(folder, file).is_empty
    (folder / "rows.jsonl").write_bytes(after.read_bytes())
    with pytest.raises(DataError, match="was changed after the version"):
        diff(folder, file)
    after.write_bytes(after.read_bytes() + b"{}\n{}\n")
    with pytest.raises(DataError, match="the limit is"):
        diff(file, after)


def test_other_verbs_read_versions_and_never_write_into_one(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "p.jsonl", rows_of("preference", 40))
    folder = make_version(rows, to=tmp_path / "v1").folder
    assert import_rows(folder, to=tmp_path / "copy.jsonl").rows_in == 40
    assert (tmp_path / "copy.jsonl").read_bytes() == (folder / "rows.jsonl").read_bytes()
    assert split_files(folder, to=tmp_path / "sides", fraction=0.3).ledger["rows_in"] == 40
    assert audit(folder).rows == 40
    with pytest.raises(DataError, match="never changes"):
        split_files(folder, to=folder)
    with pytest.raises(DataError, match="never changes"):
        import_rows(rows, to=folder / "rows.jsonl")
    verify_version(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


def data_set(manifest: Manifest) -> dict[str, str]:
    return {"name": manifest.name, "ordered": manifest.hashes.ordered, "set": manifest.hashes.set}


@pytest.mark.parametrize("name", ["", "rows.jsonl"])
def test_a_run_points_to_its_data_set(tmp_path: Path, model: Path, name: str) -> None:
    folder = make_version(write_rows(tmp_path / "p.jsonl", rows_of("preference", 12)), to=tmp_path / "v1").folder
    config = make_config(tmp_path, model, adapter={"r": 2}, max_steps=1, data={"train": str(folder / name)})
    run = RunDirectory.open(train(config).run)
    read = {item.path: item for item in run.inputs if item.rows is not None}
    item = read[str(folder / "rows.jsonl")]
    assert item.data_set == data_set(read_version(folder).manifest)
    assert (item.rows, item.sha256) == (12, digest_file(folder / "rows.jsonl"))
    assert [each.data_set for each in read.values() if each is not item] == [None]
    written: list[dict[str, Any]] = json.loads((run.path / "inputs.json").read_text())
    assert {"name": "v1"}.items() <= written[1]["data_set"].items()


def test_an_audit_points_to_its_data_set_and_its_page_names_it(tmp_path: Path) -> None:
    folder = make_version(write_rows(tmp_path / "p.jsonl", rows_of("preference", 12)), to=tmp_path / "v1").folder
    audit(folder, out=tmp_path / "audit")
    manifest = read_version(folder).manifest
    assert [each.data_set for each in RunDirectory.open(tmp_path / "audit").inputs] == [data_set(manifest)]
    assert f"v1, set hash {manifest.hashes.set[:12]}" in (tmp_path / "audit" / "report.html").read_text()


def test_a_changed_byte_is_not_trained_on(tmp_path: Path, model: Path) -> None:
    folder = make_version(write_rows(tmp_path / "p.jsonl", rows_of("preference", 12)), to=tmp_path / "v1").folder
    rows = folder / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"day 3", b"day 4"))
    config = make_config(tmp_path, model, adapter={"r": 2}, max_steps=1, data={"train": str(folder)})
    with pytest.raises(DataError, match=r"rows\.jsonl: was changed after the version 'v1' .* `fairlead data version`"):
        train(config)
    assert not (tmp_path / "runs").exists()


def test_the_account_of_rows_is_told(tmp_path: Path, file: Path) -> None:
    progress = StopsAfter(-1)
    make_version(file, to=tmp_path / "v1", progress=progress)
    assert progress.said == [f"{file}: 40 rows in = 40 ok + 0 fixed + 0 quarantined"]


DOCS = (Path(__file__).parents[2] / "docs" / "versions.md").read_text(encoding="utf-8")


def test_the_page_names_every_field_of_the_manifest() -> None:
    section = DOCS.partition("## The manifest")[2].partition("\n## ")[0]
    lines = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    assert [name for line in lines for name in re.findall(r"`(\w+)`", line)] == list(Manifest.__struct_fields__)


@pytest.mark.parametrize("place", [0, 1])
def test_the_programs_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """The first computes the hashes without Fairlead, and would fail by its assertion."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    write_rubric(tmp_path / "rubric.yaml")
    fairlead.write(ROWS, "data/pairs.jsonl")
    fairlead.write(ROWS[::-1][:9], "data/again.jsonl")
    if place == 0:
        fairlead.make_version("data/pairs.jsonl", to="sets/v1")
    program = re.findall(r"^```python\n(.*?)^```$", DOCS, re.M | re.S)[place]
    exec(compile(program, "docs/versions.md", "exec"), {})
