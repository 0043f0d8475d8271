"""From the results to the page: a table and plots, written between two marks of docs/benchmarks.md.

`python -m bench.against_trl.report`
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.against_trl import plots
from bench.against_trl.cells import LARGE, SMALL, Cell, default_plan, every_cell
from bench.against_trl.duel import FAIRLEAD, ROOT, TRL
from bench.against_trl.results import Results

FOLDER = ROOT / "bench" / "results"
RESULTS, RATIOS = FOLDER / "against-trl.json", FOLDER / "against-trl.svg"
WHOLE_RUNS, CURVES = FOLDER / "whole-runs.json", FOLDER / "whole-runs.svg"
SCALING = FOLDER / "scaling.json"
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made from bench/results: begin -->\n", "<!-- made from bench/results: end -->\n"

HEADER = (
    "model",
    "method",
    "trained",
    "type",
    "prompt/completion",
    "reference",
    "TRL rows/s",
    "Fairlead rows/s",
    "ratio (least–most)",
    "memory, GB",
    "share of TRL's",
    "share of the floor",
    "same loss to",
)


def write() -> None:
    """Make plots and page anew from what has been measured."""
    if RESULTS.is_file():
        results = Results.read(RESULTS)
        if results.cells:
            RATIOS.write_text(plots.ratios(list(_lines(results))), encoding="utf-8")
    if WHOLE_RUNS.is_file():
        CURVES.write_text(plots.curves(_read(WHOLE_RUNS)["runs"]), encoding="utf-8")
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), measured()), encoding="utf-8")


def replaced(page: str, made: str) -> str:
    """The page with the part between the two marks made anew."""
    before, mark, rest = page.partition(BEGIN)
    _, other, after = rest.partition(END)
    assert mark, f"{PAGE.name} lacks {BEGIN}"
    assert other, f"{PAGE.name} lacks {END}"
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def measured() -> str:
    """Everything that has been measured so far, as Markdown."""
    parts = [against_trl(Results.read(RESULTS)) if RESULTS.is_file() else "Nothing has been timed yet.\n"]
    if WHOLE_RUNS.is_file():
        parts.append(whole_runs(_read(WHOLE_RUNS)))
    if SCALING.is_file():
        parts.append(scaling(_read(SCALING)))
    return "\n".join(parts)


def against_trl(results: Results) -> str:
    """The table of ratios, under what it was measured with, and what is missing from it."""
    rows = [_row(cell, record) for cell, record in _in_order(results)]
    parts = [
        "## Speed and memory against TRL\n",
        _surroundings(results),
        f"![Ratios per cell]({_link(RATIOS)})\n" if rows else "",
        _table(HEADER, rows),
        _not_measured(results),
    ]
    return "\n".join(filter(None, parts))


def whole_runs(found: Mapping[str, Any]) -> str:
    """How far the loss curves of whole runs lie apart."""
    rows = [
        (
            f"`{name}`",
            str(len(run["trl"])),
            f"{run['trl'][0]:.4f} → {run['trl'][-1]:.4f}",
            f"{run['fairlead'][0]:.4f} → {run['fairlead'][-1]:.4f}",
            f"{largest_difference(run):.1e}",
        )
        for name, run in found["runs"].items()
    ]
    return "\n".join(
        [
            "## Whole runs\n",
            f"{found['about']}\n",
            f"![Loss curves]({_link(CURVES)})\n",
            _table(("run", "steps", "TRL", "Fairlead", "largest difference of a loss"), rows),
        ]
    )


def scaling(found: Mapping[str, Any]) -> str:
    """Whether a step's time grows as its operations do."""
    rows = [
        (
            row["what"],
            f"{row['value']:,}".replace(",", " "),
            f"{row['median_seconds']:.3f}",
            f"{row['operations'] / 1e9:,.0f}".replace(",", " "),
            f"{row['floor_seconds'] / row['median_seconds']:.0%}",
            f"{row['peak_bytes'] / 1e9:.2f}",
        )
        for row in found["rows"]
    ]
    header = ("what grows", "value", "seconds a step", "10⁹ operations a step", "share of the floor", "memory, GB")
    return "\n".join(["## Does the cost grow as it should?\n", f"{found['about']}\n", _table(header, rows)])


