"""Held-out rows: chosen by a hash of the prompt, or by whole segments, and never sharing a prompt with the rest."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Generic, Literal, TypeVar

from fairlead.data.records import Common, Demonstration, Row, Turns
from fairlead.errors import ConfigError, DataError, Fault
from fairlead.identity import canonical_json

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, kw_only=True)
class Split(Generic[R]):
    """The two sides, each in the order of the input."""

    train: tuple[R, ...]
    held_out: tuple[R, ...]


def split(
    rows: Sequence[R],
    *,
    fraction: float,
    seed: int = 0,
    by: Literal["prompt", "segment"] = "prompt",
    held_out_segments: Sequence[str] = (),
) -> Split[R]:
    """Holds out about `fraction` of the prompts (or of the segments), and every row of `held_out_segments`.

    by="prompt": a row's side depends on its normalised prompt and `seed` alone, so it stays when rows are added.
    by="segment": whole segments (`meta.segment`) go to one side, by the segment's name and `seed`. Where a prompt
    stands in a held-out segment and in another, all its rows are held out: equal prompts never straddle.
    fraction: 0 ≤ fraction < 1; the share reached is near it, not exact. Raises `ConfigError` for arguments out of
    range, `DataError` where a row has no segment or a named segment has no row.
    """
    if not 0 <= fraction < 1:
        raise ConfigError([Fault(field="fraction", problem=f"{fraction} is not in [0, 1).")], source="split")
    if by not in ("prompt", "segment"):
        raise ConfigError(
            [Fault(field="by", problem=f"{by!r} is not known.", remedy="prompt or segment")], source="split"
        )
    segments = [segment_of(row) for row in rows]
    named = set(held_out_segments)
    _check_segments(rows, segments, named, all_needed=by == "segment")
    prompts = [prompt_key(row) for row in rows]
    keys: Sequence[str | None] = prompts if by == "prompt" else segments
    chosen = [
        segment in named or (key is not None and _draw(key, by, seed) < fraction)
        for key, segment in zip(keys, segments, strict=True)
    ]
    held_prompts = {prompt for prompt, held in zip(prompts, chosen, strict=True) if held}
    train = tuple(row for row, prompt in zip(rows, prompts, strict=True) if prompt not in held_prompts)
    held_out = tuple(row for row, prompt in zip(rows, prompts, strict=True) if prompt in held_prompts)
    assert count_shared_prompts(train, held_out) == 0
    return Split(train=train, held_out=held_out)


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


def prompt_key(row: Row) -> str:
    """sha256, in hex, of a row's prompt with letter case and white space folded."""
    turns = [[turn.role, " ".join(turn.content.casefold().split()), turn.tool_calls] for turn in prompt_of(row)]
    return hashlib.sha256(canonical_json(turns)).hexdigest()


def count_shared_prompts(left: Iterable[Row], right: Iterable[Row]) -> int:
    """How many normalised prompts stand on both sides; 0 says that no prompt leaks."""
    return len({prompt_key(row) for row in left} & {prompt_key(row) for row in right})
