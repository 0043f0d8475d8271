"""What a sweep writes down of itself: what it was asked, what it read, and its frontier."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fairlead.evaluation.frontier import Frontier, Placed, Point
from fairlead.identity import digest_file
from fairlead.runs.directory import Input
from fairlead.stages.sweep_checks import Asked
from fairlead.stages.sweep_evidence import PointRuns

FORMAT = 1


def described(asked: Asked) -> dict[str, Any]:
    """The resolved request, as config.json keeps it."""
    request = asked.request
    named = {name: getattr(request, name) for name in ("config", "suite", "judge", "rubric", "constraints")}
    told = {name: str(value) if isinstance(value, Path) else value for name, value in named.items()}
    points = {point.name: dict(point.settings) for point in asked.points}
    how = {name: getattr(request, name) for name in ("max_kl", "allow_leakage", "precision", "batch_size", "seed")}
    return {**told, "overrides": list(request.overrides), **how, "points": points}


def inputs_of(asked: Asked) -> list[Input]:
    """Configuration, suite with all that it names, judges, rules, and rows."""
    request = asked.request
    config = None if isinstance(request.config, Mapping) else request.config
    files = [file for file in (config, request.judge, request.rubric, request.constraints) if file is not None]
    inputs = [Input(path=str(file), sha256=digest_file(file)) for file in files]
    inputs += asked.material.inputs
    return inputs + [Input(path=path, sha256=sha256) for path, sha256 in asked.rows.items()]


def frontier_json(frontier: Frontier, runs: Sequence[PointRuns], folder: Path) -> dict[str, Any]:
    """frontier.json; paths are seen from the sweep's folder."""
    by_name = {each.name: each for each in runs}

    def from_here(path: Path | None) -> str | None:
        return None if path is None else Path(os.path.relpath(path, folder)).as_posix()

    def placed_point(placed: Placed) -> dict[str, Any]:
        point, found = placed.point, by_name[placed.point.name]
        return {
            "name": point.name,
            "settings": dict(point.settings),
            "run": from_here(found.train),
            "eval": from_here(found.eval),
            "judge": from_here(found.judge),
            "measures": _measures(point),
            "constraints": [asdict(each) for each in point.constraints],
            "on_front": placed.on_front,
            "eligible": placed.eligible,
        }

    return {
        "format": FORMAT,
        "x": frontier.x,
        "y": frontier.y,
        "rule": frontier.rule,
        "points": [placed_point(placed) for placed in frontier.points],
        "picked": frontier.picked,
        "why": frontier.why,
        "diagnoses": [{**asdict(each), "points": list(each.points)} for each in frontier.diagnoses],
    }


def _measures(point: Point) -> dict[str, dict[str, Any]]:
    return {
        name: {key: getattr(found, key) for key in ("value", "low", "high", "n", "unit", "direction")}
        for name, found in point.measures.items()
    }
