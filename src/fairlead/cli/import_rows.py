"""`fairlead import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.stages.import_rows import ImportReport


def import_rows(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="JSONL, JSON, CSV, Parquet (.gz), hub:ID.", show_default=False)
    ],
    to: Annotated[Path, typer.Option(metavar="OUT.jsonl", help="File for the canonical rows.", show_default=False)],
    format: Annotated[str, typer.Option(metavar="NAME", help="Format of the rows; auto detects it.")] = "auto",
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN,…", help="Columns under other names: prompt=frage,chosen=besser."),
    ] = None,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Kind of the rows; by default that of most.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the rows if a single one is quarantined.")] = False,
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="Greatest share of quarantined rows.")] = 0.02,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="Report this fault of a labelling export, but do not refuse it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read rows of any known format, account for each of them, and write canonical rows.

    Beside OUT.jsonl stand OUT.ledger.jsonl (what happened to which row) and OUT.quarantined.jsonl (rows left out, as
    they came).

    \b
    Example:
      fairlead import export.csv --columns prompt=frage,chosen=besser --to pairs.jsonl
    """
    from fairlead.data.columns import Columns
    from fairlead.progress import terminal_progress
    from fairlead.stages.import_rows import import_rows as run_stage

    report = run_stage(
        files,
        to=to,
        kind=kind,
        format=format,
        columns=Columns.parse(columns) if columns else None,
        strict=strict,
        max_quarantined=max_quarantined,
        allow=allow or (),
        progress=terminal_progress(),
    )
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: ImportReport) -> None:
    print(
        f"{report.rows_in} rows in = {report.ok} ok + {report.fixed} fixed + {report.quarantined} quarantined, "
        f"kind {report.kind}"
    )
    for shape, rows in report.shapes.items():
        print(f"  {rows} as {shape}")
    for code, found in report.by_code.items():
        print(f"  {found.rows} {found.outcome}, {code}: {found.meaning}. {found.remedy}")
    if report.findings:
        from fairlead.data.labelling_faults import KINDS
    for finding in report.findings:
        kind = KINDS[finding.code]
        share = "" if finding.value is None else f" ({finding.value:.1%} of {finding.n})"
        words = filter(None, (f"{kind.title}{share}.", finding.detail, kind.remedy))
        print(f"{finding.severity}, {finding.code}:", *words)
    aside = f", rows in quarantine: {report.quarantine}" if report.quarantine else ""
    print(f"Written: {report.to}, ledger: {report.ledger}{aside}")
