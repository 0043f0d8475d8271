"""`fairlead generate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.data.records import Candidates, Turns


def generate(
    prompts: Annotated[
        Path,
        typer.Argument(metavar="PROMPTS", help='Rows of any kind, or lines {"prompt": …}.', show_default=False),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Transformers folder, hub id or .gguf file; with --endpoint, the name that the server knows.",
            show_default=False,
        ),
    ],
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write rows of candidates here (JSONL).")] = None,
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="PEFT adapter to put on the model.")] = None,
    n: Annotated[int, typer.Option("-n", metavar="N", min=1, help="Completions per prompt.")] = 1,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Sample among the likeliest tokens of this mass.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest completion, in tokens.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Completions sampled at a time.")] = 32,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Number format.")] = "auto",
    without_system: Annotated[
        bool, typer.Option("--without-system", help="Leave the system turns out of what the model is asked.")
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Server that answers, such as http://localhost:8000/v1, or a YAML file."),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Environment variable that holds the server's key.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Complete prompts with a model.

    With --to, writes one row of candidates per prompt; without, prints the completions.

    \b
    Example:
      fairlead generate prompts.jsonl --model my-model -n 4 --temperature 0.8 --to candidates.jsonl
      fairlead generate prompts.jsonl --model tuned --endpoint http://localhost:8000/v1 --to candidates.jsonl
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.generate import generate as run_stage

    rows = run_stage(
        model,
        prompts,
        to=to,
        adapter=None if adapter is None else str(adapter),
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        batch_size=batch_size,
        precision=precision,
        without_system=without_system,
        endpoint=endpoint,
        api_key_env=api_key_env,
        progress=terminal_progress(),
    )
    count = sum(len(row.candidates) for row in rows)
    if as_json:
        print_json({"prompts": len(rows), "completions": count, **({"rows": rows} if to is None else {"to": to})})
    elif to is None:
        _print_rows(rows)
    else:
        print(f"{count} completions of {len(rows)} prompts are in {to}.")


def _print_rows(rows: list[Candidates]) -> None:
    for row in rows:
        print(f"[{row.id}] {_last_text(row.prompt)}")
        for candidate in row.candidates:
            print(f"  → {_last_text(candidate.messages)}")


def _last_text(turns: Turns) -> str:
    return turns[-1].content if turns else ""
