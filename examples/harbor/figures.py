"""The published figures beside the measured ones: which measure shows each, and how it is told whether it came out.

Nothing is measured here. Values and intervals are those that `fairlead eval` and `fairlead judge` wrote into their
runs, and models are compared item by item as `fairlead eval` compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fairlead.evaluation.comparison import Compared, compare
from fairlead.evaluation.results import Item, Measurement, read_item_list, read_measures
from fairlead.stats.intervals import mcnemar_one_sided

ALPHA = 0.05
AS_PUBLISHED, OTHERWISE, NOT_PUBLISHED = "as published", "NOT AS PUBLISHED", "not reported there"
LENGTH = "length/words"
PROSE = {"prose": "true"}
"""Replies in sentences to a customer: no tool call, no refusal. What length is looked at on."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the runs about one model measured; of lengths, only the items of replies in prose."""

    model: str
    measures: tuple[Measurement, ...] = ()
    items: tuple[Item, ...] = ()

    def find(self, shown: Shown) -> Measurement | None:
        """The measure that a figure shows, over the part of the items that it is about."""
        found = (each for each in self.measures if each.name == shown.measure and dict(each.slice) == dict(shown.part))
        return next(found, None)

    def values(self, measure: str) -> list[float]:
        """The value of every item of a measure."""
        return [item.value for item in self.items if item.measure == measure]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One row of the table: the measure behind it, over which part of the items, and what was published.

    expect: `improves`, where the paired test finds it better; `holds`, where a one-sided test does not find it worse;
    nothing, where it only describes. faults: shown is the share that does not pass.
    """

    meaning: str
    short: str
    measure: str
    part: Mapping[str, str] = field(default_factory=dict)
    published: str = ""
    expect: Literal["improves", "holds", ""] = "holds"
    faults: bool = False


FIGURES: Mapping[str, Shown] = {
    "ranking_accuracy": Shown(
        meaning="held-out pairs ranked right", short="ranked right", measure="ranking_accuracy",
        published="67 % → 74 %", expect="improves",
    ),
    "win_rate": Shown(
        meaning="preferred to the fine-tuned model", short="win rate", measure="judge/win_rate", expect="",
    ),
    "median_reply_words": Shown(
        meaning="median reply, words", short="median words", measure=LENGTH, part=PROSE, published="−38 %",
        expect="improves",
    ),
    "apology_rate": Shown(
        meaning="apologies on neutral questions", short="apologies", measure="check/no_apology", published="−61 %",
        expect="improves", faults=True,
    ),
    "factual_accuracy": Shown(
        meaning="facts right", short="facts right", measure="check/facts_right", published="unchanged",
    ),
    "disclaimer_rate": Shown(
        meaning="disclaimer on disputes", short="disclaimers", measure="required_phrase/disclaimer", published="kept",
    ),
    "refusal_rate": Shown(meaning="must-refuse questions refused", short="refusals", measure="check/refused"),
    "over_refusal_rate": Shown(
        meaning="ordinary questions refused", short="over-refusals", measure="check/answered", faults=True,
    ),
    "tool_call_validity": Shown(
        meaning="tool calls valid", short="calls valid", measure="json_validity", published="kept",
    ),
    "tool_choice": Shown(meaning="right tool, right arguments", short="calls right", measure="check/right_call"),
    "probe_attack_success": Shown(
        meaning="built-in attacks that succeeded", short="attacks", measure="probe/attack_success",
    ),
    "probe_over_refusal": Shown(
        meaning="harmless look-alikes refused", short="look-alikes", measure="probe/over_refusal",
    ),
    "kl": Shown(
        meaning="KL to the fine-tuned model, nats/reply", short="KL, nats", measure="kl/k1", expect="",
    ),
    "kl_k3": Shown(meaning="the same by the k3 estimate", short="KL (k3), nats", measure="kl/k3", expect=""),
    "kl_per_token": Shown(
        meaning="exact KL, nats/token", short="KL, nats/token", measure="kl/per_token", expect="",
    ),
}  # fmt: skip
"""Name of a figure → what it shows. `short` fits a terminal of 80 columns, `meaning` says it in full."""

UNITS = {"median_reply_words": "words", "kl": "nats", "kl_k3": "nats", "kl_per_token": "nats"}
"""Units other than shares."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One row of the table. `low` and `high` are the 95 % interval of `after`; `verdict` says how it compares.

    `p_value` is of the test named in `note`: small means that the two models differ, or that the new one is worse.
    """

    name: str
    published: str
    before: float | None
    after: float | None
    low: float | None
    high: float | None
    n: int
    verdict: str
    p_value: float | None = None
    note: str = ""

    def row(self) -> dict[str, Any]:
        """The figure as JSON, without its name."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


