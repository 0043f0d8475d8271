"""Where an artifact comes from, as an in-toto statement: what was made, of what, with which settings, on what evidence.

The layout is in-toto's Statement v1 with SLSA's provenance v1 as predicate: both are read by other tools.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fairlead.identity import digest_file
from fairlead.runs.artifact import Artifact
from fairlead.runs.directory import Input, RunDirectory

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:fairlead:train:1"
TEMPLATES = ("chat_template.jinja", "chat_template.json")
HUB, FILE = "pkg:huggingface/", "file:"
"""How the addresses of a model on the hub (a package URL) and of a folder or file on disk begin."""


def make_statement(
    name: str, artifact: Artifact, byproducts: Mapping[str, str], *, base_sha256: str | None = None
) -> dict[str, Any]:
    """The statement about an artifact of that name. byproducts: sha256 of files of audit, evaluations and gate.

    Of a folder that another trainer saved, only the base's name, tokenizer and template are known, and `base_sha256`,
    the digest of the base's weights, where an evaluation loaded them.
    """
    run = artifact.run
    record = {} if run is None else run.record
    parameters = {} if run is None else {"config": run.config, "user_set": run.user_set, "seed": record["seed"]}
    packages = record.get("packages", {})
    times = {"startedOn": _time(record.get("created")), "finishedOn": _time(record.get("ended"))}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in artifact.files.items()],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": parameters,
                "internalParameters": {"name": name, "artifact": artifact.kind, "digest": artifact.digest},
                "resolvedDependencies": _dependencies(artifact, base_sha256),
            },
            "runDetails": {
                "builder": {"id": "urn:fairlead" if run is not None else "urn:unknown", "version": packages},
                "metadata": {
                    "invocationId": record.get("id", ""),
                    **{key: time for key, time in times.items() if time is not None},
                },
                "byproducts": [
                    {"name": name, "digest": {"sha256": sha256}} for name, sha256 in sorted(byproducts.items())
                ],
            },
        },
    }


def dependencies_of(statement: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The dependencies of one sort: base, adapter, tokenizer, chat_template, data or code."""
    listed = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return [each for each in listed if each["name"] == name]


def readable(uri: str) -> str:
    """An address of a statement as people name it: a hub id, a path."""
    return unquote(uri.removeprefix(HUB).removeprefix(FILE))


def _dependencies(artifact: Artifact, base_sha256: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if artifact.run is not None:
        weights = [item for item in artifact.run.inputs if item.rows is None]
        hub = _hub_ids(artifact.run)
        found += [_weights("base" if place == 0 else "adapter", item, hub) for place, item in enumerate(weights)]
        found += [_data(item) for item in artifact.run.inputs if item.rows is not None]
    elif (base := _named_base(artifact)) is not None:
        digest = {} if base_sha256 is None else {"weightsSha256": base_sha256}
        on_disk = Path(base).is_absolute() or base.startswith(".") or Path(base).exists()
        found.append({"name": "base", "uri": _uri(base, on_hub=not on_disk), "digest": digest})
    for name, files in (("tokenizer", ("tokenizer.json",)), ("chat_template", TEMPLATES)):
        present = next((file for file in files if file in artifact.files), None)
        if present is not None:
            found.append({"name": name, "uri": present, "digest": {"sha256": artifact.files[present]}})
    if artifact.run is not None:
        found.append(_code(artifact.run))
    return found


def _weights(name: str, item: Input, hub: frozenset[str]) -> dict[str, Any]:
    """Weights that training started from. Their digest is over tensors, not over the bytes of one file."""
    return {
        "name": name,
        "uri": _uri(item.path, on_hub=item.path in hub),
        "digest": {"weightsSha256": item.sha256},
    }


def _data(item: Input) -> dict[str, Any]:
    notes: dict[str, Any] = {"rows": item.rows} | dict(item.data_set or {})
    return {
        "name": "data",
        "uri": _uri(item.path, on_hub=False),
        "digest": {"sha256": item.sha256},
        "annotations": notes,
    }


def _hub_ids(run: RunDirectory) -> frozenset[str]:
    """What a run read that is no path: as it is written, a path leads out of the run's folder."""
    written = json.loads((run.path / "inputs.json").read_bytes())
    return frozenset(each["path"] for each in written if not each["path"].startswith(("..", "/")))


def _named_base(artifact: Artifact) -> str | None:
    """The base that an adapter's own configuration names."""
    path = artifact.folder / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        named = json.loads(path.read_bytes()).get("base_model_name_or_path")
    except (ValueError, AttributeError):  # no JSON, or no object: nothing is known then
        return None
    return named if isinstance(named, str) and named else None


def _code(run: RunDirectory) -> dict[str, Any]:
    record = run.record
    state = record.get("git") or {}
    digest = {"gitCommit": state["commit"]} if state else {}
    notes = {"packages": record["packages"], "dirty": state.get("dirty")}
    return {"name": "code", "uri": "urn:fairlead", "digest": digest, "annotations": notes}


def _uri(path: str, *, on_hub: bool) -> str:
    """The address of a hub id or of a path, of which, where it is absolute, only the name is shown to others."""
    if on_hub:
        return HUB + quote(path)
    return FILE + quote(Path(path).name if Path(path).is_absolute() else path)


def _time(written: str | None) -> str | None:
    """A time as the format asks: RFC 3339, in UTC, with a Z at its end."""
    if written is None:
        return None
    return datetime.fromisoformat(written).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def run_files(run: RunDirectory) -> dict[str, Path]:
    """The files that tie a registered artifact to its training run, by the name they are kept under."""
    names = ("run.json", "config.json", "inputs.json", "manifest.json")
    return {f"train-{name}": run.path / name for name in names if (run.path / name).is_file()}


def hashed(files: Mapping[str, Path]) -> dict[str, str]:
    """The sha256 of each file."""
    return {name: digest_file(path) for name, path in files.items()}
