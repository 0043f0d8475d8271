"""Run directories → a page: one run in full, or several compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from fairlead.data.reasons import REASONS
from fairlead.reports.drawings import share_bar
from fairlead.reports.figures import percent, short_number
from fairlead.reports.page import (
    Block,
    Cell,
    Column,
    Exchange,
    Exchanges,
    Facts,
    Figure,
    Figures,
    Key,
    Number,
    Numbers,
    Page,
    Prose,
    Reply,
    Section,
    Table,
    Tone,
    amount,
    render,
)
from fairlead.reports.run_curves import DIRECTIONS, curve_figures, sentence
from fairlead.reports.run_data import DIGEST_SHOWN, Ledger, RunData, known_metrics, read_run
from fairlead.reports.run_lineage import lineage_section
from fairlead.runs.metrics import EVAL_PREFIX, METRICS, PROBE_PREFIX

STATUS_TONES: Mapping[str, Tone] = {"complete": "good", "running": "warn", "stopped": "warn", "failed": "bad"}
HEADLINES = ("rewards/accuracies", "rewards/margins", "loss", "ranking_accuracy", "nll_loss")
SHOWN_ELSEWHERE = frozenset(
    {"advice", "best_step", "diagnosis", "metric_for_best", "metrics", "own_metrics", "stop_reason"}
)
GOOD, FIXED, BAD = 2, 4, 1  # series colours


def run_report(paths: Sequence[str | Path]) -> str:
    """The HTML report of one run, or the comparison of several. Raises RunError where a folder is not a run."""
    return render(run_page([read_run(path) for path in paths]))


def run_page(runs: Sequence[RunData]) -> Page:
    """The page of one run, or of several laid side by side; sections without content are left out."""
    assert runs, "a report needs a run"
    single = len(runs) == 1
    sections = [
        None if single else _comparison_section(runs),
        _findings_section(runs),
        _curve_section(runs),
        _samples_section(runs),
        _data_section(runs),
        lineage_section(runs),
        _config_section(runs),
        _metrics_section(runs),
        _surroundings_section(runs),
    ]
    first = runs[0]
    return Page(
        title=first.name if single else f"{len(runs)} runs compared",
        subtitle=f"Fairlead {first.record.get('stage', '')} report" if single else "Fairlead comparison",
        status=str(first.record.get("status", "")) if single else "",
        tone=STATUS_TONES.get(str(first.record.get("status")), "") if single else "",
        header=_header(first) if single else (),
        sections=[section for section in sections if section is not None],
        footer="Made by Fairlead from run directories alone. This file holds no script and fetches nothing.",
    )


def duration(seconds: float | None) -> str:
    """A wall-clock time as a person would say it: 4 min 20 s."""
    if seconds is None:
        return "not finished"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _header(run: RunData) -> list[Block]:
    facts = [
        ("Model", run.model or "–"),
        ("Method", run.method),
        ("Data", f"{run.rows:,} rows, sha256 {run.data_digest[:DIGEST_SHOWN]}" if run.data_digest else "–"),
        *(("Data set", name) for name in run.data_sets),
        ("Best step", _best_text(run)),
        ("Wall-clock", duration(run.seconds)),
        ("Started", str(run.record.get("created", ""))[:16].replace("T", " ") + " UTC"),
    ]
    blocks: list[Block] = [Facts(facts=facts)]
    if numbers := _headlines(run):
        blocks.append(Numbers(numbers=numbers))
    return blocks


def _best_text(run: RunData) -> str:
    if run.best_step is None:
        return "–"
    return f"{run.best_step:,}, by {run.metric_for_best.removeprefix(EVAL_PREFIX)}"


def _headlines(run: RunData) -> list[Number]:
    """The held-out metrics people ask for first, at the best step, with where they began."""
    numbers = []
    for name in HEADLINES:
        series = run.series.get(EVAL_PREFIX + name)
        value = None if series is None else series.at(run.best_step)
        if series is None or value is None:
            continue
        unit = "share" if METRICS[name].unit == "share" else ""
        began = (
            "" if series.steps[0] == run.best_step else f"{amount(series.values[0], unit)} at step {series.steps[0]}"
        )
        tone = _tone_of_change(value - series.values[0], METRICS[name].direction)
        numbers.append(Number(label=f"{name}, held out", value=amount(value, unit), note=began, tone=tone))
    speed = run.series.get("tokens/s")
    if speed is not None and (finite := [value for value in speed.values if value == value]):
        middle = sorted(finite)[len(finite) // 2]
        numbers.append(Number(label="tokens/s, training", value=short_number(middle), note="median over steps"))
    return numbers


def _tone_of_change(change: float, direction: str) -> Tone:
    if direction == "none" or not change:
        return ""
    return "good" if (change > 0) == (direction == "up") else "bad"


def _comparison_section(runs: Sequence[RunData]) -> Section:
    columns = [
        Column(title="run"),
        Column(title="status"),
        Column(title="method"),
        Column(title="model"),
        Column(title="data", mono=True),
        Column(title="best step", numeric=True),
        Column(title="wall-clock", numeric=True),
    ]
    rows: list[list[str | Cell]] = []
    for index, run in enumerate(runs):
        status = str(run.record.get("status", ""))
        best = "–" if run.best_step is None else f"{run.best_step:,}"
        rows.append(
            [
                Cell(text=run.name, tone="strong", color=index),
                Cell(text=status, tone=STATUS_TONES.get(status, "")),
                run.method,
                run.model or "–",
                run.data_digest[:DIGEST_SHOWN] or "–",
                best,
                duration(run.seconds),
            ]
        )
    blocks: list[Block] = [Table(columns=columns, rows=rows)]
    if measured := _held_out_table(runs):
        blocks.append(measured)
    return Section(title="The runs", blocks=blocks)


def _findings_section(runs: Sequence[RunData]) -> Section | None:
    """What is unusual about the runs, or went wrong in them: before any curve is believed."""
    several = len(runs) > 1
    found = [(run.name, text) for run in runs for text in run.findings]
    blocks = [Prose(text=f"{name}: {text}" if several else _as_sentence(text), tone="warn") for name, text in found]
    return Section(title="Worth knowing first", blocks=blocks) if blocks else None


def _as_sentence(text: str) -> str:
    """With a capital, unless it begins with the name of a metric or a field."""
    return text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text


def _held_out_table(runs: Sequence[RunData]) -> Table | None:
    """Each held-out metric at each run's best step; the best run of a row is set off, if the metric has a direction."""
    measured = {name for run in runs for name in run.series if name.startswith((EVAL_PREFIX, PROBE_PREFIX))}
    own = {name for run in runs for name in run.own_metrics if name in run.series}
    names, meanings = sorted(measured | own, key=_usual_first), known_metrics(runs)
    rows: list[list[str | Cell]] = []
    for name in names:
        metric = meanings.get(name.removeprefix(EVAL_PREFIX))
        values = [run.series[name].at(run.best_step) if name in run.series else None for run in runs]
        known = [value for value in values if value is not None and value == value]
        if not known:
            continue
        unit = "share" if metric is not None and metric.unit == "share" else ""
        texts = ["–" if value is None else amount(value, unit) for value in values]
        best = amount(max(known) if metric and metric.direction == "up" else min(known), unit)
        marked = metric is not None and metric.direction != "none" and len(set(texts)) > 1
        note = DIRECTIONS[metric.direction] if metric else ""
        cells: list[str | Cell] = [Cell(text=name.removeprefix(EVAL_PREFIX), note=note)]
        cells += [Cell(text=text, tone="strong" if marked and text == best else "") for text in texts]
        rows.append(cells)
    if not rows:
        return None
    columns = [Column(title="held out, at the best step"), *_run_columns(runs)]
    caption = "The best value of a row is bold. A loss compares only runs with the same loss and the same data."
    return Table(title="Held-out metrics", columns=columns, rows=rows, caption=caption)


