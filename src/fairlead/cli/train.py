"""`fairlead train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairlead.cli.output import AsJson, print_json, print_values

if TYPE_CHECKING:
    from fairlead.stages.dry_run import DryRun


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one field of the configuration; may be repeated."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of this configuration.")
    ] = False,
    dry: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show every value with its origin, and count rows, tokens and steps; no weights."
        ),
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

    if dry:
        from fairlead.stages.dry_run import dry_run

        found = dry_run(config, overrides=overrides or (), progress=terminal_progress())
        if as_json:
            print_json(found)
        else:
            _print_dry_run(found)
        return
    from fairlead.stages.train import train as run_stage

    result = run_stage(config, overrides=overrides or (), resume=resume, progress=terminal_progress())
    if as_json:
        print_json(result)
        return
    ended = "stopped early" if result.stopped_early else "done"
    values: dict[str, Any] = {ended: f"{result.steps} steps"}
    if result.stop_reason is not None:
        values["because"] = result.stop_reason
    best = "none" if result.best_step is None else result.best_step
    print_values({**values, "best step": best, **result.metrics, "artifact": result.artifact})
    for sentence in result.diagnosis:
        print(f"note: {sentence}")
    print(f"\nThe run is in {result.run}. See it with: fairlead report {result.run}")


def _print_dry_run(found: DryRun) -> None:
    """Every value with its origin, then what there is to do."""
    width = max(len(setting.field) for setting in found.settings)
    shown = [_value(setting.value) for setting in found.settings]
    value_width = min(40, max(map(len, shown)))
    for setting, value in zip(found.settings, shown, strict=True):
        source = f" ({setting.source})" if setting.source else ""
        print(f"{setting.field:<{width}}  {value:<{value_width}}  {setting.origin}{source}")
    print()
    print_values(
        {
            "rows": f"{found.rows:,} to train on, {found.held_out:,} held out, {found.probes} prompts as probes",
            "tokens": f"{found.tokens:,} in an epoch, {found.trained_tokens:,} of them trained on",
            "held-out tokens": f"{found.held_out_tokens:,} in an evaluation",
            "steps": f"{found.steps:,}, {found.steps_per_epoch:,} in an epoch, {found.warmup_steps:,} of warm-up",
            "evaluations": found.evaluations,
        }
    )
    for sentence in found.advice:
        print(f"note: {sentence}")


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "[]"
    return f"{value:g}" if isinstance(value, float) else str(value)
