"""`fairlead judge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.evaluation.judging.ranking import Ranking
    from fairlead.evaluation.results import Measurement
    from fairlead.stages.judge import Judging

VOID = 1


def judge(
    answers: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANSWERS...",
            help="Answers of the models (fairlead generate), the candidate's first; or one file of judgements.",
            show_default=False,
        ),
    ],
    panel: Annotated[
        Path, typer.Option("--judge", metavar="YAML", help="Who judges, and how (docs/judges.md).", show_default=False)
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Another model's answers to the same prompts; may be given several times."),
    ] = None,
    rubric: Annotated[Path | None, typer.Option(metavar="YAML", help="Criteria to judge by.")] = None,
    human: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judgements by people, to audit the judges by.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="RUN", help="New run directory; by default runs/DATE-judge-XXXX.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Have judges say which of two or more models answers best, and say what the judges are worth.

    Every pair of answers is shown in both orders, without saying whose they are; a judge that changes its mind with the
    order counts as a tie. Planted answers must lose, else the run is void: exit code 1. What a model answered is kept,
    so that the same command goes on after a stop and nothing is paid twice. More than two models are ranked.

    \b
    Example:
      fairlead judge tuned.jsonl --against base.jsonl --judge judge.yaml --rubric rubric.yaml
      fairlead judge tuned.jsonl base.jsonl prompted.jsonl --judge judge.yaml
      fairlead judge judgements.jsonl --judge judge.yaml --out runs/judge-1
    """
    from fairlead.progress import terminal_progress
    from fairlead.runs.directory import run_name
    from fairlead.stages.judge import judge as run_stage

    result = run_stage(
        *answers,
        *(against or []),
        judge=panel,
        out=Path("runs") / run_name("judge") if out is None else out,
        rubric=rubric,
        human=human,
        progress=terminal_progress(),
    )
    if as_json:
        print_json({**vars(result), "verdicts": len(result.verdicts)})
    else:
        _print(result)
    if result.void:
        raise typer.Exit(VOID)


def _print(result: Judging) -> None:
    left = sum(result.left_out.values())
    aside = f" ({left} without a counterpart left out)" if left else ""
    kept = f", {result.cached} of them kept from earlier" if result.cached else ""
    paid = f"; {result.calls} calls to servers cost {result.cost:.4g}" if result.calls else ""
    print(f"{result.comparisons} comparisons{aside}; {result.showings} answers of judges{kept}{paid}.")
    if result.ranking is not None:
        _print_ranking(result.ranking)
    # A table has what is said of each model already.
    shown = [(_name(measure), measure) for measure in result.measures if "model" not in measure.slice]
    width = max(len(name) for name, _ in shown)
    for name, measure in shown:
        print(f"  {name:<{width}}  {_value(measure.value, measure):>6}  {_range(measure):<16}  n = {measure.n}")
    for sentence in result.void:
        print(f"VOID: {sentence}")
    own = f"; of judges' own answers, for people too: {result.own_for_people}" if result.own_for_people else ""
    print(f"Preferences, marked as a machine's: {result.preferences}; set aside for people: {result.for_people}{own}.")
    print(f"The run is in {result.run}; its page is {result.run / 'report.html'}.")


def _print_ranking(ranking: Ranking) -> None:
    """A line for each model, the strongest first: its strength and its win rate against all others."""
    if ranking.why:
        print(ranking.why)
    width = max(len(name) for name in ranking.models)
    print(f"     {'model':<{width}}  {'strength':<25}  win rate")
    for place, name in enumerate(ranking.models, start=1):
        strength, rate = ranking.strengths[name], ranking.win_rates[name]
        given = f"{_value(strength.value, strength):>6}  {_range(strength):<17}"
        print(f"  {place:>2} {name:<{width}}  {given}  {_value(rate.value, rate):>6}  {_range(rate)}")


def _name(measure: Measurement) -> str:
    part = ", ".join(f"{key} {value}" for key, value in measure.slice.items())
    return measure.name + (f" [{part}]" if part else "")


def _value(value: float | None, measure: Measurement) -> str:
    if value is None:
        return "–"
    # Adding 0 makes a plain zero of the −0 that rounding may leave.
    return f"{round(100 * value, 1) + 0:.1f}%" if measure.unit == "share" else f"{round(value, 2) + 0:.2f}"


def _range(measure: Measurement) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"[{_value(measure.low, measure)}, {_value(measure.high, measure)}]"
