"""The page of an evaluation: what each model measured beside the others, what the paired tests say, answers to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

from fairlead.data.reading import read
from fairlead.data.records import Candidates
from fairlead.data.texts import text_of
from fairlead.errors import RunError
from fairlead.reports.figures import Estimate, histograms, short_number
from fairlead.reports.page import (
    Block,
    Cell,
    Column,
    Comparison,
    Exchange,
    Exchanges,
    Facts,
    Figure,
    Figures,
    Measurement,
    Page,
    Prose,
    Reply,
    Section,
    Table,
    Tone,
    render,
)
from fairlead.runs.directory import RunDirectory
from fairlead.stats.intervals import Interval

COMPARISON = "comparison.json"
SHOWN = 8
"""Prompts whose answers are shown."""
MOST_SHOWN = 1500  # characters of a text
TONES: Mapping[str, Tone] = {"better": "good", "worse": "bad"}
DIRECTIONS = {"up": "more is better", "down": "less is better", "none": ""}
TESTS = {
    "mcnemar": "McNemar, exact",
    "mcnemar_one_sided": "one-sided: is it worse?",
    "bootstrap": "the interval says",
}
LENGTHS = (("length/words", "words"), ("length/tokens", "tokens"))

Measured = Mapping[str, Any]
"""One figure of measures.json."""


@dataclass(frozen=True, kw_only=True)
class _Model:
    """One model of the page: the name it is shown by and its run."""

    name: str
    run: RunDirectory
    measures: Sequence[Measured]

    @property
    def extra(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.run.record["extra"]
        return found


def evaluation_report(path: str | Path) -> str:
    """The page of a run of `eval`, of one model or of several, or of `eval --compare`, made of run directories alone.

    Raises RunError where the run, or that of a model that it compares, is gone or damaged.
    """
    run = RunDirectory.open(path)
    compared = _read(run, COMPARISON) if (run.path / COMPARISON).is_file() else None
    models = list(_models(run, compared))
    comparisons: Sequence[Mapping[str, Any]] = [] if compared is None else compared["comparisons"]
    baseline = "" if compared is None else str(compared["baseline"])
    verdicts = [row["verdict"] for each in comparisons for row in each["measures"]]
    won, lost = verdicts.count("better"), verdicts.count("worse")
    leaks = [told for model in models for told in _leaks(model)]
    sections = [
        Section(title="Measures", blocks=[_table(models, {})], lead="Each figure with its 95 % interval and n."),
        *(_against(each, baseline) for each in comparisons),
        *_notes(run, compared, models),
        *_lengths(models),
        *_answers(models),
        *_slices(models),
    ]
    return render(
        Page(
            title=run.path.resolve().name,
            subtitle="Fairlead evaluation report",
            status=f"{won} better, {lost} worse" if comparisons else "measured",
            tone="bad" if lost or leaks else "good" if won else "",
            header=[_facts(run, models, baseline), *(Prose(text=each, tone="bad") for each in leaks)],
            sections=sections,
            footer="Made by Fairlead from run directories alone. This file holds no script and fetches nothing.",
        )
    )


def _read(run: RunDirectory, name: str) -> dict[str, Any]:
    try:
        content = json.loads((run.path / name).read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{run.path / name}: cannot be read ({error}). Name a run of `fairlead eval`.") from None
    if not isinstance(content, dict):
        raise RunError(f"{run.path / name}: does not hold what an evaluation writes there. The run was damaged.")
    return content


def _models(run: RunDirectory, compared: Mapping[str, Any] | None) -> Iterator[_Model]:
    if compared is None:
        measures = _read(run, "measures.json")
        name = run.record["extra"].get("name", Path(measures["model"]).name)
        yield _Model(name=name, run=run, measures=measures["measures"])
        return
    for each in compared["models"]:
        own = RunDirectory.open((run.path / each["run"]).resolve())
        yield _Model(name=each["name"], run=own, measures=_read(own, "measures.json")["measures"])


def _leaks(model: _Model) -> Iterator[str]:
    for leak in model.extra.get("leaks", ()):
        yield (
            f"{model.name} was trained on the prompts of {len(leak['rows']):,} of {leak['of']:,} rows of "
            f"{leak['section']}: figures on these say what was memorised."
        )


def _facts(run: RunDirectory, models: Sequence[_Model], baseline: str) -> Facts:
    suites = dict.fromkeys(Path(_read(model.run, "measures.json")["suite"]["path"]).name for model in models)
    facts = [("Suite", ", ".join(filter(None, suites)) or "–")]
    for model in models:
        measured = str(model.extra.get("name", model.name))  # a comparison of runs goes by the names of these
        known = model.name if measured == model.name else f"{model.name}: {measured}"
        facts.append(("Baseline" if model.name == baseline else "Model", known))
    facts.append(("Measured", str(run.record.get("created", ""))[:16].replace("T", " ") + " UTC"))
    return Facts(facts=facts)


def _table(models: Sequence[_Model], part: Mapping[str, str]) -> Comparison:
    """The measures over one part of the items, a column for each model."""
    by_model = [{each["name"]: each for each in model.measures if each["slice"] == dict(part)} for model in models]
    names = dict.fromkeys(name for found in by_model for name in found)
    rows = [
        _row(name, next(found[name] for found in by_model if name in found), [found.get(name) for found in by_model])
        for name in names
    ]
    return Comparison(columns=[model.name for model in models], rows=rows)


def _row(name: str, about: Measured, measured: Sequence[Measured | None]) -> Measurement:
    return Measurement(
        name=name,
        estimates=[_estimate(each) for each in measured],
        meaning=about["meaning"],
        direction=DIRECTIONS[about["direction"]],
        unit=about["unit"],
    )


def _estimate(found: Measured | None) -> Estimate | None:
    if found is None or found["value"] is None:
        return None
    low, high = (nan if found[end] is None else found[end] for end in ("low", "high"))
    return Estimate(value=found["value"], interval=Interval(low, high), n=found["n"])


def _against(each: Mapping[str, Any], baseline: str) -> Section:
    columns = [
        Column(title="measure"),
        Column(title="difference", numeric=True),
        Column(title="lost / gained", numeric=True),
        Column(title="p", numeric=True),
        Column(title="could have shown", numeric=True),
        Column(title="verdict"),
    ]
    table = Table(
        columns=columns,
        rows=[_compared(row) for row in each["measures"]],
        caption="Differences with 95 % intervals, by bootstrap over prompts. Could have shown: the smallest difference "
        "that the test finds on so many items with power 0.8. Items that one of the two alone has are left out.",
    )
    lead = f"The same items, answered by both: {each['model']} less {baseline}."
    return Section(title=f"{each['model']} against {baseline}", blocks=[table], lead=lead)


def _compared(row: Measured) -> list[str | Cell]:
    alone = f", {row['alone']:,} of one alone" if row["alone"] else ""
    interval = "" if row["low"] is None else f"{_number(row, row['low'])} to {_number(row, row['high'])}, "
    difference = "–" if row["difference"] is None else _points(row, row["difference"], sign="+")
    p = "–" if row["p_value"] is None else "< 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}"
    shown = "–" if row["detectable"] is None else _points(row, row["detectable"])
    return [
        Cell(text=row["name"], tone="strong"),
        Cell(text=difference, note=f"{interval}n = {row['n']:,}{alone}"),
        f"{row['lost']:,} / {row['gained']:,}",
        Cell(text=p, note=TESTS[row["test"]]),
        shown,
        Cell(text=row["verdict"].replace(" ", "\N{NO-BREAK SPACE}"), tone=TONES.get(row["verdict"], "")),
    ]


def _points(row: Measured, value: float, sign: str = "") -> str:
    """A difference in the unit of its measure: of shares in percentage points."""
    unit = "points" if row["unit"] == "share" else row["unit"]
    return f"{_number(row, value, sign)} {unit}".strip()


def _number(row: Measured, value: float, sign: str = "") -> str:
    if row["unit"] == "share":
        return f"{100 * value:{sign}.1f}".replace("-", "−")
    return (sign if value > 0 else "") + short_number(value)


def _slices(models: Sequence[_Model]) -> Iterator[Section]:
    """The measures by segment, rejection type and what else they are sliced by."""
    kinds = dict.fromkeys(tuple(each["slice"]) for model in models for each in model.measures if each["slice"])
    for kind in sorted(kinds):
        title = " and ".join(name.replace("_", " ") for name in kind)
        own = [[each for each in model.measures if tuple(each["slice"]) == kind] for model in models]
        found = [{(each["name"], *each["slice"].values()): each for each in known} for known in own]
        names = dict.fromkeys(each["name"] for known in own for each in known)
        rows = [
            _part(part, found)
            for name in names
            for part in sorted({key for known in found for key in known if key[0] == name})
        ]
        table = Comparison(columns=[model.name for model in models], rows=rows)
        yield Section(title=f"By {title}", blocks=[table], lead="Small parts have wide intervals.")


def _part(part: tuple[str, ...], found: Sequence[Mapping[tuple[str, ...], Measured]]) -> Measurement:
    about = next(own[part] for own in found if part in own)
    return Measurement(
        name=f"{part[0]}: {', '.join(part[1:])}",
        estimates=[_estimate(own.get(part)) for own in found],
        direction=DIRECTIONS[about["direction"]],
        unit=about["unit"],
    )


def _lengths(models: Sequence[_Model]) -> Iterator[Section]:
    values = [(model.name, _items(model.run)) for model in models]
    figures = []
    for measure, unit in LENGTHS:
        samples = [(name, items.get(measure, [])) for name, items in values]
        if any(lengths for _, lengths in samples):
            svg = histograms(samples, unit=unit, description=f"Lengths of answers in {unit}")
            figures.append(Figure(title=f"Length in {unit}", svg=svg, caption="The line marks the median."))
    if figures:
        yield Section(title="Lengths", blocks=[Figures(figures=figures, large=True)])


def _items(run: RunDirectory) -> dict[str, list[float]]:
    """The values of the lengths' items."""
    file = run.path / "items.jsonl"
    found: dict[str, list[float]] = {}
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        try:
            item = json.loads(line)
            if item["measure"] in dict(LENGTHS):
                found.setdefault(item["measure"], []).append(item["value"])
        except (ValueError, TypeError, KeyError):
            raise RunError(f"{file}: holds a line that is no item. The file was damaged.") from None
    return found


