"""`fairlead gate`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.evaluation.gate import Outcome

FAILED = 1
WIDTH = 100


def _write_starter(to: Path | None) -> None:
    if to is None:
        return
    from fairlead.stages.gate import write_starter

    print(write_starter(to))
    raise typer.Exit()


def gate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Training run, or folder of a model or adapter.", show_default=False)
    ],
    policy: Annotated[Path, typer.Option(metavar="FILE", help="The rules: a gate.yaml.", show_default=False)],
    eval: Annotated[
        Path | None, typer.Option("--eval", metavar="EVAL_RUN", help="Evaluation of what RUN made.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(metavar="EVAL_RUN", help="Evaluation of what it is compared with.")
    ] = None,
    judge: Annotated[Path | None, typer.Option(metavar="JUDGE_RUN", help="Judge's run about what RUN made.")] = None,
    audit: Annotated[
        Path | None, typer.Option(metavar="AUDIT_RUN", help="Audit of the rows that RUN was trained on.")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(metavar="SWEEP_RUN", help="Sweep that RUN was picked from, for the page.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New run directory; by default runs/DATE-gate-XXXX.")
    ] = None,
    starter: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=_write_starter, is_eager=True, help="Write a starter policy and exit."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether what a run made may ship: each rule of a policy with its evidence and reason.

    Evidence that is missing, changed, or of another model fails its rules. The decision is bound by sha256 to the
    model, the policy and every file of evidence; report.html of the run is the page of the release. Exit code 0 where
    every rule passed, 1 where one failed.

    \b
    Example:
      fairlead gate runs/first --policy gate.yaml --eval runs/eval-first --baseline runs/eval-base
      fairlead gate --starter gate.yaml
    """
    from fairlead.runs.directory import REPORT, run_name
    from fairlead.stages.gate import gate as run_stage

    place = Path("runs") / run_name("gate") if out is None else out
    result = run_stage(
        run, policy=policy, eval=eval, baseline=baseline, judge=judge, audit=audit, sweep=sweep, out=place
    )
    if as_json:
        rules = result.decision.outcomes
        print_json({"passed": result.passed, "artifact": result.artifact, "run": result.run, "rules": rules})
    else:
        for outcome in result.decision.outcomes:
            _print(outcome)
        failed = sum(not outcome.passed for outcome in result.decision.outcomes)
        verdict = "PASSED" if result.passed else "FAILED"
        print(f"\n{verdict}: {len(result.decision.outcomes) - failed} rules passed, {failed} failed. {result.run}")
        print(f"The page of the release is {result.run / REPORT}.")
    if not result.passed:
        raise typer.Exit(FAILED)


def _print(outcome: Outcome) -> None:
    """The rule, its figures, and why it passed or failed."""
    print(f"{'pass' if outcome.passed else 'FAIL'}  {outcome.rule}")
    figures = []
    if outcome.value is not None:
        known = outcome.low is not None and outcome.high is not None
        interval = f" ({outcome.low:.3g} to {outcome.high:.3g})" if known else ""
        figures.append(f"{outcome.value:.3g}{interval}")
    figures += [
        f"{name} {value:.3g}" for name, value in (("baseline", outcome.baseline), ("p", outcome.p)) if value is not None
    ]
    if outcome.n is not None:
        figures.append(f"n = {outcome.n:,}")
    if outcome.sufficient is not None:
        shows = "" if outcome.shows is None else f": shows a difference of {outcome.shows:.2g}"
        figures.append(f"n {'suffices' if outcome.sufficient else 'does not suffice'}{shows}")
    for line in (", ".join(figures), f"→ {outcome.reason}"):
        if line:
            print(textwrap.fill(line, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
