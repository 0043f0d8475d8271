"""What the page of a release needs: the gate's decision, and what the runs of its evidence hold, each checked first."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.data.reading import read
from fairlead.data.records import Candidates
from fairlead.errors import FairleadError, RunError
from fairlead.identity import digest_file
from fairlead.runs.directory import RunDirectory

Found = Mapping[str, Any]
"""An object of a JSON file."""
Rows = Mapping[str, Candidates]
"""Rows with their answers, by id."""

GONE = "it is not where it was when it was decided by"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One model as an evaluation measured it.

    title: before, after or prompting. name: what the model is known by. measures: the figures of measures.json. items:
    values by measure and id. answers: by what was asked (prompts, factual, probes).
    """

    title: str
    name: str
    measures: Sequence[Found]
    items: Mapping[str, Mapping[str, float]]
    answers: Mapping[str, Rows]

    @property
    def label(self) -> str:
        """Title and name."""
        return f"{self.title}: {self.name}"

    def whole(self) -> dict[str, Found]:
        """The measures over all items, by name."""
        return {each["name"]: each for each in self.measures if not each["slice"]}

    def parts(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], Found]:
        """The measures over parts of the items, by name and part."""
        return {(each["name"], tuple(sorted(each["slice"].items()))): each for each in self.measures if each["slice"]}


@dataclass(frozen=True, kw_only=True)
class Release:
    """A gate's run and its evidence, read. None is what was not given, or must not be shown: `unused` says why.

    given: the run of each role, where it still is. compared: the paired comparison of before and after, by measure.
    shares: the share of each gain that prompting reaches.
    """

    run: RunDirectory
    decision: Found
    given: Mapping[str, RunDirectory]
    unused: Mapping[str, str]
    before: Side | None
    after: Side | None
    prompting: Side | None
    compared: Mapping[str, Found]
    shares: Sequence[Found]
    judge: Sequence[Found] | None
    audit: Found | None
    frontier: Found | None

    @property
    def sides(self) -> list[Side]:
        """Before, after, prompting: those that were measured."""
        return [side for side in (self.before, self.after, self.prompting) if side is not None]

    @property
    def passed(self) -> bool:
        return self.decision["passed"] is True

    @property
    def artifact(self) -> Path:
        """Where the model or adapter lay when it was decided on."""
        return self.at(self.decision["artifact"]["path"])

    def at(self, place: str) -> Path:
        """A path of the decision, which is seen from the gate's run."""
        return Path(os.path.normpath(self.run.path / place))


def read_release(path: str | Path) -> Release:
    """Read a gate's run and what it was decided by. Raises RunError where it is no run of `fairlead gate`.

    Evidence that is gone, was changed since, or was refused is not read: `unused` says why, role by role.
    """
    run = RunDirectory.open(path)
    decision = _read(run.path / "decision.json")
    if not {"passed", "rules", "artifact", "evidence", "policy"} <= decision.keys():
        raise RunError(f"{run.path / 'decision.json'}: holds no decision of a gate. The file was damaged.")
    unused: dict[str, str] = dict(decision.get("refused", {}))
    given: dict[str, RunDirectory] = {}
    for role, place in {each["role"]: each["run"] for each in decision["evidence"]}.items():
        try:
            given[role] = RunDirectory.open(os.path.normpath(run.path / place))
        except RunError:
            unused[role] = GONE
        else:
            fault = unused.get(role) or _changed(run, given[role], decision, role)
            unused |= {role: fault} if fault else {}
    usable = {role: found for role, found in given.items() if role not in unused}
    after = usable.get("eval")
    prompted = None if after is None else _prompted(after)
    return Release(
        run=run,
        decision=decision,
        given=given,
        unused=unused,
        before=_side("before", usable.get("baseline")),
        after=_side("after", after),
        prompting=_side("prompting", prompted),
        compared=_compared(run) if {"eval", "baseline"} <= usable.keys() else {},
        shares=[] if after is None or prompted is None else _shares(after),
        judge=_read(usable["judge"].path / "measures.json")["measures"] if "judge" in usable else None,
        audit=_read(usable["audit"].path / "findings.json") if "audit" in usable else None,
        frontier=_read(usable["sweep"].path / "frontier.json") if "sweep" in usable else None,
    )


def _changed(run: RunDirectory, found: RunDirectory, decision: Found, role: str) -> str | None:
    """Why a run is no longer what was decided by; None where it is. Its files are held against its own manifest."""
    for each in decision["evidence"]:
        file = Path(os.path.normpath(run.path / each["run"] / each["file"]))
        if each["role"] == role and (not file.is_file() or digest_file(file) != each["sha256"]):
            return f"{each['file']} was changed since it was decided by"
    faults = found.verify()
    return f"it was changed since it was decided by: {' '.join(faults)}" if faults else None


def _side(title: str, run: RunDirectory | None) -> Side | None:
    if run is None:
        return None
    content = _read(run.path / "measures.json")
    known = run.record.get("extra", {}).get("name") or Path(content["adapter"] or content["model"]).name
    return Side(
        title=title,
        name=str(known).removesuffix(" + prompting"),
        measures=content["measures"],
        items=_items(run.path / "items.jsonl"),
        answers={what: _answers(run, what) for what in ("prompts", "factual", "probes")},
    )


def _prompted(run: RunDirectory) -> RunDirectory | None:
    """The run of the untuned model with the suite's prompting, within an evaluation that measured it."""
    for marker in sorted(run.path.glob("compared/*/run.json")):
        found = RunDirectory.open(marker.parent)
        if found.config.get("prompted") is True and found.is_complete():
            return found
    return None


def _items(path: Path) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        item = json.loads(line)
        found.setdefault(item["measure"], {})[item["id"]] = item["value"]
    return found


def _answers(run: RunDirectory, what: str) -> Rows:
    """The rows that were answered; none where a run kept none."""
    try:
        rows = [row for file in sorted(run.artifacts.glob(f"answers-{what}-*.jsonl")) for row in read(file).rows]
    except FairleadError:  # an empty file, say: there is nothing to be read
        return {}
    return {row.id: row for row in rows if isinstance(row, Candidates) and row.candidates}


def _compared(run: RunDirectory) -> dict[str, Found]:
    if not (run.path / "comparison.json").is_file():
        return {}
    content = _read(run.path / "comparison.json")
    return {each["name"]: each for each in content["comparisons"][0]["measures"]}


def _shares(run: RunDirectory) -> list[Found]:
    """The shares of the first model's gains that prompting reaches, as far as they are settled."""
    if not (run.path / "prompting.json").is_file():
        return []
    shares: list[Found] = _read(run.path / "prompting.json")["shares"]
    first = next((each["model"] for each in shares), None)
    return [each for each in shares if each["model"] == first and each["low"] is not None]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}). Name a run of `fairlead gate`.") from None
    if not isinstance(content, dict):
        raise RunError(f"{path}: does not hold what a run writes there. The file was damaged.")
    return content
