"""`fairlead merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, print_json


def merge(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory of a training.", show_default=False)],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New folder for what was merged.", show_default=False)],
    into: Annotated[
        Path | None, typer.Option(metavar="ADAPTER", help="Adapter that the run's was trained over: make one of both.")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="With --into: cut to this rank by SVD.")] = None,
    bound: Annotated[
        float | None, typer.Option(metavar="NATS", help="With --rank: largest difference tolerated (default 0.1).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Merge a run's adapter into its base model, and compare the model before and after.

    Adapters that the run's was trained over are merged with it, in their order. The folder holds weights, tokenizer and
    chat template, as transformers loads them. With --into it holds one adapter instead, in PEFT's layout.

    \b
    Example:
      fairlead merge runs/2026-11-23-dpo-7f3a --to merged
      fairlead merge runs/2026-11-23-dpo-7f3a --into adapters/main --to adapters/new-main
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.merge import merge as run_stage

    result = run_stage(run, to=to, into=into, rank=rank, bound=bound, progress=terminal_progress())
    if as_json:
        print_json(result)
        return
    print(f"Merged into {result.path}.")
    if into is not None and result.lost is not None:
        print(f"Cutting to rank {rank} lost {result.lost.overall:.2%} of the update (Frobenius norm).")
    if result.greedy_equal is None:
        print(
            f"Before and after, rewards of {result.prompts} prompts differ by at most {result.max_logp_difference:.2g}."
        )
        return
    print(
        f"Before and after, on {result.prompts} prompts: {result.greedy_equal} greedy answers are the same, "
        f"log-probs of tokens differ by at most {result.max_logp_difference:.2g} nats."
    )
