"""The card of a registered model, Markdown for people: what it is made of, how, and what the gate found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fairlead.runs.statement import dependencies_of, readable

HYPER = ("loss", "adapter", "train")
"""Sections of a training configuration that the card lists."""


def model_card(name: str, statement: Mapping[str, Any], decision: Mapping[str, Any] | None) -> str:
    """The card of the artifact that `statement` is about; `decision` is the content of its decision.json."""
    build = statement["predicate"]["buildDefinition"]
    facts = build["internalParameters"]
    parts = [
        f"# {_text(name)}",
        f"{facts['artifact'].capitalize()}, digest `{facts['digest']}`. {_verdict(decision)}",
        "## Made of",
        _table(("what", "from", "digest"), _made_of(statement)),
        "## Hyper-parameters",
        _hyper_parameters(build["externalParameters"]),
        "## Gate",
        _gate(decision),
        "## Files",
        _table(("file", "sha256"), [(each["name"], f"`{each['digest']['sha256']}`") for each in statement["subject"]]),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return "It was never held against a gate."
    failed = sum(not rule["passed"] for rule in decision["rules"])
    count = len(decision["rules"])
    return (
        f"It passed its gate ({count} rules)." if decision["passed"] else f"It failed {failed} of {count} gate rules."
    )


def _made_of(statement: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    for name in ("base", "adapter", "tokenizer", "chat_template", "data", "code"):
        for each in dependencies_of(statement, name):
            notes = each.get("annotations", {})
            data_set = f", data set {notes['name']}, set hash {notes['set']}" if "set" in notes else ""
            more = f" ({notes['rows']} rows{data_set})" if name == "data" else ""
            where = f"fairlead {notes['packages'].get('fairlead', '?')}" if name == "code" else readable(each["uri"])
            digests = ", ".join(f"`{value}`" for value in each["digest"].values())
            rows.append((name.replace("_", " "), f"{where}{more}", digests or "not known"))
    return rows


def _hyper_parameters(parameters: Mapping[str, Any]) -> str:
    if not parameters:
        return "Not known: another trainer made it."
    rows = [("seed", str(parameters["seed"]))]
    for section in HYPER:
        for key, value in _flat(parameters["config"].get(section), section):
            rows.append((key, json.dumps(value, ensure_ascii=False)))
    return _table(("field", "value"), rows)


def _flat(value: Any, name: str) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [found for key, item in value.items() for found in _flat(item, f"{name}.{key}")]
    return [] if value is None else [(name, value)]


def _gate(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return "No decision."
    rows = []
    for rule in decision["rules"]:
        interval = "" if rule["low"] is None else f" ({rule['low']:.3g} to {rule['high']:.3g})"
        value = "" if rule["value"] is None else f"{rule['value']:.3g}{interval}"
        figures = [f"{rule[key]:.3g}" if rule[key] is not None else "" for key in ("baseline", "p")]
        n = "" if rule["n"] is None else str(rule["n"])
        rows.append((rule["rule"], "pass" if rule["passed"] else "FAIL", value, n, *figures, rule["reason"]))
    return _table(("rule", "outcome", "value", "n", "baseline", "p", "reason"), rows)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(_text(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """A value as one cell: no line breaks, no cell borders, no HTML."""
    flat = " ".join(str(value).split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
