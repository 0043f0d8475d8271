"""A causal language model with its tokenizer and where both came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """What `fairlead.models.loading.load` gives.

    `source` names the base weights: an absolute path, or a hub id. The digests are those of the weights and of the
    adapter as loaded (`adapter_digest` is empty without one); `notes` are sentences worth telling the user.
    """

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    weights_digest: str
    adapter_digest: str = ""
    notes: tuple[str, ...] = ()
