"""`gate`: a policy held against the evidence about one artifact, and a decision bound by sha256 to all of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from fairlead.config.gate_policy import GatePolicy, read_policy
from fairlead.errors import DataError, RunError
from fairlead.evaluation.comparison import compare
from fairlead.evaluation.gate import Decision, Evidence, Found, Measured, Role, decide
from fairlead.evaluation.results import ITEMS, MEASURES, Measures, read_item_list, read_measures
from fairlead.evaluation.table import kind_of
from fairlead.identity import digest_file
from fairlead.reports.release_report import release_report
from fairlead.runs.artifact import Artifact, find_artifact
from fairlead.runs.atomic import disk_errors, write_bytes, write_json
from fairlead.runs.directory import MANIFEST, REPORT, Input, RunDirectory

FORMAT = 1
DECISION, POLICY, COMPARISON = "decision.json", "policy.yaml", "comparison.json"
FINDINGS, FRONTIER = "findings.json", "frontier.json"

Given = Role | Literal["sweep"]
"""What a run is given to a gate as. No rule rests on a sweep: the page shows it."""
ROLES: tuple[Role, ...] = ("eval", "baseline", "judge", "audit")
FILES: Mapping[Given, tuple[str, ...]] = {
    "eval": (MEASURES, ITEMS, MANIFEST),
    "baseline": (MEASURES, ITEMS, MANIFEST),
    "judge": (MEASURES, MANIFEST),
    "audit": (FINDINGS, MANIFEST),
    "sweep": (FRONTIER, MANIFEST),
}
"""What a gate reads of each run, and binds its decision to; the manifest stands for every other file of the run."""

STARTER = """\
# What a model has to meet before it ships:  fairlead gate RUN --policy gate.yaml --eval EVAL_RUN
# Every rule must pass; a rule without evidence fails.
version: 1
alpha: 0.05                   # level of the one-sided tests against the baseline

measures:                     # bounds; hold: interval asks it of the whole 95 % interval
  - {measure: ranking_accuracy, minimum: 0.60}

required_phrases:             # floors, by the condition that demands the phrase
  - {name: dispute, minimum: 0.95}

non_regression:               # no worse than --baseline on the same items, but for the margin
  - {measure: factual_accuracy, margin: 0.05}

data:                         # what the audit of the training rows must have found
  audit: no_errors
  leakage: none
"""


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """A decision, the digest of the artifact that it is about, and the run directory that holds it."""

    decision: Decision
    artifact: str
    run: Path

    @property
    def passed(self) -> bool:
        """Whether every rule passed."""
        return self.decision.passed


def gate(
    run: str | Path,
    *,
    policy: str | Path,
    out: str | Path,
    eval: str | Path | None = None,
    baseline: str | Path | None = None,
    judge: str | Path | None = None,
    audit: str | Path | None = None,
    sweep: str | Path | None = None,
) -> GateResult:
    """Decide whether what `run` made may ship, and write the decision, and a page of it, to the new run `out`.

    run: a training run that is complete, or the folder of a model or adapter that another trainer saved. policy: a
    gate.yaml. eval, judge: runs that measured this very artifact; baseline: an evaluation of what it is compared with;
    audit: the audit of the rows that `run` trained on. Evidence that was changed, or is of another artifact or of other
    rows, is refused, and its rules fail. sweep: the sweep that `run` was picked from, for the page.

    Raises ConfigError for the policy, RunError for folders that are not what they are given as, a sweep that was
    changed, or an `out` that is taken.
    """
    rules = read_policy(policy)
    artifact = find_artifact(run)
    if artifact.run is not None and (faults := artifact.run.verify()):
        raise RunError(f"{artifact.run.path}: is not as it was completed: {' '.join(faults)} Train it again.")
    given: dict[Given, str | Path | None] = {
        "eval": eval,
        "baseline": baseline,
        "judge": judge,
        "audit": audit,
        "sweep": sweep,
    }
    runs = {role: RunDirectory.open(path) for role, path in given.items() if path is not None}
    if "sweep" in runs:
        _check_sweep(runs["sweep"])
    evidence = _gather(runs, artifact)
    decision = decide(rules, evidence)
    written = _write_run(
        Path(out), decision, policy=Path(policy), rules=rules, artifact=artifact, runs=runs, refused=evidence.refused
    )
    write_bytes(written.path / REPORT, release_report(written.path).encode())
    return GateResult(decision=decision, artifact=artifact.digest, run=Path(out))


def decide_again(run: RunDirectory, artifact: Artifact) -> Decision:
    """The decision that the policy and the evidence of a gate's run come to now. Raises as `gate`."""
    content = json.loads((run.path / DECISION).read_bytes())
    places: dict[Given, str] = {each["role"]: each["run"] for each in content["evidence"]}
    runs = {role: RunDirectory.open(os.path.normpath(run.path / place)) for role, place in places.items()}
    return decide(read_policy(run.path / POLICY), _gather(runs, artifact))


