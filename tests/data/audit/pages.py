"""The generated part of docs/audit.md: every code by check, and every setting, from the tables."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from fairlead.data.audit.settings import AuditSettings
from fairlead.data.audit.table import CHECKS

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"
BEGIN, END = "<!-- made from the source: begin -->\n", "<!-- made from the source: end -->\n"


def page() -> str:
    """The whole page with the part between the two marks made anew."""
    before, mark, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, other, after = rest.partition(END)
    assert mark, f"docs/audit.md lacks {BEGIN}"
    assert other, f"docs/audit.md lacks {END}"
    return f"{before}{BEGIN}\n{_codes()}{_settings()}\n{END}{after}"


def _codes() -> str:
    parts = []
    for check in CHECKS:
        parts.append(f"### {check.name.capitalize()}\n\n{check.question}\n\n")
        parts.append("| code | meaning | what to do |\n| --- | --- | --- |\n")
        for code, kind in check.module.KINDS.items():
            unit = f" ({kind.unit})" if kind.unit not in ("", "share") else ""
            parts.append(f"| `{code}` | {kind.meaning}{unit} | {kind.remedy} |\n")
        parts.append("\n")
    return "".join(parts)


def _settings() -> str:
    rows = [f"| `{field.name}` | `{_shown(field.default)}` |\n" for field in fields(AuditSettings)]
    head = (
        "`--set NAME=VALUE` and `fairlead.data.audit.settings.AuditSettings` take these; shares lie between 0 and 1.\n"
    )
    return f"### Settings\n\n{head}\n| setting | default |\n| --- | --- |\n{''.join(rows)}"


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
