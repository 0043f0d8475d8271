"""`fairlead merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, print_json


def merge(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of a training.", show_default=False)],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the merged model.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Merge a run's adapter into its base model, and compare the model before and after.

    The folder holds weights, tokenizer and chat template, as transformers loads them.

    \b
    Example:
      fairlead merge runs/2026-11-23-dpo-7f3a --to merged
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.merge import merge as run_stage

    result = run_stage(run, to=to, progress=terminal_progress())
    if as_json:
        print_json(result)
        return
    print(f"Merged into {result.path}.")
    print(
        f"Before and after, on {result.prompts} prompts: {result.greedy_equal} greedy answers are the same, "
        f"log-probs of tokens differ by at most {result.max_logp_difference:.2g} nats."
    )
