"""The page of a sweep: what is picked and why, the frontier, every point with its figures, and where its pages are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from fairlead.errors import RunError
from fairlead.reports.figures import percent, short_number
from fairlead.reports.frontier_figure import frontier_figure
from fairlead.reports.page import (
    Block,
    Cell,
    Column,
    Facts,
    Figure,
    Figures,
    Key,
    Number,
    Numbers,
    Page,
    Prose,
    Section,
    Table,
    amount,
    render,
)
from fairlead.reports.svg import printable
from fairlead.runs.directory import REPORT, RunDirectory

FRONTIER = "frontier.json"
BESIDE = ("ranking_accuracy", "judge/win_rate_length_controlled", "factual_accuracy", "length/words")
"""Measures that the table shows beside those of the two axes, where they were measured."""
KEYS = (
    Key(label="on the front", color=0, mark="line"),
    Key(label="picked", color=1, mark="dots"),
    Key(label="hollow: the rule does not allow it", mark="dots"),
)


def sweep_report(path: str | Path) -> str:
    """The report of one sweep as HTML, made of its run directory alone. Raises RunError where it is none."""
    run = RunDirectory.open(path)
    frontier = _read(run)
    picked = next((point for point in frontier["points"] if point["name"] == frontier["picked"]), None)
    failed: Mapping[str, str] = run.record["extra"].get("failed", {})
    sections = [
        Section(title="Frontier", lead=f"The rule: {frontier['rule']}.", blocks=[_figure(frontier)]),
        Section(title="Points", blocks=list(_points(frontier, failed))),
        Section(title="What the settings did", blocks=list(_diagnoses(frontier))),
        *_constraints(frontier),
        *_prompting(run.record["extra"].get("prompting", [])),
        *_pick(run, picked),
        Section(title="How it was done", blocks=[_how(run)]),
    ]
    return render(
        Page(
            title=run.path.resolve().name,
            subtitle="Fairlead sweep report",
            status="none picked" if picked is None else f"picked: {picked['name']}",
            tone="warn" if picked is None else "good",
            header=[Prose(text=frontier["why"], tone="strong"), *_headline(frontier, picked)],
            sections=sections,
            footer="Made by Fairlead from the run directory alone. This file holds no script and fetches nothing.",
        )
    )


def _read(run: RunDirectory) -> dict[str, Any]:
    file = run.path / FRONTIER
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}). Name the run of a `fairlead sweep` that ended.") from None
    if not isinstance(content, dict) or "points" not in content:
        raise RunError(f"{file}: does not hold what a sweep writes there. The run was damaged.")
    return content


def _headline(frontier: Mapping[str, Any], picked: Mapping[str, Any] | None) -> Iterator[Block]:
    if picked is None:
        return
    numbers = [
        Number(label=name, value=_value(picked["measures"][name]), note=_note(picked["measures"][name]))
        for name in (frontier["y"], frontier["x"])
    ]
    yield Numbers(numbers=numbers)


def _figure(frontier: Mapping[str, Any]) -> Block:
    caption = (
        "Each point with the 95 % intervals of both figures; further up is better, further left is nearer the base."
    )
    title = f"{frontier['y']} against {frontier['x']}"
    svg = frontier_figure(frontier)
    return Figures(figures=[Figure(title=title, svg=svg, caption=caption, keys=KEYS, wide=True)], large=True)


def _points(frontier: Mapping[str, Any], failed: Mapping[str, str]) -> Iterator[Block]:
    """A row per point: settings, figures with intervals, constraints, and its pages."""
    points: Sequence[Mapping[str, Any]] = frontier["points"]
    named = [frontier["y"], frontier["x"], *(name for name in BESIDE if name not in (frontier["y"], frontier["x"]))]
    named = [name for name in named if any(name in point["measures"] for point in points)]
    columns = [Column(title="point"), *(Column(title=name, numeric=True) for name in named)]
    columns += [Column(title="constraints"), Column(title="front"), Column(title="pages")]
    rows: list[list[str | Cell]] = []
    for point in points:
        picked = point["name"] == frontier["picked"]
        note = ", ".join(f"{name} {_said(value)}" for name, value in point["settings"].items())
        head = Cell(text=point["name"], tone="strong", note=note or "not trained here")
        figures = [_figure_cell(point["measures"].get(name)) for name in named]
        held = sum(each["passed"] for each in point["constraints"])
        total = len(point["constraints"])
        kept = Cell(text=f"{held} of {total}" if total else "none", tone="" if held == total else "bad")
        front = Cell(text="picked" if picked else "on it" if point["on_front"] else "", tone="good" if picked else "")
        rows.append([head, *figures, kept, front, Cell(svg=_links(point))])
    yield Table(columns=columns, rows=rows, caption="Values with 95 % intervals and n.")
    for name, why in failed.items():
        yield Prose(text=f"{name} is left out: {why}", tone="bad")


def _figure_cell(measure: Mapping[str, Any] | None) -> Cell:
    if measure is None:
        return Cell(text="–", tone="muted", note="not measured")
    return Cell(text=_value(measure), note=_note(measure))


def _links(point: Mapping[str, Any]) -> Markup:
    """Links to the pages of a point's own runs, which lie in the sweep's folder."""
    # A link is finished markup, as a drawing is: whatever a cell shows as text is escaped.
    pages = [("train", point["run"]), ("eval", point["eval"]), ("judge", point["judge"])]
    return Markup(" ").join(
        Markup('<a href="{}">{}</a>').format(quote(printable(f"{place}/{REPORT}"), safe="/"), label)
        for label, place in pages
        if place is not None
    )


def _diagnoses(frontier: Mapping[str, Any]) -> Iterator[Block]:
    for each in frontier["diagnoses"]:
        yield Prose(text=each["text"], tone="warn")
    if not frontier["diagnoses"]:
        yield Prose(text="No point stayed where the base is, and none went far at the cost of what was to be kept.")


def _constraints(frontier: Mapping[str, Any]) -> Iterator[Section]:
    rows: list[list[str | Cell]] = [
        [
            Cell(text=point["name"], tone="strong"),
            each["text"],
            Cell(text="holds" if each["passed"] else "fails", tone="good" if each["passed"] else "bad"),
            each["evidence"],
        ]
        for point in frontier["points"]
        for each in point["constraints"]
    ]
    if rows:
        columns = [Column(title=title) for title in ("point", "constraint", "", "evidence")]
        yield Section(title="Constraints", blocks=[Table(columns=columns, rows=rows)])


def _prompting(says: Sequence[str]) -> Iterator[Section]:
    if says:
        lead = "The untuned base, asked better: what it reaches of the best point's gain, where that gain is settled."
        yield Section(title="Prompting", lead=lead, blocks=[Prose(text=sentence) for sentence in says])


def _pick(run: RunDirectory, picked: Mapping[str, Any] | None) -> Iterator[Section]:
    """What the pick was trained by, as far as its user chose it."""
    if picked is None or picked["run"] is None:
        return
    trained = RunDirectory.open(run.path / picked["run"])
    facts = [(name, _said(_at(trained.config, name))) for name in trained.user_set]
    lead = f"What is set for {picked['name']}; its run is {picked['run']} in the folder of the sweep."
    yield Section(title="Configuration of the pick", blocks=[Facts(facts=facts)], lead=lead)


def _how(run: RunDirectory) -> Block:
    asked = run.config
    facts = [
        ("Configuration", _said(asked["config"]) if isinstance(asked["config"], str) else "given as sections"),
        ("Grid", "; ".join(asked["overrides"]) or "one point"),
        ("Suite", str(asked["suite"])),
        ("Judges", str(asked["judge"] or "none")),
        ("Constraints", str(asked["constraints"] or "none")),
        ("Greatest KL", "no bound" if asked["max_kl"] is None else f"{short_number(asked['max_kl'])} nats"),
        ("Started", str(run.record.get("created", ""))[:16].replace("T", " ") + " UTC"),
    ]
    return Facts(facts=facts)


def _value(measure: Mapping[str, Any]) -> str:
    return "–" if measure["value"] is None else amount(measure["value"], measure["unit"])


def _note(measure: Mapping[str, Any]) -> str:
    count = f"n = {measure['n']:,}" if measure["n"] else "by definition"
    if measure["low"] is None or measure["high"] is None:
        return count
    show = percent if measure["unit"] == "share" else short_number
    return f"{show(measure['low'])} to {show(measure['high'])}, {count}"


def _said(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _at(values: Any, field: str) -> Any:
    for part in field.split("."):
        if isinstance(values, Mapping):
            values = values.get(part)
        elif isinstance(values, list) and part.isdecimal() and int(part) < len(values):
            values = values[int(part)]
        else:
            return None
    return values
