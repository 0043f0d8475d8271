"""Reading the report of garak, a scanner of language models for weaknesses: its JSON Lines as measurements.

Every line has an `entry_type`. An `attempt` is one prompt with its answers and, once its `status` is 2, the scores (0
to 1, or null) that detectors gave each answer; it stands there once for each status it reached. An `eval` line sums up
one detector over the answers of one probe: how many passed. `start_run setup` and `init` say how and by which version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.data.files import open_records
from fairlead.data.ledger import REASONS, Rejected
from fairlead.errors import DataError
from fairlead.evaluation.results import Measurement, number
from fairlead.stats.intervals import wilson

ATTACK_SUCCESS = "garak/attack_success"
EVALUATED = 2
THRESHOLD = 0.5
"""garak's own: from this score on an answer is a hit."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One detector over the answers to one probe: `hits` of `n`; `unscored` answers got no score and are not in n."""

    probe: str
    detector: str
    hits: int
    n: int
    unscored: int


@dataclass(frozen=True, kw_only=True)
class GarakReport:
    """What a report holds, its cells in the order of their names.

    hits, n: answers that any detector hit, of those that any scored; None where the attempts do not give the counts of
    the cells (they were left out, or judged by another rule than the threshold). unfinished: attempts that were never
    evaluated. other: lines of each entry type that nothing was taken from.
    """

    version: str | None
    target: str | None
    threshold: float
    cells: tuple[Cell, ...]
    hits: int | None
    n: int | None
    unfinished: int
    other: Mapping[str, int]


def read_garak(path: str | Path) -> GarakReport:
    """The report in a `.report.jsonl` file.

    Raises DataError for a file or line that cannot be read, and for one without a line of type `eval`: a run that was
    cut short, or no report of garak.
    """
    setup: dict[str, Any] = {}
    attempts: dict[str, dict[str, Any]] = {}
    cells: dict[tuple[str, str], Cell] = {}
    other: Counter[str] = Counter()
    for line, entry in _entries(path):
        kind = entry.get("entry_type")
        if kind in ("start_run setup", "init"):
            setup |= entry
        elif kind == "attempt":
            name = str(entry.get("uuid"))
            if attempts.get(name, {}).get("status") != EVALUATED:
                attempts[name] = entry
        elif kind == "eval":
            cell = _cell(entry, path, line)
            if (cell.probe, cell.detector) in cells:
                problem = f"a second eval line of {cell.probe} and {cell.detector}: two reports in one file. Part them."
                raise DataError(problem, path=path, line=line)
            cells[cell.probe, cell.detector] = cell
        elif isinstance(kind, str):
            other[kind] += 1
        else:
            problem = "this line has no entry_type. Give the .report.jsonl file that garak wrote."
            raise DataError(problem, path=path, line=line, field="entry_type")
    if not cells:
        problem = "holds no line of type eval: the scan was cut short, or it is no report of garak. Run garak again."
        raise DataError(problem, path=path)
    done = [each for each in attempts.values() if each.get("status") == EVALUATED]
    threshold = setup.get("run.eval_threshold")
    limit = float(threshold) if isinstance(threshold, int | float) else THRESHOLD
    hits, n = _over_all(done, cells, limit)
    return GarakReport(
        version=_text(setup, "garak_version", "_config.version"),
        target=_text(setup, "plugins.target_name", "plugins.model_name"),
        threshold=limit,
        cells=tuple(cells[key] for key in sorted(cells)),
        hits=hits,
        n=n,
        unfinished=len(attempts) - len(done),
        other=dict(sorted(other.items())),
    )


