"""`fairlead plan`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json, print_values

if TYPE_CHECKING:
    from fairlead.stages.evidence import Evidence, Sides
    from fairlead.stages.pace import Duration
    from fairlead.stages.plan import Disk, Memory, Plan
    from fairlead.stages.workload import Workload


def plan(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration file (YAML).", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Set one field of the configuration; may be repeated."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for this GPU, for instance h100, l4 or rtx-4090.")
    ] = None,
    memory: Annotated[
        float | None, typer.Option(metavar="GIB", help="Plan for so much memory in place of this machine's.")
    ] = None,
    detect: Annotated[
        float, typer.Option(metavar="SHARE", help="Difference in accuracy that held-out pairs should show.")
    ] = 0.05,
    answers: Annotated[
        int, typer.Option(metavar="N", help="Factual questions answered before and after, to notice a loss.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Say what a training run takes and what it can show, before any weights are loaded.

    Memory by part, tokens and steps, time from a short calibration, disk, and the statistics of the held-out pairs.
    Rows are read and rendered as training does it; relative paths are seen from the folder of the configuration.

    \b
    Example:
      fairlead plan fairlead.yaml --gpu l4 --set train.micro_batch_tokens=8192
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.plan import plan as run_stage

    found = run_stage(
        config,
        overrides=overrides or (),
        gpu=gpu,
        memory=memory,
        detect=detect,
        answers=answers,
        progress=terminal_progress(),
    )
    if as_json:
        print_json(found)
        return
    _print_plan(found)


def _print_plan(plan: Plan) -> None:
    print_values(
        {
            "planned for": plan.machine,
            "weights": f"{plan.parameters:,}",
            "trained": f"{plan.trained:,} weights",
            "products": f"{plan.precision}, {plan.layout}",
        }
    )
    _print_work(plan.work)
    _print_memory(plan.memory)
    _print_time(plan.time)
    _print_disk(plan.disk)
    _print_evidence(plan.evidence)


def _print_work(work: Workload) -> None:
    print("\nWork")
    about = "" if work.is_counted else "about "
    print_values(
        {
            "rows": f"{work.groups:,} to train on, {work.held_out:,} held out",
            "steps": f"{work.steps:,} ({work.steps_per_epoch:,} an epoch), {work.evaluations:,} evaluations",
            "micro-batches": f"{about}{work.micro_batches:,} an epoch, the largest {work.largest_micro_batch:,} tokens",
            "tokens": f"{about}{work.tokens:,} an epoch, {work.trained_tokens:,} of them trained",
            "shared prompts": f"save {work.saved:.0%} of {work.tokens_unshared:,} tokens",
        }
    )


def _print_memory(memory: Memory) -> None:
    worst = max(memory.phases, key=lambda phase: phase.total)
    print(
        f"\nMemory at its worst, in the {worst.name}" + (", by the shapes of layers alone" if memory.is_rough else "")
    )
    parts = {"process": memory.process} if memory.process else {}
    print_values(
        {name: _size(size) for name, size in {**parts, **worst.parts}.items()} | {"total": _size(memory.total)}
    )
    others = ", ".join(
        f"{phase.name} {_size(memory.process + phase.total).strip()}" for phase in memory.phases if phase is not worst
    )
    print(f"Other phases: {others}.")
    if memory.fits:
        print(f"It fits: there are {_size(memory.capacity).strip()}.", end=" ")
    else:
        print(f"It does not fit: there are {_size(memory.capacity).strip()}.", end=" ")
    most = memory.largest_micro_batch_tokens
    if most is None:
        print("Not even the longest row does as a micro-batch of its own.")
    else:
        print(f"The most that fits is train.micro_batch_tokens={most}.")
    for change in memory.changes:
        verdict = "fits" if change.fits else "does not fit either"
        options = " ".join(f"--set {setting}" for setting in change.settings.split())
        print(f"  {options}: {_size(change.total).strip()}, {verdict}")


def _print_time(time: Duration | None) -> None:
    print("\nTime")
    if time is None:
        print("The model is too large for a calibration here; --gpu NAME estimates by a data sheet.")
        return
    print_values(
        {
            "training": _span(time.train),
            "reference": _span(time.reference) if time.reference else "none",
            "evaluation": _span(time.evaluation) if time.evaluation else "none",
            "total": _span(time.total),
        }
    )
    how = (
        "timed on layers of this shape, on this machine as it is now"
        if time.is_measured
        else ("an estimate: 40 % of the peak in the data sheet")
    )
    print(f"({how}; loading, answers to sample prompts and writing come on top)")


def _print_disk(disk: Disk) -> None:
    print("\nDisk")
    free = {} if disk.free is None else {"free": _size(disk.free)}
    print_values(
        {
            "checkpoints": _size(disk.checkpoints),
            "reference cache": _size(disk.cache),
            "artifact": _size(disk.artifact),
            **free,
        }
    )


def _print_evidence(evidence: Evidence) -> None:
    print(f"\nWhat can be shown (power {evidence.power:g}, level {evidence.level:g}; one-sided / two-sided)")
    points = f"{evidence.detect:.1%}"
    print_values(
        {
            f"pairs needed for {points}": f"{_both(evidence.needed_paired, '{:,}')} ranked by both models, "
            f"if they disagree on {evidence.disagreement:.0%}",
            "or": f"{_both(evidence.needed_unpaired, '{:,}')} for each model, if each ranks pairs of its own",
            f"{evidence.pairs:,} held-out pairs show": f"{_both(evidence.shown_paired, '{:.1%}')} ranked by both; "
            f"{_both(evidence.shown_unpaired, '{:.1%}')} each of its own",
            f"{evidence.answers:,} answers show": f"a loss of {_share(evidence.answers_lost, '{:.1%}')} (one-sided)",
        }
    )


def _both(sides: Sides, form: str) -> str:
    return f"{_share(sides.one, form)} / {_share(sides.two, form)}"


def _share(value: float, form: str) -> str:
    return "nothing" if math.isnan(value) else form.format(value)


def _size(size: int) -> str:
    """Bytes as people count them, in units of 1000."""
    unit, name = next((each for each in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= each[0]), (1, "B"))
    return f"{size / unit:7.2f} {name}" if unit > 1 else f"{size:7d} {name}"


def _span(seconds: float) -> str:
    """A length of time in its two largest units."""
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
