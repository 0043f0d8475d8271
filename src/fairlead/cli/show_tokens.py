"""`fairlead show-tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.stages.show_tokens import RenderedRow, Token


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
    for note in dict.fromkeys(note for item in rendered for note in item.notes):
        typer.secho(f"note: {note}", fg=typer.colors.YELLOW)
    shown: tuple[Token, ...] = ()
    for item in rendered:
        _print_tokens(item, shown)
        shown = item.tokens


def _print_tokens(rendered: RenderedRow, above: tuple[Token, ...]) -> None:
    """One line per token: place, id, a mark if it is trained, text in quotes. A prompt shown above is not repeated."""
    trained = sum(token.trained for token in rendered.tokens)
    typer.secho(f"{rendered.name}: {len(rendered.tokens)} tokens, {trained} of them trained (●)", bold=True)
    repeated = _shared_prompt(rendered.tokens, above)
    if repeated:
        typer.secho(f"{f'0 … {repeated - 1}':>14}    the prompt, as above", dim=True)
    for place, token in list(enumerate(rendered.tokens))[repeated:]:
        line = f"{place:>5}  {token.id:>7}  {'●' if token.trained else '·'}  {token.text!r}"
        typer.secho(line, fg=typer.colors.GREEN if token.trained else None, dim=None if token.trained else True)


def _shared_prompt(tokens: tuple[Token, ...], above: tuple[Token, ...]) -> int:
    """How many untrained tokens two completions begin with, if they follow one prompt."""
    count = 0
    while count < min(len(tokens), len(above)) and tokens[count] == above[count] and not tokens[count].trained:
        count += 1
    return count