def _answers(models: Sequence[_Model]) -> Iterator[Section]:
    """The first prompts with the first answer of each model."""
    kept = [(model.name, _kept(model.run)) for model in models]
    prompts = dict.fromkeys(key for _, rows in kept for key in rows)
    exchanges = []
    for key in sorted(prompts)[:SHOWN]:
        row = next(rows[key] for _, rows in kept if key in rows)
        replies = [
            Reply(label=name, text=_short(text_of(rows[key].candidates[0].messages)), color=place)
            for place, (name, rows) in enumerate(kept)
            if key in rows
        ]
        exchanges.append(Exchange(prompt=_short(text_of(row.prompt)), replies=replies))
    if exchanges:
        lead = "Some prompts of the suite; long texts are cut. All answers are in the runs' artifacts."
        yield Section(title="Answers", blocks=[Exchanges(exchanges=exchanges)], lead=lead)


def _kept(run: RunDirectory) -> dict[str, Candidates]:
    """The answers of a run to its prompts, by row."""
    files = sorted(run.artifacts.glob("answers-prompts-*.jsonl"))
    rows = read(files[0], kind="candidates").rows if files else ()
    return {row.id: row for row in rows if isinstance(row, Candidates) and row.candidates}


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " …"


def _notes(run: RunDirectory, compared: Mapping[str, Any] | None, models: Sequence[_Model]) -> Iterator[Section]:
    """What was said while it was measured, of all models and of each."""
    on_all = compared["notes"] if compared is not None else run.record["extra"].get("notes_on_all", [])
    blocks: list[Block] = [Prose(text=note) for note in on_all]
    for model in models:
        own = model.extra.get("notes", [])
        blocks += [Prose(text=f"{model.name}: {note}" if model.name not in note else note) for note in own]
    if blocks:
        yield Section(title="Notes", blocks=blocks)
