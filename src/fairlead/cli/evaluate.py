"""`fairlead eval`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.evaluation.comparison import AgainstBaseline
    from fairlead.evaluation.results import Evaluated, Measurement
    from fairlead.stages.evaluate import Evaluation


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Run directory, transformers or PEFT folder, hub id or .gguf file; with --endpoint, names that the "
            "server knows; with --compare, finished evaluations.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        Path | None, typer.Option(metavar="YAML", help="What is measured (docs/evaluation.md).", show_default=False)
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The one that the others are compared with.")
    ] = None,
    adapter: Annotated[Path | None, typer.Option(metavar="DIR", help="PEFT adapter to put on the one MODEL.")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Server that answers, such as http://localhost:8000/v1, or a YAML file."),
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VAR", help="Environment variable that holds the server's key.")
    ] = None,
    garak: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Report of garak about the one MODEL, taken in as measures.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Run directory, new or broken off; by default runs/DATE-eval-XXXX."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare finished evaluations; no model is loaded.")
    ] = False,
    allow_leakage: Annotated[
        bool, typer.Option("--allow-leakage", help="Measure on rows that a model was trained on, too.")
    ] = False,
    precision: Annotated[Literal["auto", "bf16", "fp32"], typer.Option(help="Number format.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Answers sampled at a time.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    starter: Annotated[
        Path | None, typer.Option(metavar="YAML", help="Write a suite to start from, and measure nothing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure models by a suite, each figure with its interval; compare several on the same items.

    Held-out preferences, answers to prompts, factual questions, probes and the distance from a reference. The run
    directory holds the figures, the items, the answers and a page. The same command with the same --out goes on where
    it was broken off. Rows that a model was trained on are refused.

    \b
    Example:
      fairlead eval runs/dpo --suite suite.yaml --baseline models/sft --out runs/eval
      fairlead eval tuned --endpoint http://localhost:8000/v1 --suite suite.yaml
      fairlead eval --compare runs/eval-a runs/eval-b
      fairlead eval --starter suite.yaml
    """
    from fairlead.progress import terminal_progress
    from fairlead.runs.directory import run_name

    if starter is not None:
        _write_starter(starter, as_json)
        return
    if compare:
        given = {"--suite": suite, "--adapter": adapter, "--endpoint": endpoint, "--garak": garak}
        _compare(models or [], baseline, out, seed, [name for name, value in given.items() if value], as_json)
        return
    if not models or (suite is None and garak is None):
        _refuse_without("MODEL" if not models else "--suite")
    from fairlead.stages.evaluate import evaluate as run_stage

    found = run_stage(
        models or [],
        suite,
        out=Path("runs") / run_name("eval") if out is None else out,
        baseline=baseline,
        adapter=None if adapter is None else str(adapter),
        endpoint=endpoint,
        api_key_env=api_key_env,
        garak=garak,
        allow_leakage=allow_leakage,
        precision=precision,
        batch_size=batch_size,
        seed=seed,
        progress=terminal_progress(),
    )
    if as_json:
        print_json(_as_json(found))
        return
    for model in found.models:
        _print_model(model)
    _print_comparisons(found.comparisons, found.notes)
    print(f"\nThe run is in {found.run}; its page is {found.run / 'report.html'}.")


def _write_starter(path: Path, as_json: bool) -> None:
    from fairlead.stages.evaluation_starter import write_suite

    written = write_suite(path)
    if as_json:
        print_json({"suite": written})
    else:
        print(f"A suite to start from is in {written}.")


def _refuse_without(missing: str) -> None:
    from fairlead.errors import ConfigError, Fault

    remedy = "For instance: fairlead eval runs/dpo --suite suite.yaml. `fairlead eval --starter` writes a suite."
    raise ConfigError([Fault(field=missing, problem="is missing.", remedy=remedy)], source="eval")


def _compare(
    runs: Sequence[str], baseline: str | None, out: Path | None, seed: int, foreign: Sequence[str], as_json: bool
) -> None:
    """Compare finished evaluations and say what was found. Raises ConfigError for options that have no place here."""
    from fairlead.errors import ConfigError, Fault
    from fairlead.runs.directory import run_name
    from fairlead.stages.compare import compare as run_stage

    if foreign:
        problem, remedy = "has no place beside --compare, which measures nothing.", "Leave it out."
        raise ConfigError([Fault(field=name, problem=problem, remedy=remedy) for name in foreign], source="eval")
    target = Path("runs") / run_name("compare") if out is None else out
    found = run_stage(runs, out=target, baseline=baseline, seed=seed)
    if as_json:
        print_json(
            {
                "run": found.run,
                "baseline": found.baseline,
                "comparisons": found.comparisons,
                "notes": found.notes,
            }
        )
        return
    _print_comparisons(found.comparisons, found.notes)
    print(f"\nThe comparison is in {found.run}; its page is {found.run / 'report.html'}.")


def _as_json(found: Evaluation) -> dict[str, Any]:
    return {
        "run": found.run,
        "models": found.models,
        "comparisons": found.comparisons,
        "leaks": found.leaks,
        "notes": found.notes,
    }


def _print_model(model: Evaluated) -> None:
    from fairlead.evaluation.wording import interval_text, value_text

    print(f"\n{model.name}")
    width = max((len(_label(each)) for each in model.measures), default=0)
    for each in model.measures:
        unit = "" if each.unit == "share" else each.unit
        value = value_text(each.value, each.unit)
        print(f"  {_label(each):<{width}}  {value:>8} {unit:<6}  {interval_text(each):<16}  n = {each.n:,}")


def _label(measure: Measurement) -> str:
    part = ", ".join(f"{name}: {value}" for name, value in measure.slice.items())
    return f"  {measure.name} [{part}]" if part else measure.name


def _print_comparisons(comparisons: Sequence[AgainstBaseline], notes: Sequence[str]) -> None:
    for against in comparisons:
        _print_comparison(against)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _print_comparison(against: AgainstBaseline) -> None:
    from fairlead.evaluation.wording import difference_text, p_text, value_text

    print(f"\n{against.model} against {against.baseline}, on the same items")
    width = max((len(each.name) for each in against.compared), default=0)
    for each in against.compared:
        shown = "" if each.detectable is None else f"  could have shown {value_text(each.detectable, each.unit)}"
        p = f"p {p_text(each)}"
        print(f"  {each.name:<{width}}  {difference_text(each):<32}  {p:<9}  n = {each.n:,}  {each.verdict}{shown}")
