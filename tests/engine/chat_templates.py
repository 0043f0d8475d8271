"""Chat templates that behave as those of well-known model families do, and tokenizers to go with them."""

from __future__ import annotations

import functools
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.tiny import CHATML, CORPUS, tiny_tokenizer

# Contents trimmed, one BOS, two newlines behind each header.
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + (message.content | trim) + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)

# Thoughts are dropped from all turns before the last question; the turns after it get a block even without any.
QWEN3 = (
    "{% set ns = namespace(last=0) %}"
    "{% for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "{% set said = message.content.split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = message.content.split('</think>')[0].split('<think>')[-1].strip('\n')"
    " if '</think>' in message.content else '' %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}"
    "{{ said + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)

# No generation prompt of its own, the system turn folded into the first question, strict turns.
MISTRAL = (
    "{{ bos_token }}"
    "{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for message in messages if message.role != 'system' %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant\nmust take turns') }}{% endif %}"
    "{% if message.role == 'user' %}"
    "{{ '[INST] ' + (system if loop.first else '') + message.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + message.content + eos_token }}{% endif %}"
    "{% endfor %}"
)

# The assistant is `model`, contents are trimmed, the system turn is folded into the first question.
GEMMA = (
    "{{ bos_token }}"
    "{% set system = messages[0].content + '\n\n' if messages[0].role == 'system' else '' %}"
    "{% for message in messages if message.role != 'system' %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\n'"
    " + (system if loop.first else '') + (message.content | trim) + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)

# A system turn is added to prompts without one; tools and tool calls are not rendered.
SMOLLM2 = (
    "{% for message in messages %}"
    "{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The tokens around turns are added to the vocabulary but not marked as special.
DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '<｜User｜>' + message.content }}"
    "{% elif message.role == 'assistant' %}{{ '<｜Assistant｜>' + message.content + eos_token }}"
    "{% else %}{{ message.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}"
)

# The last turn ends with another token than earlier ones.
HARMONY = (
    "{% for message in messages %}"
    "{{ '<|start|>' + message.role + '<|message|>' + message.content }}"
    "{{ '<|return|>' if loop.last and message.role == 'assistant' else '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)

# Turns begin and end with plain text only.
ALPACA = (
    "{% for message in messages %}"
    "{{ '### ' + message.role + ':\n' + message.content + '\n\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)

SPECIAL: dict[str, tuple[str, ...]] = {
    LLAMA3: ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    MISTRAL: ("<s>", "</s>"),
    GEMMA: ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
    DEEPSEEK: ("<bos>", "<eos>"),
    HARMONY: ("<|startoftext|>", "<|return|>", "<|start|>", "<|message|>", "<|end|>"),
}
"""Special tokens of a template beyond the tiny tokenizer's own: begin of text, end of text, others."""


def tokenizer_for(template: str) -> PreTrainedTokenizerFast:
    """The tiny byte-level tokenizer with a template and the special tokens that it writes."""
    tokenizer = tiny_tokenizer(chat_template=template)
    special = SPECIAL.get(template, ())
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in special], special_tokens=True)
    if special:
        tokenizer.bos_token, tokenizer.eos_token = special[:2]
    if template is QWEN3:
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>")])
    if template is DEEPSEEK:
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("<｜User｜>", "<｜Assistant｜>", "user")])
    return tokenizer


TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "qwen3": QWEN3,
    "mistral": MISTRAL,
    "gemma": GEMMA,
    "smollm2": SMOLLM2,
    "deepseek": DEEPSEEK,
    "harmony": HARMONY,
    "alpaca": ALPACA,
}

WORDS = (*CORPUS, "[INST] [/INST] :: ::) :) hello::) A: Q: </s>")


@functools.cache
def _trained(kind: str) -> str:
    trainer: dict[str, Any] = {"special_tokens": ["<unk>", "<s>", "</s>"], "show_progress": False}
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        # A vocabulary as converted ones are: the control token is among the pieces.
        letters = sorted({letter for text in WORDS for letter in text} | set("▁<>/"))
        pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((letter, -5.0) for letter in letters)]
        tokenizer.model = models.Unigram(pieces, unk_id=0, byte_fallback=False)
        tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    elif kind == "prefixed bytes":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train_from_iterator(
            WORDS * 4, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, **trainer)
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        if kind == "prepended":
            tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        else:
            scheme = {"metaspace": "always", "metaspace first": "first"}[kind]
            tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        letters = sorted({letter for text in WORDS for letter in text} | set("▁<>/\n"))
        tokenizer.train_from_iterator(
            WORDS * 4, trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters, **trainer)
        )
    byte_level = kind == "prefixed bytes"
    tokenizer.decoder = decoders.ByteLevel() if byte_level else decoders.Metaspace(prepend_scheme="always")
    return str(tokenizer.to_str())


PREFIXED = ("metaspace", "metaspace first", "prepended", "unigram", "prefixed bytes")
"""Kinds of tokenizer that put a space before the first word of what they are given."""


def prefixed_tokenizer(kind: str, template: str) -> PreTrainedTokenizerFast:
    """A tokenizer that puts a space before what comes first, with `<s>` and `</s>`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(kind)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="</s>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )


# A completion is joined to the prompt's last word, without a space between them.
JOINED = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ ('Q:' if message.role == 'user' else 'A:') + message.content + (eos_token if message.role == 'assistant'"
    " else ' ') }}{% endfor %}{% if add_generation_prompt %}{{ 'A:' }}{% endif %}"
)
