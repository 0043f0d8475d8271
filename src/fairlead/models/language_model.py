"""A causal language model with its tokenizer and where both came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairlead.identity import digest
from fairlead.models.stack_record import PlacedAdapter, Quantization

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """What `fairlead.models.loading.load` gives.

    `source` names the base weights: an absolute path, or a hub id. `weights_digest` is that of the base weights as
    loaded; `adapters` are those on it from the base up, each with its digest as loaded. `quantize` says how the base
    weights were quantised on the way in (None where they are as they are stored); `notes` are sentences worth telling
    the user.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    weights_digest: str
    adapters: tuple[PlacedAdapter, ...] = ()
    quantize: Quantization | None = None
    notes: tuple[str, ...] = ()

    @property
    def adapter_digest(self) -> str:
        """Identity of all adapters in their order, as loaded; of a single one its own digest, empty without any."""
        digests = [adapter.digest for adapter in self.adapters]
        return digest(digests) if len(digests) > 1 else "".join(digests)