def _run_columns(runs: Sequence[RunData]) -> list[Column]:
    return [Column(title=run.name, numeric=True, color=index) for index, run in enumerate(runs)]


def _usual_first(name: str) -> tuple[int, str]:
    bare = name.removeprefix(EVAL_PREFIX)
    return (HEADLINES.index(bare) if bare in HEADLINES else len(HEADLINES), bare)


def _curve_section(runs: Sequence[RunData]) -> Section | None:
    if not any(run.series for run in runs):
        return None
    figures = curve_figures(runs, range(len(runs)))
    lead = "Every metric of the run over its steps."
    if len(runs) == 1 and runs[0].best_step is not None:
        lead += " The dashed line stands at the step of the best checkpoint."
    return Section(title="Curves", lead=lead, blocks=[figures])


def _samples_section(runs: Sequence[RunData]) -> Section | None:
    """One entry per prompt; with several runs their replies stand beside one another."""
    prompts = dict.fromkeys(sample.prompt for run in runs for sample in run.samples)
    if not prompts:
        return None
    exchanges = [Exchange(prompt=prompt, replies=_replies(runs, prompt)) for prompt in prompts]
    lead = "The same held-out prompts answered before and after training. Samples show what changed, not how much."
    return Section(title="Sample completions", lead=lead, blocks=[Exchanges(exchanges=exchanges)])


