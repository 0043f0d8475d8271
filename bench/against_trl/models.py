"""The models both contenders load: folders of random weights in the shape of real ones, written once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from bench.against_trl.rows import FIRST_ID
from fairlead.identity import digest
from fairlead.models.quiet import quiet

SHAPES: dict[str, dict[str, Any]] = {
    "30M": {
        "vocab_size": 32_000,
        "hidden_size": 384,
        "intermediate_size": 1024,
        "num_hidden_layers": 11,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
    },
    # Of SmolLM2-135M.
    "135M": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    # For whole runs, which compare numbers and not speed.
    "3M": {
        "vocab_size": 4_000,
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
    },
}
"""Llama shapes with tied output heads. Weights are drawn from a seed."""

SPREAD = 0.05
"""Of the weights: wide enough that log-probabilities differ between tokens."""
PAD, END = 0, 1
CONTROL = ("<pad>", "<end>", *(f"<{index}>" for index in range(2, FIRST_ID)))
TEMPLATE = (
    "{%- for message in messages %}{{ '<2> ' + message.content + ' <end> ' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<2> ' }}{%- endif %}"
)
NOISE = {"adapter": 0.05, "weights": 0.2}
"""Standard deviation of what an adapter is filled with, and of what is added to weights, in units of their own."""


def model_folder(shape: str, scratch: Path, *, reward: bool) -> Path:
    """A folder with a model of this shape, its tokenizer beside it; written if it is not there."""
    return write_model(scratch / "models" / (f"{shape}-reward" if reward else shape), SHAPES[shape], reward=reward)


def write_model(folder: Path, shape: dict[str, Any], *, reward: bool) -> Path:
    """A random Llama in a folder, as a language model or under a reward head."""
    if (folder / "model.safetensors").is_file():
        return folder
    extra = {"num_labels": 1} if reward else {}
    config = LlamaConfig(
        **shape,
        **extra,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        (LlamaForSequenceClassification if reward else LlamaForCausalLM)(config).save_pretrained(folder)
        word_tokenizer(shape["vocab_size"]).save_pretrained(folder)
    return folder


def reward_folder(model: Path, scratch: Path) -> Path:
    """A given language model under a reward head of random weights, for both contenders the same."""
    folder = scratch / "models" / f"{model.name}-reward"
    if (folder / "model.safetensors").is_file():
        return folder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        made = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype=torch.float32)
    made.config.pad_token_id = tokenizer.pad_token_id = PAD
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """One token per word, `w10`, `w11`, … up to the vocabulary's size; the ids below are control tokens."""
    words = {word: index for index, word in enumerate(CONTROL)}
    words |= {f"w{index}": index for index in range(FIRST_ID, vocabulary)}
    plain = Tokenizer(models.WordLevel(words, unk_token=CONTROL[-1]))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token=CONTROL[PAD], eos_token=CONTROL[END], extra_special_tokens=list(CONTROL[2:])
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@torch.no_grad()
def shift(model: nn.Module) -> None:
    """Move the trained weights away from the reference, by noise that depends on a weight's name alone.

    Before that, policy and reference are one model, and any loss that compares them is log 2 or ½ whatever is wrong.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            generator = torch.Generator().manual_seed(int(digest(name)[:15], 16))
            noise = torch.empty(parameter.shape).normal_(generator=generator)
            if "lora_" in name:
                parameter.copy_(NOISE["adapter"] * noise)
            else:
                parameter.add_(NOISE["weights"] * parameter.std() * noise)


def read_config(folder: str | Path) -> dict[str, Any]:
    """The model's `config.json`."""
    found: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return found
