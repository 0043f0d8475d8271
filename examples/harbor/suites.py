"""Suites for `fairlead eval`: the files in suites/, each put into a folder beside the rows that it names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

import fairlead
from examples.harbor.records import TOOLS
from examples.harbor.sets import HERE, REQUIRED
from examples.harbor.world import Case
from fairlead.data.records import Candidates
from fairlead.identity import digest_file
from fairlead.runs.atomic import write_bytes

DOCUMENTS = HERE / "documents"
GATE = HERE / "gate.yaml"
SECTIONS_OF_ANSWERS = ("generation", "kl", "probes")


def read_suite(name: str, *, max_new_tokens: int) -> dict[str, Any]:
    """A suite of suites/ with its answers no longer than a recipe allows."""
    content: dict[str, Any] = yaml.safe_load((HERE / "suites" / f"{name}.yaml").read_text(encoding="utf-8"))
    for section in SECTIONS_OF_ANSWERS:
        if section in content:
            content[section]["max_new_tokens"] = min(content[section]["max_new_tokens"], max_new_tokens)
    return content


def files_of(suite: Mapping[str, Any]) -> dict[str, str]:
    """sha256 of every file of the example that goes beside a suite."""
    files = [REQUIRED, *(sorted(DOCUMENTS.iterdir()) if "baseline" in suite else [])]
    return {file.name: digest_file(file) for file in files}


def write_suite(
    folder: Path,
    suite: dict[str, Any],
    *,
    prompts: Sequence[Case] = (),
    kl_prompts: Sequence[Case] = (),
    reference: Path | None = None,
    held_out: Path | None = None,
) -> Path:
    """Write a suite with what it names into a new folder, and return its file.

    reference: the model that the KL is measured to, named relative to the folder.
    """
    folder.mkdir()
    if "generation" in suite:
        fairlead.write([asked(case) for case in prompts], folder / "prompts.jsonl")
        shutil.copy(REQUIRED, folder)
    if "kl" in suite:
        assert reference is not None
        fairlead.write([case.row() for case in kl_prompts], folder / "kl_prompts.jsonl")
        suite = suite | {"kl": suite["kl"] | {"reference": os.path.relpath(reference, folder)}}
    if "held_out" in suite:
        assert held_out is not None
        shutil.copy(held_out, folder / "held_out.jsonl")
    if "baseline" in suite:
        shutil.copytree(DOCUMENTS, folder / "documents")
    return _dump(suite, folder / "suite.yaml")


def prose_ids(cases: Sequence[Case]) -> frozenset[str]:
    """The ids of the prompts that are answered in sentences to a customer: neither with a call nor with a refusal."""
    return frozenset(case.id for case in cases if _in_prose(case))


def asked(case: Case) -> Candidates:
    """The prompt as a suite holds it: whether it is answered in prose, and the form of the call that it asks for."""
    row = case.row()
    meta = row.meta | {"prose": _in_prose(case)}
    if case.call is not None:
        meta |= {"json_schema": call_schema(case)}
    return msgspec.structs.replace(row, meta=meta)


def call_schema(case: Case) -> dict[str, Any]:
    """The JSON Schema of one call of a tool that the prompt lists, with exactly its arguments."""
    listed = [tool for tool in TOOLS if f'"name": "{tool}"' in case.system]
    return {
        "oneOf": [
            _object({"name": {"const": tool}, "arguments": _object(dict.fromkeys(TOOLS[tool], True))})
            for tool in listed
        ]
    }


def write_constraints(path: Path) -> Path:
    """The gate's rules about what training must not break, but for the probes, which nothing is chosen by.

    What training is to reach is asked of what may ship alone.
    """
    gate: dict[str, Any] = yaml.safe_load(GATE.read_text(encoding="utf-8"))
    kept = [rule for rule in gate["non_regression"] if not rule["measure"].startswith("probe/")]
    same = {key: gate[key] for key in ("version", "alpha", "required_phrases")}
    return _dump(same | {"non_regression": kept}, path)


def _in_prose(case: Case) -> bool:
    return case.intent not in ("tool", "refuse")


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that has just these properties."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }


def _dump(content: Mapping[str, Any], path: Path) -> Path:
    write_bytes(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True).encode())
    return path