def largest_difference(run: Mapping[str, Sequence[float]]) -> float:
    """Between two curves, at the step where they are furthest apart."""
    return max(abs(a - b) for a, b in zip(run[TRL], run[FAIRLEAD], strict=True))


def _in_order(results: Results) -> Iterator[tuple[Cell, Mapping[str, Any]]]:
    """Measured cells in the order of the matrix; those on a model of the user's own come last."""
    known = {cell.name: cell for cell in every_cell()}
    for name in [*(n for n in known if n in results.cells), *(n for n in results.cells if n not in known)]:
        yield known.get(name) or _of_name(name), results.cells[name]


def _of_name(name: str) -> Cell:
    shape, method, adapter, precision, profile, reference = name.split("|")
    return Cell(shape=shape, method=method, adapter=adapter, precision=precision, profile=profile, reference=reference)


def _lines(results: Results) -> Iterator[tuple[str, Mapping[str, float]]]:
    for cell, record in _in_order(results):
        parts = (cell.shape, cell.method, cell.adapter, cell.precision, cell.profile, cell.reference)
        yield " · ".join(part for part in parts if part != "none"), record["ratio"]


def _row(cell: Cell, record: Mapping[str, Any]) -> tuple[str, ...]:
    theirs, ours, ratio = record[TRL], record[FAIRLEAD], record["ratio"]
    short = "" if record["steps"] >= record["wanted_steps"] else f", {record['steps']} steps"
    floors = [record["floor_seconds"] / side["median_seconds"] for side in (theirs, ours)]
    return (
        cell.shape,
        f"`{cell.method}`",
        {"lora": "LoRA", "full": "all"}[cell.adapter],
        cell.precision,
        cell.profile,
        "–" if cell.reference == "none" else cell.reference,
        f"{theirs['rows_per_second']:.3g}",
        f"{ours['rows_per_second']:.3g}",
        f"**{ratio['median']:.2f}** ({ratio['min']:.2f}–{ratio['max']:.2f}{short})",
        f"{theirs['peak_bytes'] / 1e9:.2f} → {ours['peak_bytes'] / 1e9:.2f}",
        f"{ours['peak_bytes'] / theirs['peak_bytes']:.0%}",
        f"{floors[0]:.0%} → {floors[1]:.0%}",
        f"{record['proof']['loss_differs_by']:.0e}",
    )


def _surroundings(results: Results) -> str:
    machine, records = results.machine, list(results.cells.values())
    peaks = {name: value / 1e9 for name, value in machine["peak_operations_per_second"].items()}
    said = (
        f"{machine['processor']}, {machine['threads']} threads of {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.0f} GiB; a plain product of matrices reaches {peaks['fp32']:.0f} GFLOP/s "
        f"in float32 and {peaks['bf16']:.0f} in bfloat16."
    )
    if records:
        dates = sorted({record["date"] for record in records})
        versions = {tuple(sorted(record["packages"].items())) for record in records}
        listed = " or ".join(
            ", ".join(f"{name} {version}" for name, version in one if name in SHOWN) for one in sorted(versions)
        )
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        said += f" Measured {when} with {listed}."
    return f"{said}\n"


SHOWN = ("accelerate", "fairlead", "peft", "python", "torch", "transformers", "trl")


def _not_measured(results: Results) -> str:
    """The cells without figures, and why where that is known. A named model stands for the large shape of its own."""
    named = {_rest(name) for name in results.cells if not name.startswith((f"{SMALL}|", f"{LARGE}|"))}

    def without(cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in results.missing(cells) if cell.shape != LARGE or _rest(cell.name) not in named]

    matrix = every_cell()
    missing = without(default_plan())
    said = f"{len(matrix) - len(without(matrix))} of {len(matrix)} cells of the matrix have figures."
    if missing:
        said += " Of the default plan these have none: " + "; ".join(cell.name.replace("|", " · ") for cell in missing)
        said += "."
    lines = [said, *(f"- {name.replace('|', ' · ')}: {why}" for name, why in results.failures.items())]
    return "\n".join(lines) + "\n"


def _rest(name: str) -> str:
    """The name of a cell without its model."""
    return name.partition("|")[2]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _link(path: Path) -> str:
    return f"../{path.relative_to(ROOT)}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    write()
