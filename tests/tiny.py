"""Tiny random models and a tiny tokenizer, built in memory: what a test needs of a language model, in milliseconds.

Every model has the vocabulary of `tiny_tokenizer()`, two layers and (but for GPT-2) grouped-query attention; its
weights depend on `seed` alone. They are spread wide (standard deviation 0.2) so that log-probabilities differ visibly
between tokens.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import gguf
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 320

CHATML = (
    "{%- if tools %}{{ '<|im_start|>system\n# Tools' }}"
    "{%- for tool in tools %}{{ '\n' + (tool | tojson) }}{%- endfor %}{{ '<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content }}"
    "{%- for call in message.tool_calls or [] %}"
    "{{ '\n<tool_call>' + ((call.function or call) | tojson) + '</tool_call>' }}"
    "{%- endfor %}{{ '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)

CORPUS = (
    "system\nuser\nassistant\ntool\n",
    "the parcel is on its way and arrives on Monday. where is my order? the order was sent yesterday.",
    "hello, how can we help? please tell us the number of the order. thank you for the answer.",
)


@functools.cache
def _vocabulary() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(text, special=True, normalized=False) for text in (END_OF_TEXT, TURN_START, TURN_END)]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    return tokenizer.to_str()


def tiny_tokenizer(*, chat_template: str | None = CHATML, pad: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE over 320 tokens with a ChatML template: 0 end of text, 1 turn start, 2 turn end (eos, pad)."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_vocabulary()),
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=TURN_END if pad else None,
        extra_special_tokens=[TURN_START],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    assert len(tokenizer) <= VOCABULARY
    return tokenizer


def _common(overrides: dict[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 512,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 2,
    } | overrides


def _build(kind: type[PreTrainedModel], config: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config).eval()


def tiny_llama(*, seed: int = 0, **overrides: Any) -> LlamaForCausalLM:
    """Llama: grouped-query attention, output head not tied (`tie_word_embeddings=True` ties it)."""
    return _build(LlamaForCausalLM, LlamaConfig(**_common({"tie_word_embeddings": False} | overrides)), seed)


def tiny_qwen3(*, seed: int = 0, **overrides: Any) -> Qwen3ForCausalLM:
    """Qwen3: norms on queries and keys, output head tied."""
    return _build(Qwen3ForCausalLM, Qwen3Config(**_common({"tie_word_embeddings": True} | overrides)), seed)


def tiny_mistral(*, seed: int = 0, **overrides: Any) -> MistralForCausalLM:
    """Mistral: a sliding window of 8 tokens in every layer."""
    return _build(MistralForCausalLM, MistralConfig(**_common({"sliding_window": 8} | overrides)), seed)


def tiny_gemma2(*, seed: int = 0, **overrides: Any) -> Gemma2ForCausalLM:
    """Gemma 2: soft caps on attention scores and logits, windows in every second layer: cannot be packed."""
    extra = {"sliding_window": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": True}
    return _build(Gemma2ForCausalLM, Gemma2Config(**_common(extra | overrides)), seed)


def tiny_gemma3(*, seed: int = 0, **overrides: Any) -> Gemma3ForCausalLM:
    """Gemma 3 (text): one layer with a window, one without; no soft caps."""
    extra = {
        "sliding_window": 8,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
        "tie_word_embeddings": True,
    }
    return _build(Gemma3ForCausalLM, Gemma3TextConfig(**_common(extra | overrides)), seed)


def tiny_gpt2(*, seed: int = 0, **overrides: Any) -> GPT2LMHeadModel:
    """GPT-2: learned positions, fused query-key-value projection (Conv1D), no grouped queries."""
    config = {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.2,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    return _build(GPT2LMHeadModel, GPT2Config(**(config | overrides)), seed)


def tiny_qwen2(*, seed: int = 0, **overrides: Any) -> Qwen2ForCausalLM:
    """Qwen2: biases on queries, keys and values; a window of 8 tokens in the second layer."""
    extra = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    return _build(Qwen2ForCausalLM, Qwen2Config(**_common(extra | overrides)), seed)


def tiny_phi3(*, seed: int = 0, **overrides: Any) -> Phi3ForCausalLM:
    """Phi-3: one projection for queries, keys and values, rotary positions on half of each head, a window of 8."""
    extra = {"sliding_window": 8, "partial_rotary_factor": 0.5, "original_max_position_embeddings": 512}
    return _build(Phi3ForCausalLM, Phi3Config(**_common(extra | overrides)), seed)


def tiny_olmo2(*, seed: int = 0, **overrides: Any) -> Olmo2ForCausalLM:
    """OLMo 2: norms behind the layers, and over all heads of queries and of keys at once."""
    return _build(Olmo2ForCausalLM, Olmo2Config(**_common(overrides)), seed)


def tiny_smollm3(*, seed: int = 0, **overrides: Any) -> SmolLM3ForCausalLM:
    """SmolLM3: no rotary positions in the second layer."""
    return _build(SmolLM3ForCausalLM, SmolLM3Config(**_common({"no_rope_layers": [1, 0]} | overrides)), seed)


def tiny_granite(*, seed: int = 0, **overrides: Any) -> GraniteForCausalLM:
    """Granite: embeddings, attention scores, residuals and logits each have a scale of their own."""
    scales = {"embedding_multiplier": 2.0, "attention_multiplier": 0.2, "residual_multiplier": 0.5, "logits_scaling": 3}
    return _build(GraniteForCausalLM, GraniteConfig(**_common(scales | overrides)), seed)


def tiny_cohere(*, seed: int = 0, **overrides: Any) -> CohereForCausalLM:
    """Cohere: attention and feed-forward side by side, logits scaled."""
    return _build(CohereForCausalLM, CohereConfig(**_common({"logit_scale": 0.5} | overrides)), seed)


EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "norm_topk_prob": True}


def tiny_qwen3_moe(*, seed: int = 0, **overrides: Any) -> Qwen3MoeForCausalLM:
    """Qwen3-MoE: two of four experts per token."""
    return _build(Qwen3MoeForCausalLM, Qwen3MoeConfig(**_common(EXPERTS | overrides)), seed)


def tiny_olmoe(*, seed: int = 0, **overrides: Any) -> OlmoeForCausalLM:
    """OLMoE: two of four experts per token, norms on queries and keys."""
    extra = {"num_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 16}
    return _build(OlmoeForCausalLM, OlmoeConfig(**_common(extra | overrides)), seed)


def tiny_qwen2_moe(*, seed: int = 0, **overrides: Any) -> Qwen2MoeForCausalLM:
    """Qwen2-MoE: a window of 8 tokens in the first layer, of which only the mask knows, not the attention call."""
    window = {"use_sliding_window": True, "sliding_window": 8, "shared_expert_intermediate_size": 16}
    return _build(Qwen2MoeForCausalLM, Qwen2MoeConfig(**_common(EXPERTS | window | overrides)), seed)


def tiny_gpt_oss(*, seed: int = 0, **overrides: Any) -> GptOssForCausalLM:
    """gpt-oss: attention sinks, a window of 8 in the first layer, two of four experts: cannot be packed."""
    extra = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}
    return _build(GptOssForCausalLM, GptOssConfig(**_common(extra | overrides)), seed)


def tiny_falcon_h1(*, seed: int = 0, **overrides: Any) -> FalconH1ForCausalLM:
    """Falcon-H1: in every layer a state space model beside attention: cannot be packed."""
    mamba = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
    return _build(FalconH1ForCausalLM, FalconH1Config(**_common(mamba | overrides)), seed)


def tiny_qwen3_next(*, seed: int = 0, **overrides: Any) -> Qwen3NextForCausalLM:
    """Qwen3-Next: a gated delta rule, which widens rounding, in the first layer, attention in the second."""
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
    extra = EXPERTS | {
        "linear_value_head_dim": 8,
        "shared_expert_intermediate_size": 16,
        "layer_types": ["linear_attention", "full_attention"],
        "initializer_range": 0.05,
    }
    return _build(Qwen3NextForCausalLM, Qwen3NextConfig(**_common(extra | linear | overrides)), seed)


FAMILIES = {
    "llama": tiny_llama,
    "qwen3": tiny_qwen3,
    "mistral": tiny_mistral,
    "gemma2": tiny_gemma2,
    "gemma3": tiny_gemma3,
    "gpt2": tiny_gpt2,
}


def save_tiny(path: str | Path, family: str = "llama", *, seed: int = 0, **overrides: Any) -> Path:
    """Write a tiny model with its tokenizer as a transformers folder; gives the folder."""
    FAMILIES[family](seed=seed, **overrides).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return Path(path)


def save_tiny_gguf(path: str | Path, *, seed: int = 0) -> LlamaForCausalLM:
    """Write a tiny Llama (tied head, float32 tensors) with its tokenizer as a GGUF file; gives the model written."""
    model = tiny_llama(seed=seed, tie_word_embeddings=True)
    config, tokenizer = model.config, tiny_tokenizer()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    core = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    control = {0, 1, 2}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(core["vocab"], key=core["vocab"].__getitem__))
    writer.add_token_types([3 if index in control else 1 for index in range(len(core["vocab"]))])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in core["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHATML)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        stem, ending = name.rsplit(".", 1)
        if stem.endswith(("q_proj", "k_proj")):  # GGUF pairs rotary dimensions next to each other
            heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
            tensor = tensor.view(heads, 2, -1, tensor.shape[1]).transpose(1, 2).reshape(tensor.shape)
        writer.add_tensor(f"{names.get_name(stem)}.{ending}", tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model
