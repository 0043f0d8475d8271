"""Reward models: made of language models, padded with what never ends a text, and loaded by transformers and PEFT."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from fairlead.config import AdapterConfig
from fairlead.errors import ModelError
from fairlead.models.adapters import add_lora, continue_adapter, trainable_parameters
from fairlead.models.language_model import LanguageModel
from fairlead.models.loading import load
from fairlead.models.reward_model import add_reward_head, is_reward_model, reward_head, skipped_token
from fairlead.models.weights import save_adapter, save_model
from tests.tiny import END_OF_TEXT, TURN_END, TURN_START, VOCABULARY, save_tiny, tiny_tokenizer

IDS = torch.arange(3, 40)[None]
ENDED = torch.cat([IDS, torch.tensor([[2]])], dim=1)
"""A text that ends with the token that ends turns: in the tiny tokenizer also the end and the padding token."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "llama")


def fresh(base: Path, dtype: torch.dtype = torch.float32) -> LanguageModel:
    return add_reward_head(load(str(base), dtype=dtype), endings={2})


def disturb(lm: LanguageModel, seed: int = 1) -> None:
    """Stands for training: changes every trainable weight."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in lm.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def reward(model: Any, ids: torch.Tensor = ENDED) -> float:
    with torch.no_grad():
        return model(input_ids=ids).logits.item()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_new_reward_model_prefers_nothing_and_copies_no_weight(family: str, tmp_path: Path) -> None:
    lm = load(str(save_tiny(tmp_path, family)), dtype=torch.bfloat16)
    places = {parameter.data_ptr() for parameter in lm.model.parameters()}
    made = add_reward_head(lm, endings={2})
    head = reward_head(made.model)
    assert is_reward_model(made.model)
    assert (head.weight.dtype, head.weight.shape, head.bias) == (torch.float32, (1, 32), None)
    assert not head.weight.any()
    assert {p.data_ptr() for p in made.model.parameters() if p is not head.weight} <= places
    assert not any(parameter.requires_grad for parameter in made.model.parameters())
    assert made.weights_digest == lm.weights_digest


def test_padding_takes_no_gradient_as_in_the_class_that_loads_it(base: Path, tmp_path: Path) -> None:
    lm = fresh(base)
    save_model(lm, tmp_path / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert lm.model.get_input_embeddings().padding_idx == loaded.get_input_embeddings().padding_idx == 0


PADDING = "<|right_pad_id|>"


def tokenizer(**tokens: Any) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with other roles for its control tokens; token 1 may be called after padding."""
    core = tiny_tokenizer().backend_tokenizer.to_str()
    if PADDING in tokens.get("extra_special_tokens", ()):
        core = core.replace(TURN_START, PADDING)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(core), **tokens)


TOKENIZERS: dict[str, tuple[dict[str, Any], int]] = {
    "its own padding": ({"eos_token": TURN_END, "pad_token": END_OF_TEXT}, 0),
    "padding that ends turns, and another unknown token": (
        {"eos_token": TURN_END, "pad_token": TURN_END, "unk_token": END_OF_TEXT, "bos_token": TURN_START},
        0,
    ),
    "padding that ends turns, and a first token": (
        {"eos_token": TURN_END, "pad_token": TURN_END, "bos_token": TURN_START},
        1,
    ),
    "no padding, and a token that is called so": (
        {"eos_token": TURN_END, "bos_token": END_OF_TEXT, "extra_special_tokens": [PADDING]},
        1,
    ),
}


@pytest.mark.parametrize("case", TOKENIZERS)
def test_the_padding_token_never_ends_a_text(base: Path, case: str) -> None:
    tokens, expected = TOKENIZERS[case]
    lm = replace(load(str(base), dtype=torch.float32), tokenizer=tokenizer(**tokens))
    made = add_reward_head(lm, endings={2})
    assert skipped_token(made.model) == made.tokenizer.pad_token_id == expected
    assert made.tokenizer.padding_side == "right"


def only_one_token(folder: Path) -> Path:
    """A model whose one control token ends texts, as GPT-2's does."""
    save_tiny(folder, "gpt2")
    for file in folder.glob("*.jinja"):
        file.unlink()
    core = json.loads(tiny_tokenizer().backend_tokenizer.to_str())
    core["added_tokens"] = [token for token in core["added_tokens"] if token["content"] == END_OF_TEXT]
    (folder / "tokenizer.json").write_text(json.dumps(core))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT})
    )
    return folder


