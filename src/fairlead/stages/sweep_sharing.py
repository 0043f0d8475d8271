"""What the training runs of a sweep have in common: the rows as tokens, and the frozen weights under their adapters."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

from fairlead.config import Config
from fairlead.engine.rendering import Renderer
from fairlead.identity import digest
from fairlead.losses.binding import BoundLoss
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load
from fairlead.models.quantization import is_quantized
from fairlead.stages.policy import Policy, load_policy
from fairlead.stages.rows import TrainingRows, read_training_rows
from fairlead.stages.train import Loading


@dataclass(frozen=True)
class Shared:
    """Rows and weights that were read once; `loading` is how training runs come by them.

    Every number is what it is without sharing: rows are never changed, and of the weights only those are shared that no
    run trains (a plain base under a new adapter; anything else is loaded anew).
    """

    _rows: dict[str, TrainingRows] = field(default_factory=dict)
    _bases: dict[tuple[Any, ...], LanguageModel] = field(default_factory=dict)

    @property
    def loading(self) -> Loading:
        """For `train_settled`."""
        return Loading(rows=self.rows, policy=self.policy)

    def clear(self) -> None:
        """Let go of everything."""
        self._rows.clear()
        self._bases.clear()

    def rows(self, config: Config, loss: BoundLoss, renderer: Renderer) -> TrainingRows:
        """As `read_training_rows`; one reading for all losses that see the same in the rows."""
        model = config.model
        key = digest(
            {
                "data": config.data.model_dump(mode="json"),
                "tokenizer": [model.path, model.adapter, model.chat_template],
                "examples": loss.examples.__name__,
                "completions": sorted(statistic.completions for statistic in loss.statistics.values()),
                "takes": [loss.takes_margin, loss.takes_weights],
                "samples": config.train.sample_prompts,
            }
        )
        if key not in self._rows:
            self._rows[key] = read_training_rows(config, loss, renderer)
        return self._rows[key]

    def policy(self, config: Config, *, rewards: bool = False) -> Policy:
        """As `load_policy`."""
        model = config.model
        if config.adapter is None or model.adapter is not None or model.quantize is not None:
            self._bases.clear()  # another copy of the weights is loaded now
            return load_policy(config, rewards=rewards)
        return load_policy(config, rewards=rewards, load_base=self._base)

    def _base(self, path: str, **how: Any) -> LanguageModel:
        """The model, modules of its own around weights that all have in common; as loaded where it brings adapters."""
        key = (path, *sorted((name, str(value)) for name, value in how.items()))
        if key not in self._bases:
            lm = load(path, **how)
            if lm.adapters or is_quantized(lm.model):
                return lm
            self._bases.clear()
            self._bases[key] = lm
        lm = self._bases[key]
        weights = {id(weight): weight for weight in lm.model.parameters()}
        return replace(lm, model=copy.deepcopy(lm.model, weights))
