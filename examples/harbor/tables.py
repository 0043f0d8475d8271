"""What the terminal shows at the end: published beside measured, every model, the audits, the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from examples.harbor.decisions import Decided
from examples.harbor.figures import FIGURES, UNITS, Figure, Results, came_out, is_bad, model_row
from examples.harbor.sets import Fault


def published_table(found: Mapping[str, Figure], *, title: str) -> Table:
    """The published figures beside the measured ones; what did not come out as published is in red capitals."""
    table = _table(title)
    for heading in ("published", "before", "after [95 %]", "n", "p"):
        table.add_column(heading, justify="right")
    table.add_column("came out?")
    for figure in found.values():
        before, after, low, high = (
            _shown(figure.name, value) for value in (figure.before, figure.after, figure.low, figure.high)
        )
        table.add_row(
            FIGURES[figure.name].short,
            figure.published,
            before,
            after if figure.low is None else f"{after} [{low.removesuffix(' %')}–{high.removesuffix(' %')}]",
            str(figure.n),
            "" if figure.p_value is None else f"{figure.p_value:.2g}",
            came_out(figure.verdict),
            style="red" if is_bad(figure.verdict) else None,
        )
    return table


def models_table(results: Sequence[Results], *, title: str) -> Table:
    """Every model of the story, one column each."""
    rows = {each.model: model_row(each) for each in results}
    table = _table(title)
    for model in rows:
        table.add_column(model, justify="right", overflow="fold")
    for name, shown in FIGURES.items():
        values = [row.get(name, {}).get("value") for row in rows.values()]
        if any(value is not None for value in values):
            table.add_row(shown.short, *(_shown(name, value) for value in values))
    return table


def audits_table(audits: Mapping[str, Sequence[Fault]]) -> Table:
    """What the audits found on each set, by name."""
    table = _table("What the audits found")
    for severity in ("error", "warning"):
        table.add_column(f"{severity}s", overflow="fold")
    for name, found in audits.items():
        codes = [[fault.code for fault in found if fault.severity == severity] for severity in ("error", "warning")]
        table.add_row(name, *(", ".join(each) or "–" for each in codes))
    return table


def gates_table(decisions: Mapping[str, Decided]) -> Table:
    """What the gate said of each adapter: the rules that it failed, and why."""
    table = _table("What the gate decided")
    table.add_column("may ship?")
    table.add_column("failed rules", overflow="fold")
    for name, decided in decisions.items():
        failed = "; ".join(f"{rule.rule}: {rule.figures}{rule.reason}" for rule in decided.failed)
        style = None if decided.passed else "red"
        table.add_row(name, "yes" if decided.passed else "NO", failed or "–", style=style)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("")
    return table


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name not in UNITS:
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if UNITS[name] == "words" else f"{value:.2f}" if name == "kl_per_token" else f"{value:.1f}"
