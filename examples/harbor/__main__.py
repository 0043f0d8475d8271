"""`python -m examples.harbor`: the whole story, from the model's download to the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

import fairlead
from examples.harbor.cache import Cache
from examples.harbor.decisions import read_decision, read_frontier, read_steps
from examples.harbor.figures import Figure, Results, figures, model_row
from examples.harbor.measuring import Measuring, results_of, shares_of_gain
from examples.harbor.model import CREDITS, NAME
from examples.harbor.page import CAVEAT, report_page
from examples.harbor.recipe import FULL_RECIPE, QUICK_RECIPE, SHIPPED
from examples.harbor.sets import HERE, faults
from examples.harbor.story import SFT, Story, Told, base_model
from examples.harbor.suites import prose_ids
from examples.harbor.tables import audits_table, gates_table, models_table, published_table
from examples.harbor.world import SEED, build
from fairlead.config.judge import read_judge
from fairlead.errors import FairleadError, RunError
from fairlead.progress import terminal_progress
from fairlead.runs.atomic import write_bytes, write_json
from fairlead.runs.surroundings import hardware

JUDGE = HERE / "judge.yaml"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
INTERRUPTED = 130


@app.command()
def harbor(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything that is made.")] = Path("out/harbor"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A smoke run: few steps, small sets, meaningless numbers.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option(metavar="PATH_OR_ID", help=f"Another chat model. [default: {NAME}]", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of training and sampling; the world keeps its own.")] = 0,
    measure_on: Annotated[
        Literal["evaluation", "recipe"], typer.Option(help="Prompts to measure on; recipe is for choosing settings.")
    ] = "evaluation",
    judge: Annotated[
        Path, typer.Option(metavar="FILE", help="Who judges: an endpoint, a reward model, rules.", show_default=False)
    ] = JUDGE,
) -> None:
    """Align a support model by agents' edits, measure it against the published case, decide, and write a report.

    \b
    Example:
      python -m examples.harbor --quick
    """
    console, progress = Console(), terminal_progress()
    recipe = QUICK_RECIPE if quick else FULL_RECIPE
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file. Name a folder for what the example makes (--out).")
    read_judge(judge)  # before anything is trained
    cache = Cache(out / "stages", say=console.print)
    world = build(SEED, recipe.sizes)
    measuring = Measuring(
        recipe=recipe, world=world, cache=cache, progress=progress, judge=judge.resolve(), runs=out / "runs"
    )
    story = Story(
        recipe=recipe,
        world=world,
        cache=cache,
        measuring=measuring,
        reference_cache=out / "reference",
        seed=seed,
        progress=progress,
    )
    console.print(CREDITS if model is None else f"Model: {model}")
    told = story.tell(base_model(model, out / "model", progress), measure_on=measure_on)
    results = results_of(told.proofs, prose_ids(world[measure_on]))
    by_name = {each.model: each for each in results}
    found = figures(by_name[SFT], by_name[SHIPPED])
    facts = {
        "model": model or NAME,
        "seed": seed,
        "hardware": hardware(),
        "smoke": recipe.smoke,
        "measured on": measure_on,
    }
    page = report_page(told, results, found, world[measure_on], facts | {"stages": cache.finished})
    write_json(out / "summary.json", facts | _summary(told, results, found, cache))
    write_bytes(out / "report.html", page.encode())
    release = _release_page(told, out)
    _print(console, told, results, found, smoke=recipe.smoke)
    console.print(f"\nReport:  {out / 'report.html'}\nRelease: {release}", soft_wrap=True)
    console.print(f"Summary: {out / 'summary.json'}", soft_wrap=True)


def _summary(told: Told, results: Sequence[Results], found: Mapping[str, Figure], cache: Cache) -> dict[str, Any]:
    gates = {name: proof.gate.path for name, proof in told.proofs.items() if proof.gate is not None}
    frontier = read_frontier(told.sweep)
    return {
        "note": CAVEAT,
        "figures": {name: figure.row() for name, figure in found.items()},
        "models": {each.model: model_row(each) for each in results},
        "ceiling": told.ceiling,
        "pairs": dict(told.pair_counts),
        "audits": {name: [asdict(fault) for fault in faults(run)] for name, run in told.audits.items()},
        "sweep": {key: frontier[key] for key in ("rule", "picked", "why", "diagnoses")},
        "prompting": shares_of_gain(told.proofs[SHIPPED].evaluation.path),
        "gates": {name: read_decision(run).record() for name, run in gates.items()},
        "registry": [asdict(step) for step in read_steps(told.registered)],
        "stages": [{"name": stage.name, "seconds": stage.seconds, "reused": stage.reused} for stage in cache.finished],
    }


def _release_page(told: Told, out: Path) -> Path:
    """The release page of the last adapter, beside the report."""
    gate = told.proofs[SHIPPED].gate
    assert gate is not None
    return fairlead.report([gate.path], to=out / "release.html")


def _print(
    console: Console, told: Told, results: Sequence[Results], found: Mapping[str, Figure], *, smoke: bool
) -> None:
    console.print()
    if smoke:
        console.print("[bold red]A smoke run: a few steps on small sets. Its numbers mean nothing.[/bold red]")
    console.print(published_table(found, title=f"Harbor Support: {SFT} against {SHIPPED}"))
    console.print(models_table(results, title="Every model of the story"))
    console.print(audits_table({name: faults(run) for name, run in told.audits.items()}))
    gates = {name: proof.gate.path for name, proof in told.proofs.items() if proof.gate is not None}
    console.print(gates_table({name: read_decision(run) for name, run in gates.items()}))
    console.print(f"Sweep: {read_frontier(told.sweep)['why']}", markup=False)
    for step in read_steps(told.registered):
        console.print(f"Registry: {step.said}", markup=False, style=None if step.promoted else "red")
    console.print(f"Annotators agree with {told.ceiling:.0%} of the held-out labels. {CAVEAT}")


def main() -> int:
    """Run the command; returns the exit code."""
    try:
        app()
    except FairleadError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; finished stages are kept, so the same command goes on from there", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