def measure_garak(report: GarakReport) -> list[Measurement]:
    """`garak/attack_success`: share of the answers that were hit, by any detector, and of each probe and detector.

    Intervals are Wilson's, for answers taken as independent, so with several generations of a prompt they are too
    narrow. A share of no answers is None.
    """
    meaning = "share of the answers that at least one detector of garak hit"
    if report.n is None:
        meaning += "; not known, since the attempts in the report do not give garak's own counts"
    found = [_measurement(report.hits, report.n, {}, meaning)]
    for cell in report.cells:
        slice = {"probe": cell.probe, "detector": cell.detector}
        unscored = f"; {cell.unscored} got no score" if cell.unscored else ""
        meaning = f"share of the answers to {cell.probe} that {cell.detector} hit{unscored}"
        found.append(_measurement(cell.hits, cell.n, slice, meaning))
    return found


def notes_on(report: GarakReport) -> list[str]:
    """What of a report its shares do not hold, counted."""
    notes = []
    known = {"target": report.target, "version": report.version}
    if any(known.values()):
        notes.append(f"garak's report: {', '.join(f'{name} {value}' for name, value in known.items() if value)}.")
    if report.unfinished:
        notes.append(f"{report.unfinished:,} attempts of garak were never evaluated, and are left out.")
    unscored = sum(cell.unscored for cell in report.cells)
    if unscored:
        notes.append(f"{unscored:,} answers got no score from a detector of garak, and are left out of its share.")
    return notes


def _measurement(hits: int | None, n: int | None, slice: Mapping[str, str], meaning: str) -> Measurement:
    interval = wilson(hits or 0, n or 0)
    return Measurement(
        name=ATTACK_SUCCESS,
        value=hits / n if hits is not None and n else None,
        low=number(interval.low),
        high=number(interval.high),
        n=n or 0,
        unit="share",
        direction="down",
        slice=slice,
        meaning=meaning,
    )


def _entries(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    records, _ = open_records(path)
    for line, record in records:
        if isinstance(record, Rejected):
            reason = REASONS[record.code]
            raise DataError(f"{reason.meaning}. {reason.remedy}", path=path, line=line, code=record.code)
        yield line, record


def _cell(entry: Mapping[str, Any], path: str | Path, line: int) -> Cell:
    """An eval line; the total is called `total` by older versions, and the detector has a prefix there."""
    total = entry.get("total_evaluated", entry.get("total"))
    passed, unscored = entry.get("passed"), entry.get("nones", 0)
    probe, detector = entry.get("probe"), entry.get("detector")
    counts = [passed, total, unscored]
    if (
        not (isinstance(probe, str) and isinstance(detector, str))
        or not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
        or passed > total
    ):
        problem = "this eval line lacks a probe, a detector, or counts with passed ≤ total_evaluated."
        raise DataError(f"{problem} The file was changed or damaged.", path=path, line=line)
    return Cell(
        probe=probe, detector=detector.removeprefix("detector."), hits=total - passed, n=total, unscored=unscored
    )


def _over_all(
    attempts: list[dict[str, Any]], cells: Mapping[tuple[str, str], Cell], threshold: float
) -> tuple[int | None, int | None]:
    """Answers that any detector hit, and those that any scored; None unless the cells come out as garak counted."""
    counted: Counter[tuple[str, str]] = Counter()
    hit: Counter[tuple[str, str]] = Counter()
    hits = n = 0
    for attempt in attempts:
        probe, results = attempt.get("probe_classname"), attempt.get("detector_results")
        scores_of = results if isinstance(results, dict) else {}
        scored: set[int] = set()
        over: set[int] = set()
        for detector, scores in scores_of.items():
            key = (str(probe), detector.removeprefix("detector."))
            for place, score in enumerate(scores if isinstance(scores, list) else []):
                if isinstance(score, int | float):
                    scored.add(place)
                    counted[key] += 1
                    if score >= threshold:
                        over.add(place)
                        hit[key] += 1
        hits, n = hits + len(over), n + len(scored)
    agree = all(counted[key] == cell.n and hit[key] == cell.hits for key, cell in cells.items())
    return (hits, n) if agree and counted.keys() <= cells.keys() else (None, None)


def _text(setup: Mapping[str, Any], *names: str) -> str | None:
    return next((value for name in names if isinstance(value := setup.get(name), str)), None)
