"""`fairlead split`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fairlead.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from fairlead.stages.split import SplitReport

SEGMENTS_SHOWN = 12


def split(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Rows of any format.", show_default=False)],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the two sides.", show_default=False)],
    fraction: Annotated[float, typer.Option(min=0, max=1, help="Share to hold out.")] = 0.1,
    by: Annotated[
        Literal["prompt", "segment"], typer.Option(help="Hold out prompts, or whole segments (meta.segment).")
    ] = "prompt",
    held_out_segment: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Hold out this segment as a whole; may be given again.")
    ] = None,
    stratify: Annotated[bool, typer.Option("--stratify", help="Hold out the share within each segment.")] = False,
    near_duplicates: Annotated[
        bool,
        typer.Option("--near-duplicates/--exact-only", help="Keep nearly the same prompts on one side, or only equal."),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another split.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the rows if a single one is quarantined.")] = False,
    max_quarantined: Annotated[float, typer.Option(min=0, max=1, help="Greatest share of quarantined rows.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Split rows into train.jsonl and held_out.jsonl, and prove that nothing leaks.

    The side of a prompt is decided by a hash of it, so that it stays when rows are added. manifest.json says what was
    split, how, the digests of both sides, and the proof. A folder that holds an earlier split is written anew, and how
    many of its prompts changed sides is said.

    \b
    Example:
      fairlead split pairs.jsonl --to split --fraction 0.1
      fairlead split pairs.jsonl --to split --by segment --held-out-segment billing
    """
    from fairlead.progress import terminal_progress
    from fairlead.stages.split import split_files

    report = split_files(
        files,
        to=to,
        fraction=fraction,
        by=by,
        held_out_segments=held_out_segment or (),
        stratify=stratify,
        near_duplicates=near_duplicates,
        seed=seed,
        strict=strict,
        max_quarantined=max_quarantined,
        progress=terminal_progress(),
    )
    if as_json:
        print_json(report)
    else:
        _print(report)


def _print(report: SplitReport) -> None:
    ledger, held, train = report.ledger, report.held_out, report.train
    quarantined = f", {ledger['quarantined']} quarantined" if ledger["quarantined"] else ""
    print(f"{ledger['rows_in']} rows in{quarantined}; {report.prompts} prompts in {report.clusters} clusters, ", end="")
    print(f"the largest of {report.largest_cluster}.")
    for side, name in ((train, "to train on"), (held, "held out")):
        share = side.rows / (train.rows + held.rows)
        print(f"{side.rows} rows ({share:.1%}) with {side.prompts} prompts {name}: {report.to / side.file}")
    for segment, counts in [*report.segments.items()][:SEGMENTS_SHOWN]:
        print(f"  {segment}: {counts['train']} train, {counts['held_out']} held out")
    if len(report.segments) > SEGMENTS_SHOWN:
        print(f"  and {len(report.segments) - SEGMENTS_SHOWN} segments more: {report.to / 'manifest.json'}")
    proof = report.proof
    print(f"Proof, {proof.method}:")
    print(f"  held-out prompts that stand in training: {proof.exact_prompts} the same, ", end="")
    print(f"{proof.near_prompts} nearly (Jaccard ≥ {proof.similarity:g})")
    print(f"  prompts with an answer: {proof.exact_answers} the same, {proof.near_answers} nearly")
    if proof.near_prompts:
        print("  Without --exact-only, nearly the same prompts are kept on one side.")
    if proof.near_answers:
        print("  Nearly the same answers under other prompts are boilerplate, or one question in other words.")
    if report.moved is not None:
        moved = report.moved
        print(f"Of {moved.prompts} prompts of the split that was here, ", end="")
        print(f"{moved.to_train} moved to training, {moved.to_held_out} to the held-out side.")
