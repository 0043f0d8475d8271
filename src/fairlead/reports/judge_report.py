"""The page of a judge run: whether it counts, who wins, what the judges are worth, and some comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from fairlead.errors import RunError
from fairlead.reports.figures import Estimate, percent, short_number
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
    Number,
    Numbers,
    Page,
    Prose,
    Reply,
    Section,
    Table,
    render,
)
from fairlead.reports.ranking_figure import ranking_figure
from fairlead.runs.directory import RunDirectory
from fairlead.stats.intervals import Interval

WINS = "judge/win_rate"
DIRECTIONS = {"up": "higher is better", "down": "lower is better", "none": ""}
RANKING = "ranking.json"
SIGNED = "judge/self_preference"
"""How the names of differences between two shares begin."""
PANEL = "judge/panel_agreement"
ORDERS_LEAD = "Both orders were asked; judges that changed their mind with the order count as a tie."
JUDGES_LEAD = (
    "Each judge was asked more than the comparisons: planted answers that must lose, the same under a user's opinion, "
    "and, where it can write, its own answers."
)
RANKING_LEAD = "Every two models were compared on the prompts that both answered; the candidate's dot is filled."


def judge_report(path: str | Path) -> str:
    """The report of one judge run as HTML, made of the run directory alone. Raises RunError where it is none."""
    run = RunDirectory.open(path)
    content = _read(run, "measures.json", dict)
    measures = content["measures"]
    examples = _read(run, "examples.json", list)
    ranking = _read(run, RANKING, dict) if (run.path / RANKING).is_file() else None
    extra = run.record["extra"]
    void: Sequence[str] = extra["void"]
    about = [measure for measure in measures if not set(measure["slice"]) & {"judge", "model"}]
    about = [measure for measure in about if measure["name"] != PANEL]
    sections = [
        Section(title="What the judges are worth", blocks=list(_judges(measures)), lead=JUDGES_LEAD),
        Section(title="Comparisons", blocks=list(_samples(examples, void=bool(void)))),
        Section(title="How it was done", blocks=[_how(run, extra["account"])]),
    ]
    if not void:
        title = "Candidate against baseline" if ranking is None else "Candidate against the others"
        table = Comparison(columns=[content["model"]], rows=[_row(measure, [measure]) for measure in about])
        sections.insert(0, Section(title=title, blocks=[table], lead=ORDERS_LEAD))
    if ranking is not None and not void:
        blocks = list(_ranking(ranking, content["model"]))
        sections.insert(0, Section(title="Ranking", blocks=blocks, lead=RANKING_LEAD))
    return render(
        Page(
            title=run.path.resolve().name,
            subtitle="Fairlead judge report",
            status="void" if void else "valid",
            tone="bad" if void else "good",
            header=list(_header(about, void, ranking, content["model"])),
            sections=sections,
            footer="Made by Fairlead from the run directory alone. This file holds no script and fetches nothing.",
        )
    )


def _header(
    about: Sequence[Mapping[str, Any]], void: Sequence[str], ranking: Mapping[str, Any] | None, candidate: str
) -> Iterator[Block]:
    """What came of it, in a sentence, before any figure; a void run has no figures of the models."""
    if void:
        yield Prose(text="Void: nothing can be concluded, because not every planted answer lost.", tone="bad")
        for sentence in void:
            yield Prose(text=sentence, tone="bad")
        return
    yield _verdict(about, ranking, candidate)
    yield _headline(about)


def _verdict(about: Sequence[Mapping[str, Any]], ranking: Mapping[str, Any] | None, candidate: str) -> Block:
    wins = next(measure for measure in about if measure["name"] == WINS and not measure["slice"])
    if wins["value"] is None or wins["low"] is None:
        return Prose(text="No comparison has a verdict.", tone="warn")
    others = "the baseline" if ranking is None else "the others"
    how = f"{_shown(wins, 'value')} ({_shown(wins, 'low')} to {_shown(wins, 'high')}) of {wins['n']:,} comparisons"
    if wins["low"] > 0.5:
        return Prose(text=f"{candidate} is preferred to {others}: it wins {how}.", tone="strong")
    if wins["high"] < 0.5:
        return Prose(text=f"{candidate} is not preferred to {others}: it wins only {how}.", tone="strong")
    return Prose(text=f"No difference is shown between {candidate} and {others}: it wins {how}.", tone="strong")


def _read(run: RunDirectory, name: str, shape: type) -> Any:
    try:
        content = json.loads((run.path / name).read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{run.path / name}: cannot be read ({error}). Name the run of `fairlead judge`.") from None
    if not isinstance(content, shape):
        raise RunError(f"{run.path / name}: does not hold what a judge run writes there. The run was damaged.")
    return content


def _headline(measures: Sequence[Mapping[str, Any]]) -> Block:
    labels = {WINS: "Win rate", "judge/win_rate_length_controlled": "Length-controlled"}
    whole = [measure for measure in measures if measure["name"] in labels and not measure["slice"]]
    return Numbers(
        numbers=[
            Number(label=labels[each["name"]], value=_shown(each, "value"), note=f"{_range(each)} n = {each['n']:,}")
            for each in whole
        ]
    )


def _ranking(ranking: Mapping[str, Any], candidate: str) -> Iterator[Block]:
    """The models in order as a figure and a table, and who beat whom."""
    if ranking["why"]:
        yield Prose(text=ranking["why"], tone="warn")
    figure = Figure(title="Bradley–Terry strength, 95 % interval", svg=ranking_figure(ranking, candidate=candidate))
    yield Figures(figures=[figure], large=True)
    columns = [Column(title="", numeric=True), Column(title="model")]
    columns += [Column(title=title, numeric=True) for title in ("strength", "win rate", "comparisons")]
    rows: list[list[str | Cell]] = [
        [
            str(place),
            Cell(text=each["name"], tone="strong" if each["name"] == candidate else ""),
            _cell(each["strength"], lambda value: f"{round(value, 2) + 0:.2f}".replace("-", "−")),
            _cell(each["win_rate"], percent),
            f"{each['win_rate']['n']:,}",
        ]
        for place, each in enumerate(ranking["models"], start=1)
    ]
    unfit = f" {ranking['unfit']:,} bootstrap samples had no finite strengths." if ranking["unfit"] else ""
    yield Table(columns=columns, rows=rows, caption=f"The win rate is that against all others together.{unfit}")
    pairs = [
        [each["first"], each["second"], *(f"{each[key]:,}" for key in ("first_wins", "ties", "second_wins"))]
        for each in ranking["pairs"]
    ]
    heads = [Column(title="first"), Column(title="second")]
    heads += [Column(title=title, numeric=True) for title in ("first wins", "ties", "second wins")]
    if pairs:
        yield Table(columns=heads, rows=pairs, title="Every two models", folded=True)


def _cell(figures: Mapping[str, Any], text: Callable[[float], str]) -> Cell:
    if figures["value"] is None:
        return Cell(text="–", tone="muted")
    known = figures["low"] is not None and figures["high"] is not None
    return Cell(text=text(figures["value"]), note=f"{text(figures['low'])} to {text(figures['high'])}" if known else "")


def _judges(measures: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """How far the judges agree, what to beware of, and a row per figure with a column per judge."""
    own = [measure for measure in measures if "judge" in measure["slice"]]
    for measure in measures:
        if measure["name"] == PANEL:
            how = f"{_shown(measure, 'value')} ({_range(measure)} n = {measure['n']:,})"
            yield Prose(text=f"Among themselves the judges agree with a Fleiss' kappa of {how}.")
    yield from _tastes(own)
    names = list(dict.fromkeys(measure["slice"]["judge"] for measure in own))
    found = {(_row_name(measure), measure["slice"]["judge"]): measure for measure in own}
    figures = {_row_name(measure): measure for measure in own}
    rows = [_row(measure, [found.get((name, judge)) for judge in names]) for name, measure in figures.items()]
    yield Comparison(columns=names, rows=rows)


def _tastes(own: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """A warning for each judge that prefers its own answers beyond chance."""
    for measure in own:
        if measure["name"] == SIGNED and measure["low"] is not None and measure["low"] > 0:
            judge, others = measure["slice"]["judge"], measure["slice"]["against"]
            than = "the rest of the panel does" if others == "panel" else "people do"
            text = f"Judge {judge!r} prefers its own answers more often than {than}, in {_shown(measure, 'value')} more"
            yield Prose(text=f"{text} of the comparisons ({_range(measure)} n = {measure['n']:,}).", tone="warn")


def _row_name(measure: Mapping[str, Any]) -> str:
    part = ", ".join(f"{key} {value}" for key, value in measure["slice"].items() if key != "judge")
    return f"{measure['name']} ({part})" if part else str(measure["name"])


def _row(about: Mapping[str, Any], measures: Sequence[Mapping[str, Any] | None]) -> Measurement:
    signed = about["unit"] == "" or about["name"].startswith(SIGNED)
    return Measurement(
        name=_row_name(about),
        estimates=[None if each is None or each["value"] is None else _estimate(each) for each in measures],
        meaning=about["meaning"],
        direction=DIRECTIONS[about["direction"]],
        unit=about["unit"],
        scale=(-1.0, 1.0) if signed else None,
    )


def _estimate(measure: Mapping[str, Any]) -> Estimate:
    low, high = (nan if measure[end] is None else measure[end] for end in ("low", "high"))
    return Estimate(value=measure["value"], interval=Interval(low, high), n=measure["n"])


def _shown(measure: Mapping[str, Any], key: str) -> str:
    value = measure[key]
    return "–" if value is None else percent(value) if measure["unit"] == "share" else short_number(value)


def _range(measure: Mapping[str, Any]) -> str:
    return "" if measure["low"] is None else f"{_shown(measure, 'low')} to {_shown(measure, 'high')},"


def _samples(examples: Sequence[Mapping[str, str]], *, void: bool) -> Iterator[Block]:
    if void:
        yield Prose(
            text="What the judges held of these shows how they err; it says nothing of the models.", tone="muted"
        )
    if not examples:
        yield Prose(text="No comparison has a verdict.", tone="muted")
        return
    yield Exchanges(
        exchanges=[
            Exchange(
                prompt=each["prompt"],
                replies=[
                    Reply(label=_label(each, "candidate"), text=each["candidate"], color=0),
                    Reply(label=_label(each, "baseline"), text=each["baseline"]),
                ],
            )
            for each in examples
        ]
    )


def _label(example: Mapping[str, str], side: str) -> str:
    """Whose answer it is, and what was held of it."""
    held = "tie" if example["outcome"] == "tie" else "preferred" if example["outcome"] == side else "not preferred"
    apart = example["first"] != example["second"]
    name = example["first" if side == "candidate" else "second"] if apart else side
    return f"{name} ({held})"


def _how(run: RunDirectory, account: Mapping[str, Any]) -> Block:
    facts = [
        ("Comparisons", f"{account['comparisons']:,}"),
        ("Left out, without a counterpart", f"{sum(account['left_out'].values()):,}"),
        ("Answers asked of judges", f"{account['showings']:,}, {account['cached']:,} of them kept from earlier"),
        ("Calls to servers", f"{account['calls']:,}, for {account['cost']:.4g}"),
        ("Without a verdict", ", ".join(f"{name} {number}" for name, number in account["faults"].items()) or "none"),
        ("Answers that judges wrote themselves", _own(account)),
        ("Preferences written", f"{account['preferences']:,}, marked as judged by machine"),
        ("Set aside for people", f"{account['for_people']:,}"),
        ("Judged", str(run.record.get("created", ""))[:16].replace("T", " ") + " UTC"),
    ]
    return Facts(facts=facts)


def _own(account: Mapping[str, Any]) -> str:
    left_out = ", ".join(f"{reason} {number}" for reason, number in account["own_answers_left_out"].items())
    return f"{account['own_answers']:,}" + (f", of which left out: {left_out}" if left_out else "")