def _replies(runs: Sequence[RunData], prompt: str) -> list[Reply]:
    """What was said before, once where the runs agree on it, then what each run's model says after."""
    found = [(index, run.name, sample) for index, run in enumerate(runs) for sample in run.samples]
    found = [(index, name, sample) for index, name, sample in found if sample.prompt == prompt]
    before = {sample.before: name for _, name, sample in reversed(found) if sample.before is not None}
    several = len(before) > 1
    replies = [Reply(label=f"before {name}" if several else "before", text=text) for text, name in before.items()]
    for index, name, sample in found:
        if sample.after is not None:
            replies.append(Reply(label="after" if len(runs) == 1 else f"after {name}", text=sample.after, color=index))
    return replies


def _data_section(runs: Sequence[RunData]) -> Section | None:
    """Each ledger once: runs on the same rows share one."""
    named: list[tuple[Ledger, list[str]]] = []
    for run in runs:
        same = next((names for ledger, names in named if ledger == run.ledger), None)
        if same is not None:
            same.append(run.name)
        elif run.ledger is not None:
            named.append((run.ledger, [run.name]))
    if not named:
        return None
    blocks: list[Block] = []
    for ledger, names in named:
        blocks += _ledger_blocks(ledger, "" if len(names) == len(runs) else ", ".join(names))
    return Section(title="Data ledger", lead="Every row that came in is accounted for.", blocks=blocks)


def _ledger_blocks(ledger: Ledger, name: str) -> Iterator[Block]:
    counts = (("ok", ledger.ok, GOOD), ("fixed", ledger.fixed, FIXED), ("quarantined", ledger.quarantined, BAD))
    total = max(1, ledger.rows_in)
    keys = [
        Key(label=f"{label} {count:,} ({percent(count / total)})", color=tint, mark="fill")
        for label, count, tint in counts
    ]
    bar = share_bar([(count, tint) for _, count, tint in counts], description="rows ok, fixed and quarantined")
    title = f"{ledger.rows_in:,} rows in" + (f", {name}" if name else "")
    yield Figures(figures=[Figure(title=title, svg=bar, keys=keys, wide=True)])
    if ledger.by_code:
        columns = [
            Column(title="reason"),
            Column(title="outcome"),
            Column(title="rows", numeric=True),
            Column(title="share", numeric=True),
        ]
        by_count = sorted(ledger.by_code.items(), key=lambda item: (-item[1], item[0]))
        yield Table(columns=columns, rows=[_reason_row(code, count, total) for code, count in by_count])


