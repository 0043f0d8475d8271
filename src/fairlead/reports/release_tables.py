"""The tables of a release: rules with their evidence, measures before and after, the judge, probes, the data audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fairlead.data.audit.findings import Finding, Kind
from fairlead.data.audit.table import KINDS
from fairlead.data.audit.wording import interval_text
from fairlead.data.audit.wording import value_text as audit_value
from fairlead.reports.drawings import interval_strip
from fairlead.reports.page import Block, Cell, Column, Comparison, Measurement, Prose, Section, Table, Tone
from fairlead.reports.release_data import Found, Release, Side
from fairlead.reports.release_words import (
    DIRECTIONS,
    TONES,
    count_text,
    difference_note,
    difference_text,
    estimate_of,
    range_text,
    value_text,
)
from fairlead.runs.directory import RunDirectory

SOURCES: Mapping[str, str] = {
    "eval": "evaluation",
    "baseline": "evaluation of the baseline",
    "judge": "judge",
    "audit": "data audit",
}
SEVERITIES: Mapping[str, Tone] = {"error": "bad", "warning": "warn", "note": ""}
PROBES = {"probe/attack_success": "attacks that succeeded", "probe/over_refusal": "harmless requests refused"}


def rules_section(release: Release) -> Section:
    """Each rule: what was found, what was asked, whether there were items enough, and why it passed or failed."""
    columns = [
        Column(title="rule"),
        Column(title="outcome"),
        Column(title="found", numeric=True),
        Column(title="bound"),
        Column(title="n", numeric=True),
        Column(title="items enough?"),
        Column(title="reason"),
    ]
    units = units_of(release)
    rows = [_rule(rule, units) for rule in release.decision["rules"]]
    lead = "All must pass; a rule whose evidence is missing, changed or of another model fails."
    caption = (
        "Found, with its 95 % interval. Items enough: the interval lies on one side of the bound, or a loss of the "
    )
    caption += "margin would have shown with power 0.8; below, the smallest difference that so many items show."
    return Section(title="Rules", lead=lead, blocks=[Table(columns=columns, rows=rows, caption=caption, cards=True)])


def found_text(rule: Found, units: Mapping[str, str]) -> str:
    """What a rule found, in the unit of its measure; – where it found nothing."""
    return value_text(rule["value"], units.get(rule.get("measure", "").split(",")[0], ""))


def units_of(release: Release) -> dict[str, str]:
    """The unit of each measure that was given; what is none of them is a share or a coefficient."""
    found = [each for side in release.sides for each in side.measures] + list(release.judge or ())
    return {each["name"]: each["unit"] for each in found}


def _rule(rule: Found, units: Mapping[str, str]) -> list[str | Cell]:
    passed = rule["passed"] is True
    unit = units.get(rule.get("measure", "").split(",")[0], "")
    before = "" if rule["baseline"] is None else f"baseline {value_text(rule['baseline'], unit)}"
    p = "" if rule["p"] is None else "p < 0.001" if rule["p"] < 0.001 else f"p = {rule['p']:.3f}"
    notes = ", ".join(filter(None, (range_text(rule["low"], rule["high"], unit), before, p)))
    shows = "" if rule["shows"] is None else f"shows {rule['shows']:.2g}"
    enough = {None: "–", True: "yes", False: "no"}[rule["sufficient"]]
    return [
        Cell(text=rule.get("measure") or rule["rule"], tone="strong", note=SOURCES[rule["source"]]),
        Cell(text="pass" if passed else "FAIL", tone="good" if passed else "bad"),
        Cell(text=found_text(rule, units), note=notes),
        Cell(text=rule.get("bound") or "–"),
        Cell(text="–" if rule["n"] is None else f"{rule['n']:,}"),
        Cell(text=enough, tone="warn" if rule["sufficient"] is False else "", note=shows),
        Cell(text=rule["reason"]),
    ]


def measures_section(release: Release) -> Section | None:
    """Before, after and prompting side by side, the paired difference of before and after, and slices folded."""
    if not release.sides:
        return None
    whole = [side.whole() for side in release.sides]
    names = dict.fromkeys(name for found in whole for name in found if name not in PROBES)
    rows = [_measurement(name, [found.get(name) for found in whole], release.compared.get(name)) for name in names]
    columns = [side.label for side in release.sides]
    blocks: list[Block] = []
    if rows:
        caption = "Each figure with its 95 % interval. The difference is of the same items, its interval by bootstrap "
        caption += "over prompts; p is of McNemar's exact test where items are right or wrong, of facts one-sided: are "
        caption += "they worse?"
        blocks.append(Comparison(columns=columns, rows=rows, caption=caption, verdict_title="after less before"))
    blocks += [Prose(text=text) for text in _shares(release)]
    if parts := _parts(release.sides):
        blocks.append(parts)
    lead = "The same suite, put to each model."
    return Section(title="Before and after", lead=lead, blocks=blocks) if blocks else None


def _measurement(name: str, found: Sequence[Found | None], row: Found | None) -> Measurement:
    about = next(each for each in found if each is not None)
    return Measurement(
        name=name,
        estimates=[estimate_of(each) for each in found],
        meaning=about["meaning"],
        direction=DIRECTIONS[about["direction"]],
        unit=about["unit"],
        verdict="" if row is None else f"{difference_text(row)}: {row['verdict']}",
        verdict_note="" if row is None else difference_note(row),
        tone="" if row is None else TONES.get(row["verdict"], ""),
    )


def _shares(release: Release) -> Iterator[str]:
    for each in release.shares:
        yield f"Prompting, {each['measure']}: {each['says']}"


def _parts(sides: Sequence[Side]) -> Table | None:
    """Every measure over parts of the items: by segment, rejection type and what else there is."""
    found = [side.parts() for side in sides]
    keys = sorted({key for own in found for key in own if key[0] not in PROBES})
    if not keys:
        return None
    columns = [Column(title="part"), *(Column(title=side.title, numeric=True) for side in sides)]
    rows: list[list[str | Cell]] = []
    for name, part in keys:
        cells: list[str | Cell] = [
            Cell(text=", ".join(f"{key.replace('_', ' ')} {value}" for key, value in part), note=name)
        ]
        rows.append(cells + [_figure(own.get((name, part))) for own in found])
    return Table(title=f"By part of the suite ({len(rows)})", columns=columns, rows=rows, folded=True, cards=True)


def _figure(found: Found | None, *, color: int | None = None, description: str = "") -> Cell:
    """A figure with interval and n under it, and drawn where a colour is given."""
    estimate = estimate_of(found)
    if found is None or estimate is None:
        return Cell(text="–", tone="muted")
    note = ", ".join(filter(None, (range_text(found["low"], found["high"], found["unit"]), f"n = {found['n']:,}")))
    text = value_text(found["value"], found["unit"])
    strip = None
    if color is not None:
        scale = (0.0, 1.0) if found["unit"] == "share" else (-1.0, 1.0)
        strip = interval_strip(estimate, scale=scale, color=color, description=f"{description}: {text} ({note})")
    return Cell(text=text, note=note, svg=strip)


def judge_section(release: Release) -> Section | None:
    """What the judge held of both, and what the judge is worth."""
    if release.judge is None:
        return None
    about = [each for each in release.judge if "judge" not in each["slice"]]
    own = [each for each in release.judge if "judge" in each["slice"]]
    whom = "after" if release.after is None else release.after.label
    columns = [Column(title="of both"), Column(title=whom, numeric=True)]
    blocks: list[Block] = [Table(columns=columns, rows=[_judged(each) for each in about], cards=True)]
    if own:
        columns = [Column(title="of the judge"), Column(title="judge"), Column(title="value", numeric=True)]
        rows = [
            [Cell(text=each["name"], note=each["meaning"]), Cell(text=each["slice"]["judge"]), _figure(each)]
            for each in own
        ]
        title = "What the judges are worth"
        blocks.append(Table(title=title, columns=columns, rows=rows, folded=True, cards=True))
    lead = "Blinded and in both orders; where the order decided, it is a tie."
    return Section(title="Judge", lead=lead, blocks=blocks)


def _judged(found: Found) -> list[str | Cell]:
    part = ", ".join(f"{key} {value}" for key, value in found["slice"].items())
    note = " · ".join(filter(None, (found["meaning"], DIRECTIONS[found["direction"]])))
    name = found["name"] + (f" ({part})" if part else "")
    return [Cell(text=name, tone="strong", note=note), _figure(found, color=1, description=name)]


def probes_table(release: Release) -> Table | None:
    """Attack success and over-refusal, over all probes and by family, before and after."""
    found = [{**_all_probes(side), **side.parts()} for side in release.sides]
    keys = sorted(
        {key for own in found for key in own if key[0] in PROBES}, key=lambda key: (key[0], bool(key[1]), key[1])
    )
    if not keys:
        return None
    columns = [Column(title="probes"), *(Column(title=side.label, numeric=True) for side in release.sides)]
    rows: list[list[str | Cell]] = []
    for name, part in keys:
        kind = ", ".join(value for _, value in part).replace("_", " ") or "all"
        head = Cell(text=kind, tone="" if part else "strong", note=PROBES[name])
        figures = [
            _figure(own.get((name, part)), color=place, description=f"{PROBES[name]}, {kind}")
            for place, own in enumerate(found)
        ]
        rows.append([head, *figures])
    caption = "Less is better throughout."
    return Table(columns=columns, rows=rows, cards=True, caption=caption)


def _all_probes(side: Side) -> dict[tuple[str, tuple[tuple[str, str], ...]], Found]:
    return {(name, ()): each for name, each in side.whole().items()}


def audit_section(release: Release) -> Section | None:
    """What the audit of the training rows found: errors and warnings, and the figures that rules may ask for."""
    if release.audit is None:
        return None
    findings = [_finding(each) for each in release.audit["findings"]]
    grave = [each for each in findings if each.severity != "note"]
    counts = [count_text(sum(each.severity == kind for each in findings), kind) for kind in SEVERITIES]
    lead = f"{release.audit['rows']:,} rows of kind {release.audit['kind']}: {', '.join(counts)}."
    columns = [
        Column(title="finding"),
        Column(title="severity"),
        Column(title="value", numeric=True),
        Column(title="detail"),
    ]
    blocks: list[Block] = []
    if grave:
        blocks.append(Table(columns=columns, rows=[_found(each) for each in grave], cards=True))
    else:
        blocks.append(Prose(text="No error and no warning.", tone="good"))
    notes = [each for each in findings if each.severity == "note" and each.value is not None]
    if notes:
        title = f"Figures without a verdict ({len(notes)})"
        blocks.append(
            Table(title=title, columns=columns, rows=[_found(each) for each in notes], folded=True, cards=True)
        )
    return Section(title="Data audit", lead=lead, blocks=blocks)


def _finding(item: Mapping[str, Any]) -> Finding:
    return Finding(
        code=str(item["code"]),
        severity=item["severity"],
        value=item["value"],
        n=item["n"],
        interval=None if item.get("interval") is None else (item["interval"][0], item["interval"][1]),
        detail=str(item.get("detail", "")),
    )


def _found(finding: Finding) -> list[str | Cell]:
    kind = KINDS.get(finding.code) or Kind(title=finding.code, meaning="", remedy="", unit="")
    note = ", ".join(filter(None, (interval_text(finding, kind), f"n = {finding.n:,}")))
    return [
        Cell(text=kind.title, tone="strong", note=kind.meaning.replace("`", "")),
        Cell(text=finding.severity, tone=SEVERITIES.get(finding.severity, "")),
        Cell(text=audit_value(finding, kind), note=note),
        Cell(text=finding.detail.replace("`", "") or "–"),
    ]


def hashes_section(release: Release) -> Section:
    """The sha256 of everything that the decision is bound to."""
    decision = release.decision
    rows: list[list[str | Cell]] = [["artifact, all files", release.artifact.name, decision["artifact"]["digest"]]]
    rows += [["artifact", name, sha256] for name, sha256 in decision["artifact"]["files"].items()]
    if decision["run"] is not None:
        rows.append(["training run", "manifest.json", decision["run"]["manifest"]])
    rows.append(["policy", decision["policy"]["file"], decision["policy"]["sha256"]])
    for each in decision["evidence"]:
        rows.append([SOURCES.get(each["role"], each["role"]), _place(release, each), each["sha256"]])
    columns = [Column(title="what"), Column(title="file"), Column(title="sha256", mono=True)]
    table = Table(title=f"{len(rows)} digests", columns=columns, rows=rows, folded=True)
    lead = "The decision is bound to these: another byte anywhere, and it is no decision about what lies there."
    return Section(title="Hashes", lead=lead, blocks=[table])


def _place(release: Release, each: Found) -> str:
    run: RunDirectory | None = release.given.get(each["role"])
    return each["file"] if run is None else f"{run.path.resolve().name}/{each['file']}"
