"""`report`: one or several run directories as one HTML file that opens anywhere, offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fairlead.errors import RunError
from fairlead.reports.audit_report import audit_report
from fairlead.reports.evaluation_report import evaluation_report
from fairlead.reports.judge_report import judge_report
from fairlead.reports.release_report import release_report
from fairlead.reports.run_report import run_report
from fairlead.reports.sweep_report import sweep_report
from fairlead.runs.atomic import write_bytes
from fairlead.runs.directory import REPORT, RunDirectory

PAGES = {
    "audit": audit_report,
    "compare": evaluation_report,
    "eval": evaluation_report,
    "gate": release_report,
    "judge": judge_report,
    "sweep": sweep_report,
}
"""Stages whose runs have a page of their own."""


def report(runs: Sequence[str | Path], *, to: str | Path | None = None) -> Path:
    """Write the report of `runs` and return where it lies: report.html inside a single run, else `to`.

    The file is written whole or not at all. The manifest of a sealed run does not list its report, so writing one
    leaves the run verified. Raises RunError where a folder is not a run, where several runs have no `to`, or where
    the folder of `to` is missing; MachineError where the disk refuses.
    """
    if not runs:
        raise RunError("A report needs a run: name the folder of one, for instance runs/NAME.")
    if to is None and len(runs) > 1:
        raise RunError(
            f"A report of {len(runs)} runs belongs to none of them: say where to write it (--to report.html)."
        )
    stage = RunDirectory.open(runs[0]).stage if len(runs) == 1 else ""
    content = (PAGES[stage](runs[0]) if stage in PAGES else run_report(runs)).encode()
    target = Path(runs[0]) / REPORT if to is None else Path(to)
    if target.is_dir():
        raise RunError(f"{target}: is a folder. Name the file to write, for instance {target / REPORT}.")
    if not target.parent.is_dir():
        raise RunError(f"{target.parent}: there is no such folder to write the report in. Make it, or choose another.")
    write_bytes(target, content)
    return target
