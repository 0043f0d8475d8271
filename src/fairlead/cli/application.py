"""The `fairlead` command: its verbs, and how it ends.

Exit codes: 0 done, 1 a gate said no, 2 the user's input is at fault, 3 the environment is, 70 a bug, 130 Ctrl-C,
143 SIGTERM.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import Annotated

import typer

from fairlead import __version__
from fairlead.cli.allocator import start_again_with_a_whole_heap
from fairlead.cli.audit import audit
from fairlead.cli.data import app as data
from fairlead.cli.doctor import doctor
from fairlead.cli.evaluate import evaluate
from fairlead.cli.export import export
from fairlead.cli.gate import gate
from fairlead.cli.generate import generate
from fairlead.cli.import_rows import import_rows
from fairlead.cli.init import init
from fairlead.cli.judge import judge
from fairlead.cli.merge import merge
from fairlead.cli.pairs import pairs
from fairlead.cli.plan import plan
from fairlead.cli.registry import app as registry
from fairlead.cli.report import report
from fairlead.cli.show_tokens import show_tokens
from fairlead.cli.split import split
from fairlead.cli.sweep import sweep
from fairlead.cli.train import train
from fairlead.errors import FairleadError, MachineError
from fairlead.runs.atomic import REMEDIES

INTERRUPTED = 130
BUG = 70

# Plain help: formatted help would import rich, which takes longer than everything else together.
app = typer.Typer(
    name="fairlead",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fairlead {__version__}")
        raise typer.Exit()


@app.callback()
def _fairlead(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn preference judgements into a better language model, and say honestly whether it is one.

    Exit codes: 0 done, 1 a gate said no, 2 your input is at fault, 3 the machine is, 70 a bug, 130 interrupted,
    143 terminated.

    \b
    Example:
      fairlead init my-project
      cd my-project
      fairlead train fairlead.yaml
    """


app.command("init", short_help="Write a starter project.")(init)
app.command("import", short_help="Read rows of any format and account for each.")(import_rows)
app.command("show-tokens", short_help="Show the tokens of a row as training sees them.")(show_tokens)
app.command("audit", short_help="Say what is wrong with preference data.")(audit)
app.command("split", short_help="Hold rows out, and prove that nothing leaks.")(split)
app.command("pairs", short_help="Make preference pairs of compared completions.")(pairs)
app.add_typer(data, name="data", short_help="Make, show, verify and compare versions of a data set.")
app.command("plan", short_help="Say what a training run takes and can show, before it.")(plan)
app.command("train", short_help="Train a model or an adapter.")(train)
app.command("sweep", short_help="Train a grid, measure every point, pick one.")(sweep)
app.command("generate", short_help="Complete prompts with a model.")(generate)
app.command("eval", short_help="Measure models by a suite, and compare them.")(evaluate)
app.command("gate", short_help="Say whether what a run made may ship.")(gate)
app.add_typer(
    registry, name="registry", short_help="Tie what shipped to what made it: add, promote, roll back, verify."
)
app.command("judge", short_help="Have judges compare two models' answers.")(judge)
app.command("merge", short_help="Merge a trained adapter into its base model.")(merge)
app.command("export", short_help="Write rows as another trainer reads them.")(export)
app.command("report", short_help="Write one HTML file about runs.")(report)
app.command("doctor", short_help="Say what this machine can do.")(doctor)


def main() -> int:
    """Run the command line in `sys.argv`; returns the exit code, or leaves by SystemExit with one."""
    start_again_with_a_whole_heap()
    try:
        app()
    except FairleadError as error:
        return _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED)
    except SystemExit as ending:
        # Typer turns Ctrl-C into this code, without a word.
        if ending.code == INTERRUPTED:
            return _end("interrupted", INTERRUPTED)
        raise
    except OSError as error:
        if error.errno in REMEDIES:
            where = f"{error.filename}: " if error.filename else ""
            return _end(f"{where}{error.strerror}. {REMEDIES[error.errno]}", MachineError.exit_code)
        return _end_with_bug()
    except Exception:
        return _end_with_bug()
    return 0


def _end(message: str, code: int) -> int:
    print(f"fairlead: {message}", file=sys.stderr)
    return code


def _end_with_bug() -> int:
    """Say that this is a bug; the traceback goes to a file, for whoever mends it."""
    kind = sys.exc_info()[0]
    details = traceback.format_exc()
    try:
        descriptor, path = tempfile.mkstemp(prefix="fairlead-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"fairlead {__version__}\n{' '.join(sys.argv)}\n\n{details}")
        where = f"The details are in {path}: please send that file with your report."
    except OSError:
        where = f"The details:\n{details}"
    name = kind.__name__ if kind is not None else "an error"
    return _end(f"this is a bug in Fairlead, not a mistake of yours ({name}). {where}", BUG)