def write_starter(to: str | Path) -> Path:
    """Write a starter policy to `to`, which must not exist. Raises DataError, or MachineError from the disk."""
    target = Path(to)
    if target.exists():
        raise DataError("is there already, and is not written over. Choose another name.", path=target)
    if not target.parent.is_dir():
        raise DataError(f"there is no folder {target.parent}. Make it first.", path=target)
    with disk_errors(target):
        write_bytes(target, STARTER.encode())
    return target


def _gather(runs: Mapping[Given, RunDirectory], artifact: Artifact) -> Evidence:
    """What the runs hold, and why some of it must not be used."""
    # The evaluation comes first: whether it counts decides whether a judge of its answers does.
    evidence: dict[Role, RunDirectory] = {role: runs[role] for role in ROLES if role in runs}
    measured: dict[Role, Measured] = {
        role: _measured(found.path) for role, found in evidence.items() if role != "audit"
    }
    refused: dict[Role, str] = {}
    for role, found in evidence.items():
        about = measured.get(role)
        if faults := found.verify():
            refused[role] = f"{found.path} is not as it was completed: {' '.join(faults)}"
        elif role == "audit":
            fault = _of_other_rows(found, artifact)
            refused |= {role: fault} if fault else {}
        elif role == "judge" and "eval" not in refused and _judged_answers_of(found, runs.get("eval")):
            fault = _unusable(found)
            refused |= {role: fault} if fault else {}
        elif role != "baseline" and about is not None:
            fault = _unusable(found) or _of_another_model(found, about.measures, artifact)
            refused |= {role: fault} if fault else {}
    return Evidence(
        eval=measured.get("eval"),
        baseline=measured.get("baseline"),
        judge=measured.get("judge"),
        audit=_findings(runs["audit"].path) if "audit" in runs else None,
        refused=refused,
    )


def _measured(folder: Path) -> Measured:
    items: dict[str, dict[str, float]] = {}
    groups: dict[str, dict[str, str]] = {}
    for item in read_item_list(folder):
        items.setdefault(item.measure, {})[item.id] = item.value
        if item.group:
            groups.setdefault(item.measure, {})[item.id] = item.group
    return Measured(measures=read_measures(folder), items=items, groups=groups)


def _check_sweep(run: RunDirectory) -> None:
    """Raise RunError for a sweep that was changed, or a run that is none."""
    if not (run.path / FRONTIER).is_file():
        raise RunError(f"{run.path}: this run holds no {FRONTIER}. Name a run that `fairlead sweep` wrote.")
    if faults := run.verify():
        remedy = "No rule rests on it: leave --sweep out, or sweep again."
        raise RunError(f"{run.path}: is not as it was completed: {' '.join(faults)} {remedy}")


def _comparison(runs: Mapping[Given, RunDirectory], refused: Mapping[Role, str]) -> dict[str, Any] | None:
    """Each measure of both evaluations on the same items, as `fairlead eval` compares them; None where that cannot be:
    one is not given or refused, or another suite measured it."""
    roles: tuple[Role, Role] = ("eval", "baseline")
    if not set(roles) <= runs.keys() - refused.keys():
        return None
    after, before = (read_measures(runs[role].path) for role in roles)
    if after.suite.get("sha256") != before.suite.get("sha256"):
        return None
    new, old = ([item for item in read_item_list(runs[role].path) if _is_known(item.measure)] for role in roles)
    measures = [asdict(compared) for compared in compare(old, new)]
    model, baseline = (found.adapter or found.model for found in (after, before))
    return {"baseline": baseline, "notes": [], "comparisons": [{"model": model, "measures": measures}]}


