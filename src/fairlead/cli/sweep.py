"""`fairlead sweep`."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fairlead.evaluation.frontier import Frontier, Placed, Point
    from fairlead.stages.sweep import PlannedPoint, Sweep

NONE_PICKED = 1
WIDTH = 100


def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).", show_default=False)],
    suite: Annotated[
        Path,
        typer.Option(metavar="YAML", help="What every point is measured by; it has a kl section.", show_default=False),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUES",
            help="Values of one field, with commas between, or of several that vary together: a,b=[1, x],[2, y]."
            " May be repeated.",
        ),
    ] = None,
    judge: Annotated[
        Path | None, typer.Option(metavar="YAML", help="Judges who compare each point with the base.")
    ] = None,
    rubric: Annotated[Path | None, typer.Option(metavar="YAML", help="Criteria for the judges.")] = None,
    constraints: Annotated[
        Path | None, typer.Option(metavar="YAML", help="A gate's rules over measures that the pick has to meet.")
    ] = None,
    max_kl: Annotated[
        float | None, typer.Option("--max-kl", metavar="X", help="Greatest KL of the pick, in nats.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run directory; by default a new runs/DATE-sweep-XXXX.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only show the grid and what each point changes.")] = False,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Measure on rows that are trained on, too.")
    ] = False,
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="Number format of the measuring.")
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Answers sampled at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Train every point of a grid, measure each beside the untouched base, and pick one by a stated rule.

    The points are all combinations of the values in --set, written as YAML. Drawn is the win rate against the base with
    --judge, else the ranking accuracy, against the KL to the base. The pick has the highest of those whose KL and
    constraints hold. It says where β was too high (nothing was learnt) and too low (facts or constraints were lost).
    After a stop, the same command with the same --out goes on. Exit code 1 where nothing can be picked.

    \b
    Example:
      fairlead sweep fairlead.yaml --set loss.beta=0.05,0.1,0.3 --suite suite.yaml --max-kl 5 --out runs/sweep
    """
    from fairlead.progress import terminal_progress
    from fairlead.runs.directory import run_name
    from fairlead.stages.sweep import plan_sweep
    from fairlead.stages.sweep import sweep as run_stage

    asked: dict[str, Any] = {
        "overrides": tuple(overrides or ()),
        "suite": suite,
        "judge": judge,
        "rubric": rubric,
        "constraints": constraints,
        "max_kl": max_kl,
        "allow_leakage": allow_leakage,
    }
    if dry:
        planned = plan_sweep(config, **asked)
        if as_json:
            print_json({"points": planned})
        else:
            _print_plan(planned)
        return
    place = Path("runs") / run_name("sweep") if out is None else out
    if out is None:
        print(f"The sweep is in {place}; if it is stopped, go on with --out {place}.", file=sys.stderr)
    found = run_stage(
        config,
        **asked,
        out=place,
        precision=precision,
        batch_size=batch_size,
        seed=seed,
        progress=terminal_progress(),
    )
    if as_json:
        content = json.loads((found.run / "frontier.json").read_bytes())
        print_json({"run": found.run, "failed": found.failed, "prompting": found.prompting, **content})
    else:
        _print(found)
    if found.frontier.picked is None:
        raise typer.Exit(NONE_PICKED)


def _print_plan(points: Sequence[PlannedPoint]) -> None:
    print(f"{len(points)} points:" if len(points) > 1 else "1 point:")
    for point in points:
        print(f"\n{point.name}")
        for field, (before, after) in point.changes.items():
            print(f"  {field}: {json.dumps(before, ensure_ascii=False)} → {json.dumps(after, ensure_ascii=False)}")
        if not point.changes:
            print("  as in the configuration")


def _print(found: Sweep) -> None:
    frontier = found.frontier
    rows = [_headings(frontier), *(_row(frontier, placed) for placed in frontier.points)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    for name, why in found.failed.items():
        _say(f"left out: {name}: {why}")
    _say(f"The rule: {frontier.rule}.")
    _say(frontier.why)
    for sentence in found.prompting:
        _say(f"prompting, {sentence}")
    for each in frontier.diagnoses:
        _say(f"note: {each.text}")
    print(f"\nThe run is in {found.run}; its page is {found.run / 'report.html'}.")


def _say(text: str) -> None:
    print(textwrap.fill(text, WIDTH, break_on_hyphens=False))


def _headings(frontier: Frontier) -> list[str]:
    return ["point", frontier.y, "", frontier.x, "", "constraints", ""]


def _row(frontier: Frontier, placed: Placed) -> list[str]:
    point = placed.point
    held = sum(each.passed for each in point.constraints)
    kept = f"{held} of {len(point.constraints)}" if point.constraints else "–"
    mark = "picked" if point.name == frontier.picked else "on the front" if placed.on_front else ""
    return [point.name, *_figure(point, frontier.y), *_figure(point, frontier.x), kept, mark]


def _figure(point: Point, name: str) -> tuple[str, str]:
    from fairlead.evaluation.wording import interval_text, value_text

    measure = point.measures.get(name)
    if measure is None:
        return "–", ""
    return value_text(measure.value, measure.unit), interval_text(measure)