def test_without_a_token_to_pad_with_transformers_scores_one_text_at_a_time(tmp_path: Path) -> None:
    path = str(only_one_token(tmp_path / "model"))
    lm = add_reward_head(load(path, dtype=torch.float32, chat_template="plain"), endings={0})
    lm.model.requires_grad_(True)
    disturb(lm)
    save_model(lm, tmp_path / "reward")
    wrapped = add_lora(lm, AdapterConfig(r=2), seed=0)
    ended = torch.cat([IDS, torch.tensor([[0]])], dim=1)
    expected = reward(wrapped.model, ended)
    assert skipped_token(lm.model) is None
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    assert reward(loaded, ended) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="padding token"):
        loaded(input_ids=ended.repeat(2, 1))
    again = load(str(tmp_path / "reward"), dtype=torch.float32)
    assert again.tokenizer.pad_token is None
    assert skipped_token(again.model) is None


def test_without_padding_an_adapter_has_none_either(tmp_path: Path) -> None:
    path = str(only_one_token(tmp_path / "model"))
    lm = add_lora(
        add_reward_head(load(path, dtype=torch.float32, chat_template="plain"), endings={0}), AdapterConfig(r=2), seed=0
    )
    save_adapter(lm, tmp_path / "adapter")
    for round_trip in ("first", "second"):
        again = load(str(tmp_path / "adapter"), dtype=torch.float32)
        assert (skipped_token(again.model), again.tokenizer.pad_token) == (None, None)
        save_adapter(again, tmp_path / round_trip)
        assert json.loads((tmp_path / round_trip / "tokenizer_config.json").read_text()).get("pad_token") is None