def _findings(folder: Path) -> tuple[Found, ...]:
    path = folder / FINDINGS
    if not path.is_file():
        raise RunError(f"{folder}: this run holds no {FINDINGS}. Name a run that `fairlead audit` wrote.")
    try:
        listed = json.loads(path.read_bytes())["findings"]
        return tuple(
            Found(
                code=str(each["code"]),
                severity=str(each["severity"]),
                value=each["value"],
                n=each["n"],
                interval=None if each["interval"] is None else (each["interval"][0], each["interval"][1]),
            )
            for each in listed
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise RunError(f"{path}: holds no findings ({error!r}). The file was damaged.") from None


def _unusable(found: RunDirectory) -> str | None:
    """Why a run says itself that its figures must not be used; None where it does not."""
    extra = found.record["extra"]
    if void := extra.get("void"):
        return f"{found.path} is void: {'; '.join(map(str, void))}"
    if leaks := extra.get("leaks"):
        return f"{found.path} measured rows that the model was trained on ({len(leaks)} leaks)"
    return None


def _of_another_model(found: RunDirectory, measures: Measures, artifact: Artifact) -> str | None:
    """Why what a run measured is not this artifact; None where it is.

    It is where the run recorded the artifact's digest, or measured what lies in its place since its run was sealed:
    no byte has changed there since, or the run's manifest would say so.
    """
    # Answers name their model as "base + adapter" where one was put on it.
    subject = (measures.adapter or measures.model).split(" + ")[-1]
    if any(item.sha256 == artifact.digest for item in found.inputs):
        return None
    places = {artifact.folder.resolve()} | ({artifact.run.path.resolve()} if artifact.run is not None else set())
    if Path(subject).resolve() not in places:
        return f"it is of another model, {subject}, not of {artifact.folder}"
    if artifact.run is None:
        return f"it does not record the digest of {subject}, so the folder may have changed since"
    ended = artifact.run.record.get("ended")
    if not ended or datetime.fromisoformat(found.record["created"]) < datetime.fromisoformat(ended):
        return f"it was made before {artifact.run.path} was completed, so it is of an earlier model in the same place"
    return None


def _judged_answers_of(judge: RunDirectory, evaluation: RunDirectory | None) -> bool:
    """Whether the candidate's answers, which a judge's run names first, are those that an evaluation kept."""
    if evaluation is None or not evaluation.is_complete():
        return False
    listed = json.loads((evaluation.path / MANIFEST).read_bytes())["files"]
    kept = {entry["sha256"] for name, entry in listed.items() if name.startswith("artifacts/answers-")}
    return any(item.sha256 in kept for item in judge.inputs[:1])


def _of_other_rows(found: RunDirectory, artifact: Artifact) -> str | None:
    """Why an audit is not one of the rows that the artifact was trained on; None where it is."""
    if artifact.run is None:
        return f"nothing records which rows {artifact.folder} was trained on"
    audited = {item.sha256 for item in found.inputs}
    trained = [item for item in artifact.run.inputs if item.rows is not None]
    left = [item.path for item in trained if item.sha256 not in audited]
    if not trained:
        return f"{artifact.run.path} records no rows that it was trained on"
    return f"it did not see {', '.join(left)}, which this run read" if left else None


def _is_known(measure: str) -> bool:
    """Whether this version has the measure; a run of a later one may hold others."""
    try:
        kind_of(measure)
    except KeyError:
        return False
    return True


def _write_run(
    path: Path,
    decision: Decision,
    *,
    policy: Path,
    rules: GatePolicy,
    artifact: Artifact,
    runs: Mapping[Given, RunDirectory],
    refused: Mapping[Role, str],
) -> RunDirectory:
    evidence = [
        (role, found.path, name, digest_file(found.path / name))
        for role, found in runs.items()
        for name in FILES[role]
        if (found.path / name).is_file()
    ]
    maker = None if artifact.run is None else str(artifact.run.path)
    inputs = [
        Input(path=str(artifact.folder), sha256=artifact.digest, parent_run=maker),
        Input(path=str(policy), sha256=digest_file(policy)),
    ]
    inputs += [
        Input(path=str(place / name), sha256=sha256, parent_run=str(place)) for _, place, name, sha256 in evidence
    ]
    run = RunDirectory.create(
        path,
        stage="gate",
        config={"policy": rules.model_dump(mode="json")},
        inputs=inputs,
        seed=0,
        extra={"passed": decision.passed, "artifact": artifact.digest},
    )
    write_bytes(run.path / POLICY, policy.read_bytes())
    if (compared := _comparison(runs, refused)) is not None:
        write_json(run.path / COMPARISON, compared)

    def from_here(place: Path) -> str:
        return os.path.relpath(place, run.path)

    content: dict[str, Any] = {
        "format": FORMAT,
        "passed": decision.passed,
        "artifact": {"path": from_here(artifact.folder), "digest": artifact.digest, "files": dict(artifact.files)},
        "run": None if artifact.run is None else _identity(artifact.run, from_here(artifact.run.path)),
        "policy": {"file": POLICY, "sha256": digest_file(run.path / POLICY)},
        "evidence": [
            {"role": role, "run": from_here(place), "file": name, "sha256": sha256}
            for role, place, name, sha256 in evidence
        ],
        "refused": dict(refused),
        "rules": [asdict(outcome) for outcome in decision.outcomes],
    }
    write_json(run.path / DECISION, content)
    run.seal()
    return run


def _identity(run: RunDirectory, path: str) -> dict[str, str]:
    return {"path": path, "id": run.record["id"], "manifest": digest_file(run.path / MANIFEST)}
