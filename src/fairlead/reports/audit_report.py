"""The page of an audit: what to mend first, then each part with its figures, and rows to look at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from fairlead.data.audit.findings import SEVERITIES, Finding, Kind
from fairlead.data.audit.table import CHECKS, KINDS, Check
from fairlead.data.audit.wording import interval_text, threshold_text, value_text
from fairlead.errors import RunError
from fairlead.reports.audit_figures import figures_of
from fairlead.reports.drawings import interval_strip
from fairlead.reports.figures import Estimate
from fairlead.reports.page import (
    Block,
    Cell,
    Column,
    Exchange,
    Exchanges,
    Facts,
    Figures,
    Number,
    Numbers,
    Page,
    Prose,
    Reply,
    Section,
    Table,
    Tone,
    render,
)
from fairlead.reports.run_data import data_set_text
from fairlead.runs.directory import RunDirectory
from fairlead.stats.intervals import Interval

TONES: Mapping[str, Tone] = {"error": "bad", "warning": "warn", "note": ""}
KEPT = "\u00a0"
"""A space at which no line is broken: a number stays with its unit."""
UNIT = re.compile(r"(?<=\d) (?=%)")
HEADLINES = ("ties", "alpha_nominal", "prefers_longer", "cue_accuracy", "safety_pairs")


def audit_report(path: str | Path) -> str:
    """The HTML page of the audit in the run directory `path`. Raises RunError where there is none."""
    return render(audit_page(RunDirectory.open(path)))


def audit_page(run: RunDirectory) -> Page:
    """The page of one audit; parts without findings are left out."""
    record, content, examples = run.record, _read(run, "findings.json"), _read(run, "examples.json")
    findings = [_finding(item) for item in content["findings"]]
    counts: dict[str, int] = {
        severity: sum(found.severity == severity for found in findings) for severity in SEVERITIES
    }
    failed, warned = counts["error"] > 0, counts["warning"] > 0
    sections = [
        _to_mend(findings),
        *(_part(check, findings) for check in CHECKS),
        _rows_section(findings, examples),
        _how(record, run.config),
    ]
    return Page(
        title=run.path.resolve().name,
        subtitle="Fairlead audit report",
        status=_count(counts["error"], "error")
        if failed
        else _count(counts["warning"], "warning")
        if warned
        else "clean",
        tone="bad" if failed else "warn" if warned else "good",
        header=[*_header(run, content, counts), *_headlines(findings)],
        sections=[section for section in sections if section is not None],
        footer="Made by Fairlead from the run directory alone. This file holds no script and fetches nothing.",
    )


def _read(run: RunDirectory, name: str) -> dict[str, Any]:
    try:
        content = json.loads((run.path / name).read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{run.path / name}: cannot be read ({error}). Name the run of an audit.") from None
    if not isinstance(content, dict):
        raise RunError(f"{run.path / name}: does not hold what an audit writes there. The run was damaged.")
    return content


def _finding(item: Mapping[str, Any]) -> Finding:
    fields = {name: item[name] for name in Finding.__dataclass_fields__ if name in item}
    interval = fields.get("interval")
    return Finding(
        **fields | {"rows": tuple(fields.get("rows", ())), "interval": None if interval is None else tuple(interval)}
    )


def _kind(code: str) -> Kind:
    """What a code means; a code of another version stands for itself."""
    return KINDS.get(code) or Kind(title=code, meaning="", remedy="", unit="")


def _header(run: RunDirectory, content: Mapping[str, Any], counts: Mapping[str, int]) -> Iterator[Block]:
    files = ", ".join(Path(item.path).name for item in run.inputs if item.rows is not None)
    extra = run.record.get("extra", {})
    facts = [
        ("Data", files or "rows given from Python"),
        *(("Data set", data_set_text(item)) for item in run.inputs if item.data_set),
        ("Rows", f"{content['rows']:,} of kind {content['kind']}"),
        ("Findings", ", ".join(_count(counts[severity], severity) for severity in SEVERITIES)),
        ("Audited", str(run.record.get("created", ""))[:16].replace("T", " ") + " UTC"),
        ("Took", f"{extra.get('seconds', 0):.1f} s"),
    ]
    yield Facts(facts=facts)


def _headlines(findings: Sequence[Finding]) -> Iterator[Block]:
    """The figures people ask for first."""
    by_code = {found.code: found for found in findings}
    numbers = [
        Number(
            label=_kind(code).title,
            value=value_text(by_code[code], _kind(code)),
            note=interval_text(by_code[code], _kind(code)),
            tone=TONES[by_code[code].severity],
        )
        for code in HEADLINES
        if code in by_code and by_code[code].value is not None
    ]
    if numbers:
        yield Numbers(numbers=numbers)


def _to_mend(findings: Sequence[Finding]) -> Section:
    grave = [found for found in findings if found.severity != "note"]
    if not grave:
        return Section(
            title="What to mend", blocks=[Prose(text="Nothing here stands in the way of training.", tone="good")]
        )
    columns = [Column(title="finding"), Column(title="value", numeric=True), Column(title="what to do")]
    rows: list[list[str | Cell]] = [
        [
            Cell(text=_kind(found.code).title, tone=TONES[found.severity], note=_about(found)),
            Cell(text=_plain(value_text(found, _kind(found.code))), note=_limit(found)),
            _plain(_kind(found.code).remedy),
        ]
        for found in grave
    ]
    caption = "All rows of a finding are in the folder rows of the run, the worst first."
    return Section(
        title="What to mend", blocks=[Table(columns=columns, rows=rows, caption=caption)], lead="Errors come first."
    )


def _about(found: Finding) -> str:
    """The code, how many rows, and what is particular."""
    rows = f"{_count(found.count, 'row')}" if found.count else ""
    return " · ".join(filter(None, (found.code, rows, _plain(found.detail))))


def _limit(found: Finding) -> str:
    text = threshold_text(found, _kind(found.code))
    return f"limit {text}".replace(" ", KEPT) if text else ""


def _plain(text: str) -> str:
    """Without the marks of commands, which the page does not know, and with numbers and their units in one line."""
    return UNIT.sub(KEPT, text.replace("`", ""))


def _value(found: Finding) -> Cell:
    """The value; below it its interval and n."""
    kind = _kind(found.code)
    parts = (interval_text(found, kind), f"n = {found.n:,}")
    note = ", ".join(part.replace(" ", KEPT) for part in parts if part)
    strip = None
    if kind.unit in ("share", "AUC") and found.value is not None and isfinite(found.value):
        estimate = Estimate(
            value=found.value, interval=Interval(*found.interval) if found.interval else None, n=found.n
        )
        shade = {"error": 1, "warning": 4, "note": 0}[found.severity]
        text = f"{kind.title}: {value_text(found, kind)} ({note})"
        strip = interval_strip(estimate, scale=(0.0, 1.0), color=shade, description=text)
    return Cell(text=_plain(value_text(found, kind)), note=note, svg=strip)


def _part(check: Check, findings: Sequence[Finding]) -> Section | None:
    own = [found for found in findings if found.code in check.module.KINDS]
    if not own:
        return None
    blocks: list[Block] = []
    if figures := figures_of(own):
        blocks.append(Figures(figures=figures, large=True))
    columns = [Column(title="figure"), Column(title="value", numeric=True), Column(title="detail")]
    rows: list[list[str | Cell]] = [
        [
            Cell(
                text=_kind(found.code).title,
                tone=TONES[found.severity] or "strong",
                note=_plain(_kind(found.code).meaning),
            ),
            _value(found),
            _plain(found.detail) or "–",
        ]
        for found in own
    ]
    blocks.append(Table(columns=columns, rows=rows))
    return Section(title=check.name.capitalize(), lead=check.question, blocks=blocks)


def _rows_section(findings: Sequence[Finding], examples: Mapping[str, Any]) -> Section | None:
    """The first rows of what is not a note; a row that stands for two findings is shown once."""
    blocks: list[Block] = []
    shown: set[str] = set()
    for found in findings:
        new = (
            [name for name in found.rows if name in examples and name not in shown] if found.severity != "note" else []
        )
        if new:
            shown.update(new)
            blocks.append(Prose(text=f"{_kind(found.code).title} ({found.code})", tone="strong"))
            blocks.append(Exchanges(exchanges=[_exchange(name, examples[name]) for name in new]))
    lead = "Texts as they stand in the data; long ones are cut. They may offend."
    return Section(title="Rows to look at", lead=lead, blocks=blocks) if blocks else None


def _exchange(name: str, example: Mapping[str, Any]) -> Exchange:
    replies = [
        Reply(label=str(reply["label"]), text=str(reply["text"]), color=place)
        for place, reply in enumerate(example["replies"])
    ]
    return Exchange(prompt=f"[{name}] {example['prompt']}", replies=replies)


def _how(record: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    settings = config.get("settings", {})
    rows = [[str(name), str(value)] for name, value in settings.items()]
    table = Table(
        title=f"Thresholds ({len(rows)})",
        columns=[Column(title="setting"), Column(title="value")],
        rows=rows,
        folded=True,
    )
    lead = "Intervals are of 95 %: Wilson's for shares, bootstrap over comparisons for agreement, DeLong's for AUC."
    return Section(title="How it was measured", lead=lead, blocks=[table])


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
