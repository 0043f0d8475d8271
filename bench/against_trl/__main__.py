"""`python -m bench.against_trl`: measure what is missing of the matrix, then write table and plot anew."""

from __future__ import annotations

import functools
import os
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.against_trl import report
from bench.against_trl.cells import BATCHES, LARGE, Cell, Job, default_plan, every_cell, selected
from bench.against_trl.duel import ROOT, run_cell
from bench.against_trl.floor import PEAK, Dimensions, operations, peaks
from bench.against_trl.models import model_folder, read_config, reward_folder
from bench.against_trl.results import Record, Results, run_missing
from bench.against_trl.rows import make_groups, sequence_tokens
from fairlead.runs.surroundings import hardware, package_versions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
SCRATCH = ROOT / "out" / "bench"
DEFAULT_MINUTES = 30.0
OPPONENT = ("trl", "accelerate", "datasets")


@app.command()
def main(
    everything: Annotated[bool, typer.Option("--all", help="The whole matrix, whatever it takes.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Cells with this word in their name: dpo, lora, 64/256, …")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Start no cell after so many. [default: 30, without end with --all]")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"A model's folder, in place of random weights of the {LARGE} shape."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each contender. [default: all cores]")] = None,
    results: Annotated[Path, typer.Option(metavar="FILE", help="Where the figures are kept.")] = report.RESULTS,
    plan: Annotated[
        bool, typer.Option("--plan", help="List the cells, and which are measured; measure nothing.")
    ] = False,
) -> None:
    """Fairlead against TRL: same weights, rows and optimizer, a process each, a step in turn; same loss proven first.

    What is measured is kept after every cell, and not measured again: run it once more to go on.
    """
    cells = [
        cell if model is None else _named(cell, model) for cell in (every_cell() if everything else default_plan())
    ]
    cells = selected(cells, only or ())
    if plan:
        done = Results.read(results).cells if results.is_file() else {}
        typer.echo("\n".join(f"{'done   ' if cell.name in done else 'missing'}  {cell.name}" for cell in cells))
        return
    count = threads or len(os.sched_getaffinity(0))
    found = hardware()
    facts = {"processor": found["processor"], "cores": found["cores"], "threads": count}
    kept = Results.open(results, facts, lambda: {"memory_bytes": found["memory_bytes"], PEAK: peaks(count)})
    end = time.monotonic() + 60 * (minutes or (float("inf") if everything else DEFAULT_MINUTES))
    run = functools.partial(_measure, model=model, threads=count, machine=kept.machine)
    still = run_missing(kept, cells, run, may_start=lambda: time.monotonic() < end, say=typer.echo)
    if still:
        typer.echo(f"{len(still)} of {len(cells)} cells have no figures yet; run it again to go on.")
    if results == report.RESULTS:
        report.write()


def _measure(cell: Cell, *, model: Path | None, threads: int, machine: dict[str, Any]) -> Record:
    """The record of one cell, with what of it can be known without a clock."""
    scratch = SCRATCH / "cell"
    shutil.rmtree(scratch, ignore_errors=True)
    reward = cell.method == "reward"
    if model is not None and cell.shape == _shape_name(model):
        folder = reward_folder(model, SCRATCH) if reward else model
    else:
        folder = model_folder(cell.shape, SCRATCH, reward=reward)
    prompt, completion = cell.lengths
    job = Job(
        model=str(folder.resolve()),
        scratch=str(scratch),
        method=cell.method,
        adapter=cell.adapter,
        precision=cell.precision,
        reference=cell.reference,
        prompt_tokens=prompt,
        completion_tokens=completion,
        threads=threads,
        batches=BATCHES[cell.precision],
    )
    groups, size = make_groups(job), Dimensions.of(read_config(folder))
    wanted = operations(job, groups, size) / job.batches
    record = run_cell(cell, job)
    return {
        **record,
        "packages": {**package_versions(), **{name: metadata.version(name) for name in OPPONENT}},
        "sequence_tokens": sequence_tokens(groups) / job.batches,
        "operations": wanted,
        "floor_seconds": wanted / machine[PEAK][cell.precision],
    }


def _named(cell: Cell, model: Path) -> Cell:
    """The cell on a given model, if it is one of those that have its shape."""
    return cell if cell.shape != LARGE else Cell(**{**vars(cell), "shape": _shape_name(model)})


def _shape_name(model: Path) -> str:
    return model.resolve().name


if __name__ == "__main__":
    app()
