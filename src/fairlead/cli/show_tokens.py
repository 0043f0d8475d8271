"""`fairlead show-tokens`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.stages.show_tokens import RenderedRow


def show_tokens(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="File of rows.", show_default=False)],
    model: Annotated[
        str, typer.Option(metavar="PATH", help="Transformers folder, hub id or .gguf file.", show_default=False)
    ],
    row: Annotated[int, typer.Option(min=0, help="Which row, counted from 0.")] = 0,
    chat_template: Annotated[
        str | None, typer.Option(metavar="FILE", help="Jinja template instead of the tokenizer's, or the word plain.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the tokens of a row as training sees them: each with its id, trained tokens in colour.

    \b
    Example:
      fairlead show-tokens data/pairs.jsonl --model my-model --row 3
    """
    from fairlead.stages.show_tokens import show_tokens as run_stage

    rendered = run_stage(data, model=model, row=row, chat_template=chat_template)
    if as_json:
        print_json({"row": row, "rendered": rendered})
        return
    for item in rendered:
        _print_tokens(item)


def _print_tokens(rendered: RenderedRow) -> None:
    """One line per token: id, whether it is trained, text with its spaces and line ends visible."""
    in_colour = sys.stdout.isatty()
    trained = sum(token.trained for token in rendered.tokens)
    typer.secho(f"{rendered.name}: {len(rendered.tokens)} tokens, {trained} of them trained", bold=in_colour or None)
    for token in rendered.tokens:
        line = f"{token.id:>7}  {'trained' if token.trained else '·':<7}  {token.text!r}"
        typer.secho(line, fg=typer.colors.GREEN if token.trained else None, dim=None if token.trained else True)
    print()