def test_transformers_loads_it_as_a_sequence_classifier(base: Path, tmp_path: Path) -> None:
    lm = fresh(base)
    lm.model.requires_grad_(True)
    disturb(lm)
    save_model(lm, tmp_path / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    config, read = model.config, AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert config.architectures == ["LlamaForSequenceClassification"]
    assert (config.num_labels, config.id2label, config.problem_type) == (1, {0: "reward"}, "regression")
    assert config.pad_token_id == read.pad_token_id == 0
    assert read.chat_template == lm.tokenizer.chat_template
    assert reward(model) == pytest.approx(reward(lm.model), rel=1e-6)
    # The end of the turn counts, although the language model padded with it; the new padding does not.
    assert reward(model) != pytest.approx(reward(model, IDS), rel=1e-3)
    assert reward(model) == pytest.approx(reward(model, torch.cat([ENDED, torch.tensor([[0]])], dim=1)), rel=1e-6)
    again = load(str(tmp_path / "reward"), dtype=torch.bfloat16)
    assert reward_head(again.model).weight.dtype == torch.float32
    assert is_reward_model(again.model)
    # One number, not the probability of a label.
    text = "the parcel is on its way" + TURN_END
    (given,) = pipeline("text-classification", model=model, tokenizer=read)([text])
    ids = read(text, add_special_tokens=False, return_tensors="pt").input_ids
    assert given == {"label": "reward", "score": pytest.approx(reward(model, ids), rel=1e-5)}


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A trained adapter on a reward model, and what it gives `ENDED`."""
    lm = add_lora(fresh(base), AdapterConfig(r=4), seed=0)
    assert {name.split(".")[-2] for name in trainable_parameters(lm).names} == {"default"}
    assert [name for name in trainable_parameters(lm).names if "score" in name] == [
        "base_model.model.score.modules_to_save.default.weight"
    ]
    disturb(lm)
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    save_adapter(lm, folder)
    return folder, reward(lm.model)


def test_peft_alone_loads_an_adapter(base: Path, adapter: tuple[Path, float]) -> None:
    folder, expected = adapter
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
    pad = AutoTokenizer.from_pretrained(folder).pad_token_id
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, pad_token_id=pad)
    assert reward(PeftModel.from_pretrained(plain, folder)) == pytest.approx(expected, rel=1e-6)


def test_an_adapter_is_loaded_with_its_head(base: Path, adapter: tuple[Path, float]) -> None:
    folder, expected = adapter
    plain = load(str(base), dtype=torch.float32)
    for lm in (
        load(str(folder), dtype=torch.float32),
        load(str(base), dtype=torch.float32, adapter=str(folder)),
    ):
        assert reward(lm.model) == pytest.approx(expected, rel=1e-6)
        assert lm.weights_digest == plain.weights_digest
        assert skipped_token(lm.model) == lm.tokenizer.pad_token_id == 0
    narrow = load(str(folder), dtype=torch.bfloat16)
    assert reward_head(narrow.model).weight.dtype == torch.float32


def test_training_of_an_adapter_goes_on_with_its_head(adapter: tuple[Path, float], tmp_path: Path) -> None:
    folder, expected = adapter
    lm = continue_adapter(load(str(folder), dtype=torch.float32))
    assert reward(lm.model) == pytest.approx(expected, rel=1e-6)
    assert any("score" in name for name in trainable_parameters(lm).names)
    disturb(lm, seed=2)
    after = reward(lm.model)
    assert after != pytest.approx(expected, rel=1e-3)
    save_adapter(lm, tmp_path / "adapter")
    assert reward(load(str(tmp_path / "adapter"), dtype=torch.float32).model) == pytest.approx(after, rel=1e-6)


def test_an_adapter_over_weights_in_4_bits(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    wide = save_tiny(tmp_path / "base", hidden_size=64, intermediate_size=128, head_dim=16)
    lm = add_reward_head(load(str(wide), dtype=torch.float32, quantize="nf4"), endings={2})
    lm = add_lora(lm, AdapterConfig(r=2), seed=0)
    assert reward_head(lm.model).weight.dtype == torch.float32
    disturb(lm)
    save_adapter(lm, tmp_path / "adapter")
    again = load(str(tmp_path / "adapter"), dtype=torch.float32)
    assert reward(again.model) == pytest.approx(reward(lm.model), rel=1e-5)
    assert any("absmax" in name for name in again.model.state_dict())


def test_reward_adapters_are_not_stacked(adapter: tuple[Path, float]) -> None:
    with pytest.raises(ModelError, match="holds the head, and only one adapter of a stack can"):
        add_lora(load(str(adapter[0]), dtype=torch.float32), AdapterConfig(r=2), seed=0)


def test_all_linear_layers_are_those_of_the_trunk(base: Path) -> None:
    lm = add_lora(fresh(base), AdapterConfig(r=2, targets="all-linear"), seed=0)
    assert not any("score" in name and "lora" in name for name, _ in lm.model.named_parameters())


def test_a_reward_model_starts_from_full_weights(base: Path, tmp_path: Path) -> None:
    save_adapter(add_lora(load(str(base), dtype=torch.float32), AdapterConfig(r=2), seed=0), tmp_path / "sft")
    with pytest.raises(ModelError, match=r"starts from full weights.*fairlead merge"):
        add_reward_head(load(str(tmp_path / "sft"), dtype=torch.float32), endings={2})


def test_a_language_models_adapter_does_not_fit_a_reward_model(base: Path, tmp_path: Path) -> None:
    save_adapter(add_lora(load(str(base), dtype=torch.float32), AdapterConfig(r=2), seed=0), tmp_path / "sft")
    save_model(fresh(base), tmp_path / "reward")
    with pytest.raises(ModelError, match=r"is a language model's, but .* is a reward model"):
        load(str(tmp_path / "reward"), dtype=torch.float32, adapter=str(tmp_path / "sft"))


def saved(folder: Path, model: Any) -> str:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def test_other_classifiers_are_refused(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    many = LlamaForSequenceClassification(LlamaConfig(**sizes, vocab_size=VOCABULARY, num_labels=3))
    with pytest.raises(ModelError, match=r"is a classifier with 3 labels. Give a language model, or a reward model"):
        load(saved(tmp_path / "many", many), dtype=torch.float32)
    two_ways = BertForSequenceClassification(BertConfig(**sizes, vocab_size=VOCABULARY, num_labels=1))
    with pytest.raises(ModelError, match="does not score by one linear map"):
        load(saved(tmp_path / "bert", two_ways), dtype=torch.float32)


def test_a_reward_model_without_its_head_is_incomplete(base: Path, tmp_path: Path) -> None:
    save_model(fresh(base), tmp_path / "reward")
    config = (tmp_path / "reward" / "config.json").read_text()
    broken = save_tiny(tmp_path / "broken")
    (broken / "config.json").write_text(config)
    with pytest.raises(ModelError, match=r"incomplete: score.weight is missing"):
        load(str(broken), dtype=torch.float32)
