"""`fairlead init`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, print_json


def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder of the new project.", show_default=False)
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the configuration's JSON Schema, for editors; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a starter project: a configuration, a few preference pairs, a README.

    Files that exist are never overwritten.

    \b
    Example:
      fairlead init my-project
    """
    if schema:
        from fairlead.config import json_schema

        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return
    if folder is None:
        raise typer.BadParameter("name the folder of the new project, or ask for --schema", param_hint="DIR")
    from fairlead.stages.init import init as run_stage

    written = run_stage(folder)
    if as_json:
        print_json({"written": written})
        return
    for path in written:
        print(path)
    print(f"\nNext: cd {folder} && fairlead train fairlead.yaml")
