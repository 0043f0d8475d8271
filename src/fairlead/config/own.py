"""What a user adds to the names that a configuration may use."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fairlead.losses.contract import Loss


@dataclass(frozen=True, kw_only=True)
class Own:
    """Losses of the user's own, by name, and names of metrics."""

    losses: Mapping[str, Loss] = field(default_factory=dict)
    metrics: Collection[str] = ()


NOTHING = Own()
