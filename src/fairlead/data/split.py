"""Held-out rows: by a hash of the prompt, or by segments, and never sharing a prompt with the rest."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import floor
from typing import Generic, Literal, TypeVar

from fairlead.data.near_duplicates import cluster
from fairlead.data.records import Common, Demonstration, Row, Turns
from fairlead.data.texts import text_of
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.identity import canonical_json
from fairlead.progress import SILENT, Progress

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Split(Generic[R]):
    """The two sides, each in the order of the input.

    prompts: how many different ones there are. clusters: how many groups of prompts were kept together, as many as
    prompts unless near-duplicates were asked for; largest_cluster: prompts of the largest.
    """

    train: tuple[R, ...]
    held_out: tuple[R, ...]
    prompts: int
    clusters: int
    largest_cluster: int


def split(
    rows: Sequence[R],
    *,
    fraction: float,
    seed: int = 0,
    by: Literal["prompt", "segment"] = "prompt",
    held_out_segments: Sequence[str] = (),
    stratify: bool = False,
    near_duplicates: bool = False,
    progress: Progress = SILENT,
) -> Split[R]:
    """Holds out about `fraction` of the prompts (or of the segments), and every row of `held_out_segments`.

    by="prompt": a row's side depends on its normalised prompt and `seed` alone, so it stays when rows are added.
    stratify: of each segment the same fraction, rounded, those that come first by that hash; each prompt that is added
    to a segment moves at most one other.
    by="segment": whole segments (`meta.segment`) go to one side, by the segment's name and `seed`. Where a prompt
    stands in a held-out segment and in another, all its rows are held out: equal prompts never straddle.
    near_duplicates: prompts that are near-duplicates (`fairlead.data.near_duplicates`), directly or through others,
    stay together as if they were one: the one whose hash is smallest. So a prompt moves only if one that is added comes
    before all of its cluster, or joins two clusters, and then not always.
    fraction: 0 ≤ fraction < 1; the share reached is near it, not exact. Raises `ConfigError` for arguments out of
    range, `DataError` where a row has no segment or a named segment has no row.
    """
    _check_arguments(fraction, by, stratify)
    segments = [segment_of(row) for row in rows]
    named = set(held_out_segments)
    _check_segments(rows, segments, named, all_needed=by == "segment" or stratify)
    prompts = [prompt_key(row) for row in rows]
    leaders = _leaders(rows, prompts, seed, progress) if near_duplicates else dict(zip(prompts, prompts, strict=True))
    units = [leaders[prompt] for prompt in prompts]
    if by == "segment":
        drawn = {segment for segment in set(segments) if segment is not None and _draw(segment, by, seed) < fraction}
        held = {unit for unit, segment in zip(units, segments, strict=True) if segment in drawn}
    elif stratify:
        held = _stratified(units, prompts, segments, fraction, seed)
    else:
        held = {unit for unit in set(units) if _draw(unit, by, seed) < fraction}
    held |= {unit for unit, segment in zip(units, segments, strict=True) if segment in named}
    train = tuple(row for row, unit in zip(rows, units, strict=True) if unit not in held)
    held_out = tuple(row for row, unit in zip(rows, units, strict=True) if unit in held)
    assert count_shared_prompts(train, held_out) == 0
    sizes = Counter(leaders.values())
    return Split(
        train=train,
        held_out=held_out,
        prompts=len(leaders),
        clusters=len(sizes),
        largest_cluster=max(sizes.values(), default=0),
    )


def _check_arguments(fraction: float, by: str, stratify: bool) -> None:
    faults = []
    if not 0 <= fraction < 1:
        faults.append(Fault(field="fraction", problem=f"{fraction} is not in [0, 1)."))
    if by not in ("prompt", "segment"):
        faults.append(Fault(field="by", problem=f"{by!r} is not known.", remedy="prompt or segment"))
    if by == "segment" and stratify:
        problem = "whole segments are held out, or the same fraction of each: not both."
        faults.append(Fault(field="stratify", problem=problem, remedy='Leave it out, or say by="prompt".'))
    if faults:
        raise ConfigError(faults, source="split")


def _leaders(rows: Sequence[Row], prompts: Sequence[str], seed: int, progress: Progress) -> dict[str, str]:
    """For each prompt key the smallest key of its cluster of near-duplicates."""
    texts = {key: prompt_text(row) for key, row in zip(prompts, rows, strict=True)}
    keys = sorted(texts)
    first = cluster([texts[key] for key in keys], seed=seed, progress=progress)
    return {key: keys[place] for key, place in zip(keys, first.tolist(), strict=True)}


def _stratified(
    units: Sequence[str], prompts: Sequence[str], segments: Sequence[str | None], fraction: float, seed: int
) -> set[str]:
    """Of the units of each segment the fraction, rounded, whose draws are smallest.

    A unit that stands in several segments is of one: that of its first prompt, by hash, and first name.
    """
    home: dict[str, tuple[str, str]] = {}
    for unit, prompt, segment in zip(units, prompts, segments, strict=True):
        assert segment is not None
        home[unit] = min(home.get(unit, (prompt, segment)), (prompt, segment))
    strata: dict[str, list[str]] = {}
    for unit, (_, segment) in home.items():
        strata.setdefault(segment, []).append(unit)
    held: set[str] = set()
    for members in strata.values():
        members.sort(key=lambda unit: _draw(unit, "prompt", seed))
        held.update(members[: floor(fraction * len(members) + 0.5)])
    return held


def _check_segments(rows: Sequence[Row], segments: Sequence[str | None], named: set[str], *, all_needed: bool) -> None:
    known = {segment for segment in segments if segment is not None}
    for name in sorted(named - known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known)[:8]) or 'none'}."
        raise DataError(f"no row is in the segment {name!r}. {hint}", field="meta.segment", code="missing_field")
    for row, segment in zip(rows, segments, strict=True):
        if all_needed and segment is None:
            problem = f"row {row.id!r} has no segment. Give every row meta.segment, or split by prompt."
            raise DataError(problem, field="meta.segment", code="missing_field")


def _draw(key: str, by: str, seed: int) -> float:
    """A number in [0, 1) that is the same for equal arguments in every process."""
    digest = hashlib.sha256(canonical_json([by, seed, key])).digest()
    return int.from_bytes(digest[:8]) / 2**64


def segment_of(row: Common) -> str | None:
    """`meta.segment` as text; None where there is none."""
    segment = row.meta.get("segment")
    return None if segment is None else str(segment)


def prompt_of(row: Row) -> Turns:
    """The prompt of a row; of a demonstration, what stands before its first trained turn."""
    if isinstance(row, Demonstration):
        return tuple(takewhile(lambda turn: turn.role != "assistant" or not turn.train, row.messages))
    return row.prompt


def prompt_text(row: Row) -> str:
    """The text of a prompt that near-duplicates are looked for in: every turn but the system's, which many share."""
    turns = prompt_of(row)
    return text_of([turn for turn in turns if turn.role != "system"] if turns and turns[0].role == "system" else turns)


def prompt_key(row: Row) -> str:
    """sha256, in hex, of a row's prompt with letter case and white space folded."""
    turns = [[turn.role, " ".join(turn.content.casefold().split()), turn.tool_calls] for turn in prompt_of(row)]
    return hashlib.sha256(canonical_json(turns)).hexdigest()


def count_shared_prompts(left: Iterable[Row], right: Iterable[Row]) -> int:
    """How many normalised prompts stand on both sides; 0 says that no prompt leaks."""
    return len({prompt_key(row) for row in left} & {prompt_key(row) for row in right})
