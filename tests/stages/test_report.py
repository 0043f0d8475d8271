from __future__ import annotations

from pathlib import Path

import pytest

from fairlead.errors import RunError
from fairlead.stages.report import report
from tests.reports.fake_run import make_run


def test_the_report_of_one_run_lies_inside_it_and_leaves_it_verified(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert report([run.path]) == run.path / "report.html"
    assert run.verify() == []
    first = (run.path / "report.html").read_bytes()
    assert report([run.path], to=tmp_path / "again.html") == tmp_path / "again.html"
    assert (tmp_path / "again.html").read_bytes() == first
    assert first.startswith(b"<!doctype html>")


def test_several_runs_need_a_place_of_their_own(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name=name).path for name in ("one", "two")]
    with pytest.raises(RunError, match="--to"):
        report(runs)
    assert report(runs, to=tmp_path / "both.html").is_file()


def test_a_wrong_folder_is_refused_with_the_remedy(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(RunError, match=r"has no run\.json. Name the folder of a run"):
        report([tmp_path])
    with pytest.raises(RunError, match="no such folder"):
        report([tmp_path / "nothing"])
    with pytest.raises(RunError, match=r"is a folder\. Name the file"):
        report([run.path], to=tmp_path)
    with pytest.raises(RunError, match="no such folder to write"):
        report([run.path], to=tmp_path / "nothing" / "report.html")
    with pytest.raises(RunError, match="needs a run"):
        report([])


def test_a_damaged_run_leaves_the_old_report_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    target = report([run.path], to=tmp_path / "report.html")
    before = target.read_bytes()
    (run.path / "ledger.json").write_text("{")
    with pytest.raises(RunError, match=r"ledger\.json"):
        report([run.path], to=target)
    assert target.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs", "report.html"}
