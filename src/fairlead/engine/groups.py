"""Prompt groups: what every method scores. A prompt, and the completions that hang off it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Completion:
    """Token ids of a completion, and which of them are trained."""

    ids: tuple[int, ...]
    trained: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class PromptGroup:
    """One row as the engine sees it.

    A preference has two completions (chosen, rejected); a demonstration one; feedback one, and behind it the mismatched
    completion that KTO's KL estimate is taken on. `opening` names the leading turns that rows may share.
    """

    row_id: str
    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]
    label: bool | None = None
    weight: float = 1.0
    margin: float | None = None
    opening: str = ""

    @property
    def tokens(self) -> int:
        """Tokens this group puts through the trunk: prompt once, every completion once."""
        return len(self.prompt) + sum(len(completion.ids) for completion in self.completions)
