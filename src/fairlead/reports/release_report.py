"""The page of a release, from the run of a gate and its evidence: the verdict first, then all that it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairlead.reports.frontier_figure import frontier_figure
from fairlead.reports.page import Block, Facts, Figure, Figures, Page, Prose, Section, render
from fairlead.reports.release_data import Found, Release, read_release
from fairlead.reports.release_distributions import distributions_section
from fairlead.reports.release_lineage import lineage_section
from fairlead.reports.release_samples import probes_section, samples_section
from fairlead.reports.release_tables import (
    audit_section,
    found_text,
    hashes_section,
    judge_section,
    measures_section,
    rules_section,
    units_of,
)
from fairlead.reports.release_words import count_text
from fairlead.reports.run_data import DIGEST_SHOWN, read_run


def release_report(path: str | Path) -> str:
    """The release page of a gate's run as HTML. Raises RunError where the run is none of `fairlead gate`.

    Evidence that was refused, changed since or is gone is not shown; the page says so, and the rules stay.
    """
    return render(release_page(read_release(path)))


def release_page(release: Release) -> Page:
    """The page; sections without evidence are left out."""
    sections = [
        rules_section(release),
        measures_section(release),
        _frontier_section(release),
        distributions_section(release),
        samples_section(release),
        judge_section(release),
        probes_section(release),
        audit_section(release),
        _training_section(release),
        lineage_section(release),
        hashes_section(release),
    ]
    return Page(
        title=_title(release),
        subtitle="Fairlead release report",
        status="may ship" if release.passed else "may not ship",
        tone="good" if release.passed else "bad",
        header=[*_verdict(release), _facts(release)],
        sections=[section for section in sections if section is not None],
        footer="Made by Fairlead from run directories alone. This file holds no script and fetches nothing.",
    )


def _title(release: Release) -> str:
    """What may ship: the name of the run that made it, else of its folder."""
    run = release.decision["run"]
    return (release.artifact if run is None else release.at(run["path"])).resolve().name


def _verdict(release: Release) -> Iterator[Block]:
    """The verdict in a sentence, the failed rules in words, and evidence that does not count."""
    rules = release.decision["rules"]
    failed = [rule for rule in rules if rule["passed"] is not True]
    if release.passed:
        yield Prose(text=f"May ship: it meets all of {count_text(len(rules), 'rule')}.", tone="strong")
    else:
        yield Prose(text=f"May not ship: it fails {len(failed)} of {count_text(len(rules), 'rule')}.", tone="strong")
    units = units_of(release)
    for rule in failed:
        value = "" if rule["value"] is None else f"found {found_text(rule, units)}, "
        yield Prose(text=f"{rule['rule']}: {value}{rule['reason']}.", tone="bad")
    unsettled = [rule["rule"] for rule in rules if rule["passed"] is True and rule["sufficient"] is False]
    if unsettled:
        yield Prose(text=f"Passed, but on too few items to be sure: {'; '.join(unsettled)}.", tone="warn")
    for role, fault in sorted(release.unused.items()):
        yield Prose(text=f"The evidence of --{role} is not shown: {fault}.", tone="warn")


def _facts(release: Release) -> Facts:
    record = release.run.record
    baseline = "–" if release.before is None else release.before.name
    return Facts(
        facts=[
            ("Artifact", f"{release.artifact.name}, sha256 {release.decision['artifact']['digest'][:DIGEST_SHOWN]}"),
            ("Compared with", baseline),
            (
                "Policy",
                f"{count_text(len(release.decision['rules']), 'rule')}, "
                f"sha256 {release.decision['policy']['sha256'][:DIGEST_SHOWN]}",
            ),
            ("Decided", str(record.get("created", ""))[:16].replace("T", " ") + " UTC"),
        ]
    )


def _frontier_section(release: Release) -> Section | None:
    """The sweep that the model was picked from: figure, rule, pick and diagnoses."""
    frontier = release.frontier
    if frontier is None:
        return None
    own = _own_point(release, frontier)
    picked = frontier["picked"]
    if own is None:
        where = Prose(text="No point of this sweep is the model of this release.", tone="warn")
    elif own == picked:
        where = Prose(text=f"This release is {own}, the pick of the sweep.", tone="good")
    else:
        where = Prose(text=f"This release is {own}; the rule picks {picked or 'none'}.", tone="warn")
    caption = f"Rule: {frontier['rule']}. {frontier['why']}"
    figure = Figure(title="", svg=frontier_figure(frontier), caption=caption, wide=True)
    blocks: list[Block] = [where, Figures(figures=[figure], large=True)]
    blocks += [Prose(text=each["text"], tone="warn") for each in frontier["diagnoses"]]
    lead = f"{frontier['y']} against {frontier['x']}, each point a model, with 95 % intervals."
    return Section(title="Frontier", lead=lead, blocks=blocks)


def _own_point(release: Release, frontier: Found) -> str | None:
    """The name of the sweep's point whose training run made this release."""
    run = release.decision["run"]
    if run is None:
        return None
    own, sweep = release.at(run["path"]).resolve(), release.given["sweep"].path
    points = [each for each in frontier["points"] if each["run"] is not None]
    return next((str(each["name"]) for each in points if (sweep / each["run"]).resolve() == own), None)


def _training_section(release: Release) -> Section | None:
    """How it was trained, where a training run of Fairlead made it and is still there."""
    run = release.decision["run"]
    if run is None or not (release.at(run["path"]) / "run.json").is_file():
        return None
    data = read_run(release.at(run["path"]))
    settings: dict[str, Any] = {"method": data.method, "base": data.model, "rows": f"{data.rows:,}"}
    for section in ("loss", "adapter", "train"):
        found = data.config.get(section)
        settings |= {
            name: found[name]
            for name in ("beta", "r", "learning_rate", "epochs")
            if isinstance(found, dict) and found.get(name) is not None
        }
    settings["seed"] = data.record["seed"]
    settings["best step"] = data.best_step
    facts = [(name.replace("_", " "), str(value)) for name, value in settings.items() if value not in (None, "")]
    facts += [("data set", each) for each in data.data_sets]
    blocks: list[Block] = [Facts(facts=facts), *(Prose(text=each, tone="warn") for each in data.findings)]
    return Section(title="Training", lead="From the run that made it; its own report has the curves.", blocks=blocks)