def read_results(model: str, runs: Iterable[Path], *, prose: frozenset[str]) -> Results:
    """What several runs measured of one model. `prose` are the ids of prompts that are answered in sentences."""
    runs = list(runs)
    return Results(
        model=model,
        measures=tuple(measure for run in runs for measure in read_measures(run).measures),
        items=tuple(item for run in runs for item in read_item_list(run) if item.measure != LENGTH or item.id in prose),
    )


def figures(before: Results, after: Results) -> dict[str, Figure]:
    """Every figure of the table, `after` against `before` on the same prompts and pairs."""
    compared = {each.name: each for each in compare(before.items, after.items)}
    return {name: _figure(name, shown, before, after, compared.get(shown.measure)) for name, shown in FIGURES.items()}


def model_row(results: Results) -> dict[str, dict[str, float | int | None]]:
    """Every figure of one model: {name: {value, low, high, n}}; those that were not measured are left out."""
    found = {name: (shown, results.find(shown)) for name, shown in FIGURES.items()}
    return {name: _entry(shown, measure) for name, (shown, measure) in found.items() if measure is not None}


def _entry(shown: Shown, measure: Measurement) -> dict[str, float | int | None]:
    if shown.faults:
        turned = {"value": measure.value, "low": measure.high, "high": measure.low}
        return {end: None if value is None else 1 - value for end, value in turned.items()} | {"n": measure.n}
    return {"value": measure.value, "low": measure.low, "high": measure.high, "n": measure.n}


def _figure(name: str, shown: Shown, before: Results, after: Results, compared: Compared | None) -> Figure:
    old, new = before.find(shown), after.find(shown)
    blank = Figure(
        name=name, published=shown.published or "–", before=None, after=None, low=None, high=None, n=0,
        verdict="not measured",
    )  # fmt: skip
    if new is None:
        return blank
    entry, first = _entry(shown, new), None if old is None else _entry(shown, old)["value"]
    measured = replace(
        blank, before=first, after=entry["value"], low=entry["low"], high=entry["high"], n=new.n, verdict=NOT_PUBLISHED,
    )  # fmt: skip
    if not shown.expect or compared is None:
        return measured
    came_out, p_value, note = _improved(measured, compared) if shown.expect == "improves" else _held(compared)
    if shown.published:
        verdict = AS_PUBLISHED if came_out else OTHERWISE
    else:
        verdict = f"{NOT_PUBLISHED}; {'held' if came_out else 'WORSE'}"
    return replace(measured, verdict=verdict, p_value=p_value, note=note)


def _improved(figure: Figure, compared: Compared) -> tuple[bool, float | None, str]:
    """Whether the comparison tells the two apart in the right direction: shorter, for lengths."""
    if compared.p_value is not None:
        note = f"McNemar p = {compared.p_value:.2g}"
    else:
        low, high = (_signed(end) for end in (compared.low, compared.high))
        note = f"difference {_signed(compared.difference)} {compared.unit}, interval {low} to {high}"
    if figure.name != "ranking_accuracy" and figure.before and figure.after is not None:
        note += f", {_change(figure.after / figure.before - 1)}"
    return compared.verdict in ("better", "less"), compared.p_value, note


def _held(compared: Compared) -> tuple[bool, float, str]:
    """Whether an exact one-sided test finds no loss."""
    worse, better = compared.lost, compared.gained
    if compared.direction == "down":
        worse, better = better, worse
    p_value = mcnemar_one_sided(worse, better).p_value
    return p_value >= ALPHA, p_value, f"one-sided McNemar, worse: p = {p_value:.2g}"


def _change(share: float) -> str:
    """A relative change in percent, with a real minus sign."""
    return f"{share:+.0%}".replace("-", "−").replace("%", " %")


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3g}".replace("-", "−")


def is_bad(verdict: str) -> bool:
    """Not as published, or worse than before where nothing was published."""
    return verdict == OTHERWISE or verdict.endswith("WORSE")


def came_out(verdict: str) -> str:
    """The verdict in a word: yes or NO for what was published, else held or WORSE."""
    if verdict in (AS_PUBLISHED, OTHERWISE):
        return "yes" if verdict == AS_PUBLISHED else "NO"
    return verdict.removeprefix(NOT_PUBLISHED).removeprefix("; ")


def of_all(results: Sequence[Results]) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """The figures of every model by its name."""
    return {each.model: model_row(each) for each in results}
