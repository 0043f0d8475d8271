"""One set, several criteria: rubric versions side by side, and groups that prefer opposite things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from typing import Any, NamedTuple

import numpy as np

from fairlead.data.audit.cues import bullets, markdown, warmth
from fairlead.data.audit.findings import Finding, Kind, Severity
from fairlead.data.audit.grading import finding, percent
from fairlead.data.audit.length import unit_of
from fairlead.data.audit.material import Floats, Indices, Material, Measure
from fairlead.data.audit.settings import AuditSettings
from fairlead.data.audit.votes import seconds
from fairlead.stats.intervals import Interval, wilson

ONE_RUBRIC = (
    "Decide which is meant, write it into the rubric with an example, and judge the rows of the other group again."
)

KINDS = {
    "rubric_versions": Kind(
        title="Rubric versions",
        meaning="versions of the rubric by which the rows of this one set were judged",
        remedy="Train on one version: judge the rows of the others again by it, or leave them out.",
        unit="versions",
    ),
    "flip_between_annotators": Kind(
        title="Annotators prefer opposite things",
        meaning="difference between two people in how often they prefer more length, warmth or formatting",
        remedy=ONE_RUBRIC,
    ),
    "flip_between_periods": Kind(
        title="The preference turned round",
        meaning="difference between two periods in how often more length, warmth or formatting is preferred",
        remedy=ONE_RUBRIC,
    ),
    "flip_between_rubrics": Kind(
        title="Rubric versions prefer opposite things",
        meaning="difference between two rubric versions in how often more length, warmth or formatting is preferred",
        remedy=ONE_RUBRIC,
    ),
}

ALPHA = 0.05
MOST_LISTED = 12


def formatting(text: str) -> float:
    """Markdown and bullets together."""
    return markdown(text) + 100 * bullets(text)


class Choices(NamedTuple):
    """Each choice of one completion over another: the place of the item, whether a won, and who, when, by what rubric.

    annotator and rubric are places in `annotators` and `rubrics`, −1 for none; time is nan where not known.
    """

    item: Indices
    a_won: Indices
    annotator: Indices
    annotators: Sequence[str]
    time: Floats
    rubric: Indices
    rubrics: Sequence[str]


class Lean(NamedTuple):
    """How often a group prefers more of a cue: k of the n choices whose sides differ in it."""

    group: str
    k: int
    n: int
    interval: Interval

    @property
    def share(self) -> float:
        return self.k / self.n


def mixed(material: Material, settings: AuditSettings) -> Iterator[Finding]:
    """Rubric versions, then flips between annotators, periods and versions."""
    yield from _versions(material)
    choices = _choices(material)
    if not choices.item.size:
        return
    measures = {"length": unit_of(material).measure, "warmth": warmth, "formatting": formatting}
    spans, names = _periods(choices.time, settings.periods)
    for code, group, labels, least in (
        ("flip_between_annotators", choices.annotator, choices.annotators, settings.min_votes),
        ("flip_between_periods", spans, names, settings.min_items),
        ("flip_between_rubrics", choices.rubric, choices.rubrics, settings.min_items),
    ):
        if np.unique(group[group >= 0]).size > 1:
            yield from _flip(code, material, choices, group, labels, least, measures, settings)


def _versions(material: Material) -> Iterator[Finding]:
    found: Counter[str] = Counter()
    rows: dict[str, list[str]] = {}
    for row in material.ordered_rows:
        said = {getattr(each, "rubric", None) for each in getattr(row, "annotations", ())}
        versions = {str(version) for version in {*said, row.meta.get("rubric")} if version is not None}
        found.update(versions)
        for version in versions:
            rows.setdefault(version, []).append(row.id)
    if not found:
        return
    common = max(found, key=lambda version: (found[version], version))
    others = sorted((version for version in found if version != common), key=lambda version: (found[version], version))
    shown = ", ".join(f"{version}: {found[version]:,} rows" for version in [*others, common])
    yield finding(
        "rubric_versions",
        ("warning" if others else "note", 2),
        len(found),
        n=len(material.rows),
        rows=[name for version in others for name in rows[version]],
        detail=shown,
        data={"versions": dict(sorted(found.items()))},
    )


def _choices(material: Material) -> Choices:
    """The votes for a side; where rows have none, their verdicts, with what meta says of who, when and by what."""
    votes = material.votes
    chosen = (votes.label == 0) | (votes.label == 2)
    if chosen.any():
        return Choices(
            votes.item[chosen],
            (votes.label[chosen] == 0).astype(np.int64),
            votes.annotator[chosen],
            votes.annotators,
            votes.time[chosen],
            votes.rubric[chosen],
            votes.rubrics,
        )
    metas = [material.items[place].meta for place in material.pairs]
    annotator, annotators = _coded([meta.get("annotator", meta.get("editor")) for meta in metas])
    rubric, rubrics = _coded([meta.get("rubric") for meta in metas])
    times = [seconds(str(meta["at"])) if meta.get("at") is not None else np.nan for meta in metas]
    time = np.array(times, dtype=np.float64)
    return Choices(material.pairs, material.a_wins.astype(np.int64), annotator, annotators, time, rubric, rubrics)


def _coded(values: Sequence[Any]) -> tuple[Indices, list[str]]:
    names = sorted({str(value) for value in values if value is not None})
    place = {name: index for index, name in enumerate(names)}
    return np.array([-1 if value is None else place[str(value)] for value in values], dtype=np.int64), names


def _periods(time: Floats, periods: int) -> tuple[Indices, list[str]]:
    """The period of each choice, all with about as many choices, and their names."""
    span = np.full(time.size, -1)
    known = np.nonzero(np.isfinite(time))[0]
    if np.unique(time[known]).size < 2:
        return span, []
    # By time itself, not by rank: what was said at one moment belongs to one period.
    bounds = np.unique(np.quantile(time[known], np.linspace(0, 1, periods + 1)[1:-1], method="inverted_cdf"))
    span[known] = np.searchsorted(bounds, time[known], side="left")
    days = [time[span == place] for place in range(bounds.size + 1)]
    return span, [f"{_day(part.min())} to {_day(part.max())}" if part.size else "" for part in days]


def _flip(
    code: str,
    material: Material,
    choices: Choices,
    group: Indices,
    labels: Sequence[str],
    least: int,
    measures: Mapping[str, Measure],
    settings: AuditSettings,
) -> Iterator[Finding]:
    """The cue in which two groups differ most; a flip where one leans to more of it and one to less, beyond chance."""
    found = []
    for cue, measure in measures.items():
        a, b = material.measured(measure)
        more = np.where(choices.a_won == 1, a[choices.item] - b[choices.item], b[choices.item] - a[choices.item])
        leans = _leans(group, labels, more, least)
        if len(leans) < 2:
            continue
        up = [lean for lean in leans if lean.interval.low > 0.5 and lean.share >= 0.5 + settings.flip_lean]
        down = [lean for lean in leans if lean.interval.high < 0.5 and lean.share <= 0.5 - settings.flip_lean]
        top, bottom = max(up or leans, key=lambda lean: lean.share), min(down or leans, key=lambda lean: lean.share)
        found.append((bool(up and down), top.share - bottom.share, cue, top, bottom, leans, more, up, down))
    if not found:
        return
    flips, difference, cue, top, bottom, _, more, up, down = max(found, key=lambda each: (each[0], each[1]))
    severity: Severity = "note"
    rows: list[str] = []
    if flips:
        strong = top.share >= 0.5 + settings.flip_error and bottom.share <= 0.5 - settings.flip_error
        severity = "error" if strong else "warning"
        rows = _against_most(material, choices, group, labels, more, up, down)
    half = hypot(top.share - top.interval.low, bottom.interval.high - bottom.share)
    other = hypot(top.interval.high - top.share, bottom.share - bottom.interval.low)
    yield finding(
        code,
        severity,
        difference,
        n=top.n + bottom.n,
        interval=Interval(max(-1.0, difference - half), min(1.0, difference + other)),
        rows=rows,
        detail=f"more {cue} wins {percent(top.share)} of {top.n:,} choices of {top.group}, "
        f"{percent(bottom.share)} of {bottom.n:,} of {bottom.group}"
        + (f"; {len(up):,} groups lean to more, {len(down):,} to less" if flips and len(up) + len(down) > 2 else ""),
        data={"cues": {each[2]: _extremes(each[5]) for each in found}},
    )


def _leans(group: Indices, labels: Sequence[str], more: Floats, least: int) -> list[Lean]:
    """Groups with enough choices whose sides differ; their intervals are widened for looking at all of them."""
    usable = (group >= 0) & (more != 0)
    n = np.bincount(group[usable], minlength=len(labels))
    k = np.bincount(group[usable], weights=more[usable] > 0, minlength=len(labels))
    large = np.nonzero(n >= least)[0]
    level = 1 - ALPHA / max(1, large.size)
    return [Lean(labels[int(at)], int(k[at]), int(n[at]), wilson(int(k[at]), int(n[at]), level)) for at in large]


def _against_most(
    material: Material,
    choices: Choices,
    group: Indices,
    labels: Sequence[str],
    more: Floats,
    up: Sequence[Lean],
    down: Sequence[Lean],
) -> list[str]:
    """Rows of the groups that lean the rarer way, those choices first that follow the lean."""
    rarer = up if sum(lean.n for lean in up) < sum(lean.n for lean in down) else down
    leaning = {lean.group for lean in rarer}
    concerned = np.nonzero(np.isin(group, [place for place, name in enumerate(labels) if name in leaning]))[0]
    follows = more[concerned] > 0 if rarer is up else more[concerned] < 0
    ordered = concerned[np.argsort(~follows, kind="stable")]
    return [material.items[place].row for place in choices.item[ordered]]


def _extremes(leans: Sequence[Lean]) -> list[dict[str, Any]]:
    """The groups as they lean, the middle of many left out."""
    ordered = sorted(leans, key=lambda lean: (-lean.share, lean.group))
    shown = ordered if len(ordered) <= MOST_LISTED else ordered[: MOST_LISTED // 2] + ordered[-MOST_LISTED // 2 :]
    return [
        {"group": each.group, "share": each.share, "interval": [each.interval.low, each.interval.high], "n": each.n}
        for each in shown
    ]


def _day(time: float) -> str:
    return str(np.datetime64(int(time), "s").astype("datetime64[D]"))
