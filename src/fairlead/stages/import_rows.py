"""`import`: files of any format into canonical rows, with the account of every row that came in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fairlead.data.audit.findings import Finding
from fairlead.data.formats.detection import Found
from fairlead.data.labelling_faults import KINDS, labelling_faults
from fairlead.data.ledger import REASONS
from fairlead.data.plain_view import view
from fairlead.data.reading import Dataset, read
from fairlead.data.records import Row
from fairlead.data.verbatim import quarantined_lines, write_lines
from fairlead.data.writing import check_lines, write
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import disk_errors

MAX_QUARANTINED = 0.02


@dataclass(frozen=True, kw_only=True)
class CodeCount:
    """How many rows met a reason code, and what the code says."""

    rows: int
    outcome: str
    meaning: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What came in and what became of it: rows_in = ok + fixed + quarantined.

    shapes: rows by "format: shape". files: sha256 and number of rows of each. findings: faults of a labelling export.
    ledger: one line for each row that is not simply ok. quarantine: these rows as they came, None where there are none.
    """

    to: Path
    kind: str
    rows_in: int
    ok: int
    fixed: int
    quarantined: int
    by_code: Mapping[str, CodeCount]
    shapes: Mapping[str, int]
    files: Mapping[str, Mapping[str, str | int]]
    findings: Sequence[Finding]
    ledger: Path
    quarantine: Path | None


def import_rows(
    paths: str | Path | Sequence[str | Path],
    *,
    to: str | Path,
    kind: str | None = None,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    max_quarantined: float = MAX_QUARANTINED,
    allow: Sequence[str] = (),
    progress: Progress = SILENT,
) -> ImportReport:
    """Read rows of any format and write them to `to` (.jsonl) as canonical rows; the first is shown at once.

    The ledger is written beside it, and rows in quarantine as they came: for out.jsonl, out.ledger.jsonl and
    out.quarantined.jsonl. These two are written also where the rows are refused, and `to` then is not. allow: codes of
    `labelling_faults` that are errors and are to be no more than reported. Raises `DataError` for files and rows at
    fault, `ConfigError` for names that are not known, `MachineError` where the disk refuses.
    """
    names = [str(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    target = Path(to)
    ledger_path, quarantine = beside(target, "ledger"), beside(target, "quarantined")
    _check_target(target, (target, ledger_path, quarantine), names)
    _check_allowed(allow)
    dataset = read(names, kind=kind, format=format, columns=columns, on_first=_show(progress))
    summary = dataset.ledger.summary()
    with disk_errors(ledger_path):
        dataset.ledger.write(ledger_path)
        quarantine.unlink(missing_ok=True)
        if summary["quarantined"]:
            write_lines(quarantined_lines(dataset.ledger, dataset.sha256), quarantine)
    try:
        dataset.ledger.check(max_quarantined=max_quarantined, strict=strict)
    except DataError as error:
        where = f" The ledger is {ledger_path}, the rows are in {quarantine}." if summary["quarantined"] else ""
        raise DataError(f"{error}{where}", code=error.code) from None
    findings = labelling_faults(dataset.rows)
    _refuse_faults(findings, allow, names)
    write(dataset.rows, target)
    return _report(dataset, target, findings, ledger_path, quarantine if summary["quarantined"] else None)


def beside(target: Path, word: str) -> Path:
    """The file out.<word>.jsonl beside out.jsonl."""
    return target.with_name(f"{target.stem}.{word}.jsonl")


def _check_target(target: Path, written: Sequence[Path], names: Sequence[str]) -> None:
    """Fail before anything is read where the target cannot be what is asked for."""
    check_lines(target)
    if not target.parent.is_dir():
        raise DataError(f"there is no folder {target.parent}. Make it first.", path=target, code="missing_file")
    inputs = {Path(name).resolve() for name in names}
    for path in written:
        if path.resolve() in inputs:
            raise DataError(f"{path} is an input too, and would be written over. Choose another name.", path=target)


def _check_allowed(allow: Sequence[str]) -> None:
    faults = []
    for code in allow:
        if code not in KINDS:
            near = difflib.get_close_matches(code, KINDS, n=1)
            meant = f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(KINDS)}."
            faults.append(Fault(field="allow", problem=f"{code!r} is not known.", remedy=meant))
    if faults:
        raise ConfigError(faults, source="import")


def _show(progress: Progress) -> Callable[[Found, Row], None]:
    def show(found: Found, row: Row) -> None:
        text = "\n".join(f"  {line}" for line in view(row).splitlines())
        progress.say(f"The first row, read as {found.kind} ({found.format}: {found.shape.name}):\n{text}")

    return show


def _refuse_faults(findings: Sequence[Finding], allow: Sequence[str], names: Sequence[str]) -> None:
    for finding in findings:
        if finding.severity == "error" and finding.code not in allow:
            kind = KINDS[finding.code]
            exception = f"If this is as it should be, say --allow {finding.code}."
            text = f"{kind.title}: {finding.detail} {kind.remedy} {exception}"
            raise DataError(text, path=", ".join(names), code=finding.code)


def _report(
    dataset: Dataset, target: Path, findings: Sequence[Finding], ledger: Path, quarantine: Path | None
) -> ImportReport:
    summary = dataset.ledger.summary()
    by_code = {code: CodeCount(rows=rows, **REASONS[code]._asdict()) for code, rows in summary.pop("by_code").items()}
    counts = dataset.ledger.paths
    return ImportReport(
        to=target,
        kind=dataset.kind,
        **summary,
        by_code=by_code,
        shapes=dataset.shapes,
        files={path: {"sha256": digest, "rows": counts[path]} for path, digest in dataset.sha256.items()},
        findings=findings,
        ledger=ledger,
        quarantine=quarantine,
    )
