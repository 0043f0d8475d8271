"""`fairlead train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, print_json, print_values


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one field of the configuration; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of this configuration.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model or an adapter by the configuration, into a new run directory.

    Relative paths, also those in --set, are seen from the folder of the configuration.

    \b
    Example:
      fairlead train fairlead.yaml --set loss.beta=0.3 --set train.epochs=2
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.train import train as run_stage

    result = run_stage(config, overrides=overrides or (), resume=resume, progress=terminal_progress())
    if as_json:
        print_json(result)
        return
    ended = "stopped early" if result.stopped_early else "done"
    best = "none" if result.best_step is None else result.best_step
    print_values({ended: f"{result.steps} steps", "best step": best, **result.metrics, "artifact": result.artifact})
    print(f"\nThe run is in {result.run}. See it with: fairlead report {result.run}")
