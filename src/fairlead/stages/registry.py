"""`registry`: what shipped, tied to what made it: models added, promoted with a passed gate, rolled back, verified."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairlead.errors import RunError
from fairlead.identity import digest, digest_bytes, digest_file
from fairlead.runs.artifact import Artifact, find_artifact
from fairlead.runs.directory import RunDirectory
from fairlead.runs.model_card import model_card
from fairlead.runs.registry import Draft, Entry, Registry, State, replay
from fairlead.runs.registry_store import (
    CARD,
    DECISION,
    find_faults,
    folder_of,
    keep_artifact,
    keep_statement,
    read_decision,
    read_statement,
    statement_bytes,
)
from fairlead.runs.statement import hashed, make_statement, run_files
from fairlead.stages.gate import decide_again

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered model: its entry, where its files and its card lie, its statement and its gate's decision."""

    entry: Entry
    artifact: Path
    card: Path
    statement: Mapping[str, Any]
    decision: Mapping[str, Any] | None
    channels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What verification found: faults, a sentence each; the entries and head of the log; bytes of a torn last line."""

    faults: tuple[str, ...]
    entries: int
    head: str
    torn: int


def add(
    registry: str | Path, name: str, run: str | Path, *, gate: str | Path | None = None, reference: bool = False
) -> Entry:
    """Register what `run` made under `name`, with its statement, its card and copies of the gate's evidence.

    gate: the run of a gate about this very artifact; without one it cannot be promoted, and may be added again with
    one. reference: leave the files where they are and keep their digests alone. A name stands for one artifact for
    ever. Raises RunError for a run or a decision that was changed, or a name that is taken.
    """
    _check_name(name, "name")
    home = Path(registry)
    artifact = find_artifact(run)
    if artifact.run is not None:
        _refuse_changed(artifact.run, "Train it again.")
    evidence, decision = ({}, None) if gate is None else _read_gate(Path(gate), artifact)
    files = {**evidence, **({} if artifact.run is None else run_files(artifact.run))}
    base = None if gate is None or decision is None else _measured_base(Path(gate), decision)
    statement = make_statement(name, artifact, hashed(files), base_sha256=base)
    card = model_card(name, statement, decision).encode()
    place = os.path.relpath(artifact.folder, home) if reference else keep_artifact(home, artifact)
    sha256 = keep_statement(home, statement_bytes(statement), card, files)

    def draft(entries: Sequence[Entry]) -> Draft:
        present = replay(entries).names.get(name)
        if present is not None and present.artifact != artifact.digest:
            raise RunError(
                f"{home}: {name} is the name of another model already. A name never changes: choose another."
            )
        if present is not None and present.statement == sha256 and present.place == place:
            raise RunError(f"{home}: {name} is registered already, with the same statement. Nothing was added.")
        return Draft(
            action="add",
            name=name,
            artifact=artifact.digest,
            place=place,
            statement=sha256,
            card=digest_bytes([card]),
        )

    return Registry(home).append(draft)


def promote(registry: str | Path, name: str, *, to: str) -> Entry:
    """Put a model into a channel. Raises RunError without a passed gate about it, or where any byte was changed."""
    _check_name(to, "channel")
    found = Registry.open(registry)

    def draft(entries: Sequence[Entry]) -> Draft:
        state = replay(entries)
        entry = _named(state, name, found)
        _refuse_unfit(found.path, entry)
        current = state.channels.get(to, ())
        if current and (current[-1].name, current[-1].statement) == (name, entry.statement):
            raise RunError(f"{found.path}: {name} is in {to} already. Nothing was logged.")
        return _moved(entry, "promote", to)

    return found.append(draft)


def rollback(registry: str | Path, channel: str) -> Entry:
    """Return a channel to the model before. Raises RunError where there is none, or where its bytes were changed.

    The entry that is given names the model that the channel now holds.
    """
    found = Registry.open(registry)

    def draft(entries: Sequence[Entry]) -> Draft:
        past = replay(entries).channels.get(channel, ())
        if len(past) < 2:
            count = "nothing was ever promoted to it" if not past else "there is no model before the one in it"
            raise RunError(f"{found.path}: {channel} cannot be rolled back: {count}.")
        _refuse_unfit(found.path, past[-2])
        return _moved(past[-2], "rollback", channel)

    return found.append(draft)


def list_models(registry: str | Path) -> State:
    """The names and channels of a registry. Raises RunError where the log was tampered with."""
    return Registry.open(registry).state()


def show(registry: str | Path, name: str) -> Registered:
    """What is registered under a name, or in a channel. Raises RunError where it is neither."""
    found = Registry.open(registry)
    state = found.state()
    past = state.channels.get(name, ())
    entry = past[-1] if past and name not in state.names else _named(state, name, found)
    return Registered(
        entry=entry,
        artifact=Path(os.path.normpath(found.path / entry.place)),
        card=folder_of(found.path, entry.statement) / CARD,
        statement=read_statement(found.path, entry),
        decision=read_decision(found.path, entry),
        channels=tuple(sorted(each for each, held in state.channels.items() if held and held[-1].name == entry.name)),
    )


def verify(registry: str | Path, *, head: str | None = None) -> Verified:
    """Recompute the chain of the log and every digest, and name what was tampered with.

    head: the sha256 of a line of the log that was kept elsewhere; the log must still hold it, so that a log that was
    cut or written anew is found. Raises RunError where there is no registry.
    """
    found = Registry.open(registry)
    try:
        entries = found.entries()
    except RunError as error:
        return Verified(faults=(str(error),), entries=0, head="", torn=found.torn())
    faults: dict[str, None] = {}
    for entry in {(entry.statement, entry.card, entry.place): entry for entry in entries}.values():
        faults |= dict.fromkeys(find_faults(found.path, entry))
    if head is not None and head not in {entry.sha256 for entry in entries}:
        faults[f"{found.path}: the log does not hold the line {head}: it was cut, or written anew."] = None
    return Verified(faults=tuple(faults), entries=len(entries), head=found.head(), torn=found.torn())


def _check_name(name: str, what: str) -> None:
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot be a {what}: use letters, digits, dots, dashes and underscores.")


def _named(state: State, name: str, registry: Registry) -> Entry:
    if name in state.names:
        return state.names[name]
    known = ", ".join(sorted(state.names)) or "none"
    raise RunError(f"{registry.path}: nothing is registered as {name}. Registered are: {known}.")


def _moved(entry: Entry, action: Any, channel: str) -> Draft:
    return Draft(
        action=action,
        name=entry.name,
        artifact=entry.artifact,
        place=entry.place,
        statement=entry.statement,
        card=entry.card,
        channel=channel,
    )


def _refuse_changed(run: RunDirectory, remedy: str) -> None:
    if faults := run.verify():
        raise RunError(f"{run.path}: is not as it was completed: {' '.join(faults)} {remedy}")


def _refuse_unfit(registry: Path, entry: Entry) -> None:
    """Raise RunError unless every byte is as it was logged and a passed decision is bound to this very artifact."""
    if faults := list(find_faults(registry, entry)):
        raise RunError(f"{registry}: {entry.name} was tampered with and is refused. {' '.join(faults)}")
    decision = read_decision(registry, entry)
    if decision is None:
        raise RunError(
            f"{registry}: {entry.name} has no gate decision and is refused. Hold it against one (fairlead gate), and "
            f"add it again with --gate."
        )
    _refuse_unbound(decision, entry.artifact, f"{registry}: {entry.name}")
    failed = [rule["rule"] for rule in decision["rules"] if not rule["passed"]]
    if decision["passed"] is not True or failed or not decision["rules"]:
        raise RunError(f"{registry}: {entry.name} did not pass its gate and is refused: {'; '.join(failed)}.")


def _refuse_unbound(decision: Mapping[str, Any], artifact: str, where: str) -> None:
    bound = decision["artifact"]
    if bound["digest"] != artifact or digest(bound["files"]) != artifact:
        raise RunError(f"{where}: the gate's decision is about another artifact. Hold this one against the gate.")


def _measured_base(gate: Path, decision: Mapping[str, Any]) -> str | None:
    """Digest of the base weights that the evaluation of the model loaded; None where it did not say."""
    places = {each["role"]: each["run"] for each in decision["evidence"]}
    if "eval" not in places or "eval" in decision.get("refused", {}):
        return None
    known = RunDirectory.open(os.path.normpath(gate / places["eval"])).record["extra"].get("model") or {}
    return None if known.get("sha256") is None else str(known["sha256"])


def _read_gate(path: Path, artifact: Artifact) -> tuple[dict[str, Path], dict[str, Any]]:
    """The files that a gate's run is bound to, by the names they are kept under, and the decision."""
    run = RunDirectory.open(path)
    if run.stage != "gate" or not (path / DECISION).is_file():
        raise RunError(f"{path}: is a run of `{run.stage}`. Name one that `fairlead gate` wrote.")
    _refuse_changed(run, "Hold the model against the gate again.")
    decision: dict[str, Any] = json.loads((path / DECISION).read_bytes())
    _refuse_unbound(decision, artifact.digest, str(path))
    files = {
        DECISION: path / DECISION,
        "policy.yaml": path / "policy.yaml",
        "gate-manifest.json": path / "manifest.json",
    }
    if digest_file(files["policy.yaml"]) != decision["policy"]["sha256"]:
        raise RunError(f"{files['policy.yaml']}: is not the policy that was decided by. Run the gate again.")
    for each in decision["evidence"]:
        source = Path(os.path.normpath(path / each["run"] / each["file"]))
        if not source.is_file() or digest_file(source) != each["sha256"]:
            raise RunError(f"{source}: is missing or was changed since the gate read it. Run the gate again.")
        files[f"{each['role']}-{each['file']}"] = source
    again = decide_again(run, artifact)
    written = [(rule["rule"], rule["passed"]) for rule in decision["rules"]]
    if written != [(rule.rule, rule.passed) for rule in again.outcomes] or decision["passed"] != again.passed:
        raise RunError(f"{path}: the decision does not follow from its evidence. Run the gate again.")
    return files, decision
