"""Reward models: the trunk of a language model under a head that gives one number for what was read.

They are transformers' own sequence classifiers with one label, so that what is trained here is loaded by transformers
and PEFT. The head reads the hidden state of one token. Which one is transformers' rule: the last that is not
`config.pad_token_id`. A new reward model therefore gets a padding token that no completion ends with, and its rule is
plainly: the last token, the one that ends the turn. A model that was trained elsewhere keeps the padding token it has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairlead.errors import ModelError
from fairlead.models.language_model import LanguageModel
from fairlead.models.sources import read_json
from fairlead.models.stacks import has_adapter

HEAD = "score"
"""What transformers' decoder-only sequence classifiers call their head."""
TASK = "SEQ_CLS"
"""PEFT's name of the task of adapters on them."""
# What transformers keeps on a quantised model besides its modules.
_QUANTISED = ("hf_quantizer", "is_loaded_in_4bit", "is_quantized", "quantization_method")


def is_reward_model(model: Any) -> bool:
    """Whether the model, PEFT-wrapped or not, is a sequence classifier and no language model."""
    return type(_bare(model)).__name__.endswith("ForSequenceClassification")


def reward_head(model: Any) -> Any:
    """The linear module from a hidden state to the reward; PEFT's wrapper of it where it is trained in full."""
    return getattr(_bare(model), HEAD)


def skipped_token(model: Any) -> int | None:
    """Id of the token that does not count as the last one where it ends a sequence; None if every token counts."""
    skipped: int | None = _bare(model).config.get_text_config().pad_token_id
    return skipped


def is_reward_config(config: Mapping[str, Any], base: str) -> bool:
    """Whether a model's configuration is that of a reward model. Raises ModelError for a classifier of another kind."""
    names = config.get("architectures") or [""]
    if not str(names[0]).endswith("ForSequenceClassification"):
        return False
    labels = len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2)
    if labels != 1:
        raise ModelError(
            f"{base} ({names[0]}) is a classifier with {labels} labels. Give a language model, or a reward model: a "
            f"classifier with one label."
        )
    return True


def check_head(model: Any, base: str) -> None:
    """Raises ModelError unless the classifier is a trunk under one linear map without bias."""
    head = getattr(model, HEAD, None)
    if type(head) is not nn.Linear or head.bias is not None or head.out_features != 1:
        raise ModelError(
            f"{base} ({type(model).__name__}) does not score by one linear map without bias of the last hidden state. "
            f"Give a reward model of a decoder-only family."
        )


def add_reward_head(lm: LanguageModel, *, endings: Collection[int]) -> LanguageModel:
    """A language model made a reward model: its output head gives way to one that says 0 of everything.

    `lm` is used up: the trunk is not copied. At 0 no completion is preferred before training, and the loss is ln 2;
    drawn as transformers draws it, the head would begin with preferences of its own, as large as the family's hidden
    states are. `endings` are the tokens that a completion may end with.

    Raises ModelError where transformers has no sequence classifier for the family, or the model carries an adapter.
    """
    skipped = _padding_for(lm.tokenizer, endings)
    model = with_head(lm.model, lm.source, skipped)
    pad_with(lm.tokenizer, skipped)
    return replace(lm, model=model)


def with_head(causal: Any, source: str, skipped: int | None) -> Any:
    """The sequence classifier of a causal language model's family on its own trunk, under a head of zeros."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    if has_adapter(causal):
        raise ModelError(
            f"A reward model starts from full weights, and this one is {source} under an adapter of a language model. "
            f"Merge it with `fairlead merge`, and give the merged model as model.path."
        )
    config, prefix = causal.config, causal.base_model_prefix
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise ModelError(
            f"transformers has no sequence classifier for {type(causal).__name__}, so no reward model can be made of "
            f"{source}. Give a model of another family, for instance Llama, Qwen, Mistral, Gemma or GPT-2."
        )
    config.id2label, config.label2id, config.problem_type = {0: "reward"}, {"reward": 0}, "regression"
    config.get_text_config().pad_token_id = skipped
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = kind(config)
    check_head(model, source)
    trunk, embeddings = getattr(causal, prefix), causal.get_input_embeddings()
    assert type(getattr(model, prefix, None)) is type(trunk), "the classifier has another trunk"
    # Padding takes no gradient, and is another token from now on.
    embeddings.padding_idx = model.get_input_embeddings().padding_idx
    setattr(model, prefix, trunk)
    # float32 under a trunk of any type: one row of weights, whose rounding would show in every reward.
    head = nn.Linear(getattr(model, HEAD).in_features, 1, bias=False, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    setattr(model, HEAD, head.to(embeddings.weight.device))
    for name in _QUANTISED:
        if hasattr(causal, name):
            setattr(model, name, getattr(causal, name))
    return model.eval().requires_grad_(False)


def pad_with(tokenizer: Any, skipped: int | None) -> None:
    """Let the tokenizer pad, on the right, with what the reward model skips; not at all where that is nothing."""
    tokenizer.pad_token = None if skipped is None else tokenizer.convert_ids_to_tokens(skipped)
    tokenizer.padding_side = "right"


def skipped_by_adapter(folder: Path, causal: Any) -> int | None:
    """What a reward model's adapter skips: the padding token of the tokenizer beside it, else its base's."""
    if not (folder / "tokenizer_config.json").is_file():
        return skipped_token(causal)
    from transformers import AutoTokenizer

    named = read_json(folder / "tokenizer_config.json").get("pad_token")
    if named is None:
        return None
    found: int = AutoTokenizer.from_pretrained(folder, trust_remote_code=False).pad_token_id
    return found


def is_reward_adapter(folder: Path) -> bool:
    """Whether the adapter in a folder was trained on a sequence classifier."""
    return read_json(folder / "adapter_config.json").get("task_type") == TASK


def _padding_for(tokenizer: Any, endings: Collection[int]) -> int | None:
    """A control token that no completion ends with: the padding token if it is one, else the least likely to be seen.

    None where the tokenizer has none, as GPT-2's: transformers then refuses to pad, and scores one text at a time.
    """
    special = sorted(index for index, token in tokenizer.added_tokens_decoder.items() if token.special)
    named = [index for index in special if "pad" in tokenizer.added_tokens_decoder[index].content.lower()]
    wanted = [tokenizer.pad_token_id, *named, tokenizer.unk_token_id, tokenizer.bos_token_id, *special]
    return next((index for index in wanted if index is not None and index not in endings), None)


def _bare(model: Any) -> Any:
    """The transformers model itself, also when PEFT wraps it."""
    return model.get_base_model() if has_adapter(model) else model