def _reason_row(code: str, count: int, total: int) -> list[str | Cell]:
    reason = REASONS.get(code)
    meaning = "" if reason is None else reason.meaning[:1].upper() + reason.meaning[1:] + "."
    outcome = "–" if reason is None else reason.outcome
    return [Cell(text=code, note=meaning), outcome, f"{count:,}", percent(count / total)]


def _config_section(runs: Sequence[RunData]) -> Section:
    """What the user set, then the defaults; with several runs only what differs is in sight."""
    flat = [dict(_flatten(run.config)) for run in runs]
    fields = list(dict.fromkeys(field for values in flat for field in values))

    def row(field: str) -> list[str | Cell]:
        cells: list[str | Cell] = [field]
        for run, values in zip(runs, flat, strict=True):
            chosen = field in run.user_set
            cells.append(Cell(text=values.get(field, "–"), tone="strong" if chosen else "muted"))
        return cells

    def table(title: str, names: Sequence[str], *, folded: bool) -> list[Block]:
        values = [Column(title="value")] if len(runs) == 1 else _run_columns(runs)
        columns = [Column(title="field"), *values]
        return [Table(title=title, columns=columns, rows=[row(name) for name in names], folded=folded)] if names else []

    if len(runs) == 1:
        front = [name for name in fields if name in runs[0].user_set]
        titles = (f"Set by the user ({len(front)})", f"Defaults ({len(fields) - len(front)})")
    else:
        front = [name for name in fields if len({values.get(name) for values in flat}) > 1]
        titles = (f"What differs ({len(front)})", f"What is the same ({len(fields) - len(front)})")
    rest = [name for name in fields if name not in front]
    blocks = table(titles[0], front, folded=False) + table(titles[1], rest, folded=bool(front))
    return Section(title="Configuration", lead="Values the user set are bold; the others are defaults.", blocks=blocks)


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as text. A list of sections counts its items, a list of values stays one value."""
    if isinstance(value, Mapping) and (value or not name):
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{name}.{index}")
    elif isinstance(value, list):
        yield name, ", ".join(_plain(item) for item in value) or "none"
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metrics_section(runs: Sequence[RunData]) -> Section | None:
    present = sorted({name.removeprefix(EVAL_PREFIX) for run in runs for name in run.series})
    known = known_metrics(runs)
    rows = [[name, sentence(known[name]) or "–", known[name].unit or "–"] for name in present if name in known]
    if not rows:
        return None
    columns = [Column(title="metric"), Column(title="meaning and direction"), Column(title="unit")]
    lead = "A name with eval/ before it in events.jsonl is the same measure on held-out rows."
    return Section(title="What the metrics mean", lead=lead, blocks=[Table(columns=columns, rows=rows)])


def _surroundings_section(runs: Sequence[RunData]) -> Section:
    blocks: list[Block] = []
    for _, same in groupby(runs, key=_surroundings):
        alike = list(same)
        if len(runs) > 1:
            blocks.append(Prose(text=", ".join(run.name for run in alike), tone="strong"))
        blocks.append(Facts(facts=_surroundings(alike[0])))
    return Section(title="Surroundings", lead="What the run ran on and with.", blocks=blocks)


def _surroundings(run: RunData) -> list[tuple[str, str]]:
    facts = [("seed", str(run.record.get("seed", "–"))), *_hardware(run.record.get("hardware") or {})]
    facts += [(f"git {name}", value) for name, value in _flatten(run.record.get("git") or {})]
    facts += list(_flatten({name: value for name, value in run.extra.items() if name not in SHOWN_ELSEWHERE}))
    facts += list(_flatten(run.record.get("packages") or {}))
    return [(name, value) for name, value in facts if name]


def _hardware(hardware: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in hardware.items():
        if name.endswith("_bytes") and isinstance(value, int):
            yield name.removesuffix("_bytes"), f"{value / 2**30:.1f} GiB"
        else:
            yield from _flatten(value, name)
