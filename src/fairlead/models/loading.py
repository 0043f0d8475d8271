"""Loading language models: transformers folders, hub ids, GGUF files, adapters, and runs that made one of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fairlead.errors import FairleadError, MachineError, ModelError
from fairlead.models.language_model import LanguageModel
from fairlead.models.quiet import quiet
from fairlead.models.sources import UNREADABLE, Source, hub_faults, locate, read_json
from fairlead.models.tokenizers import load_tokenizer, tokenizer_of
from fairlead.models.weights import ADAPTER, digest_adapter, digest_weights

__all__ = ["LanguageModel", "load", "load_tokenizer", "resolve_dtype", "stored_dtype"]

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


def resolve_dtype(precision: str) -> torch.dtype:
    """The type that `bf16`, `fp32` or `auto` stands for; `auto` is bfloat16 where the machine computes in it itself."""
    if precision == "auto":
        return torch.bfloat16 if _native_bf16() else torch.float32
    kinds = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if precision not in kinds:
        raise ModelError(f"The precision {precision} is unknown. Use bf16, fp32 or auto.")
    return kinds[precision]


def stored_dtype(path: str) -> torch.dtype:
    """The type in which the base weights of `path` are kept; bfloat16 for quantised files."""
    source = locate(path)
    named = None if source.kind == "gguf" else (found := _config(source)).get("dtype", found.get("torch_dtype"))
    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    return kinds.get(str(named), torch.float32 if named is None and source.kind != "gguf" else torch.bfloat16)


def load(
    path: str, *, dtype: torch.dtype, adapter: str | None = None, chat_template: str | None = None
) -> LanguageModel:
    """Load a causal language model and its tokenizer, frozen and in evaluation mode.

    `path` is a transformers folder, a hub id, a GGUF file (dequantised), an adapter's folder (its base is loaded too)
    or a run directory. `adapter` puts an existing PEFT adapter on it. Code that comes with a model is never run.

    Raises ModelError when the files are missing, damaged, of another kind or do not fit together, MachineError when the
    hub cannot be reached or the memory does not suffice.
    """
    source = locate(path, adapter=adapter)
    if source.kind != "gguf":
        _config(source)
    tokenizer = tokenizer_of(source, chat_template)
    with quiet():
        model, notes = _load_base(source, dtype)
        _check_vocabulary(model, tokenizer, source)
        if source.adapter is not None:
            model = _put_on(model, source.adapter)
    model.requires_grad_(False)
    return LanguageModel(
        model=model.eval(),
        tokenizer=tokenizer,
        source=source.base,
        weights_digest=digest_weights(model),
        adapter_digest=digest_adapter(model),
        notes=notes,
    )


def _native_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _config(source: Source) -> dict[str, Any]:
    """The model's configuration, checked for what Fairlead can use."""
    from transformers import PreTrainedConfig

    if source.kind == "folder":
        config = read_json(Path(source.base) / "config.json")
    else:
        try:
            with hub_faults(source.base), quiet():
                config, _ = PreTrainedConfig.get_config_dict(**source.arguments)
        except UNREADABLE as error:
            raise ModelError(f"{source.base} cannot be read as a model: {error}") from error
    _check_kind(config, source.base)
    return config


def _check_kind(config: dict[str, Any], base: str) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise ModelError(f"{base} is an encoder-decoder model ({kind}). Give a decoder-only (causal) language model.")
    if kind not in CONFIG_MAPPING_NAMES:
        why = (
            "it brings its own code (auto_map), which is never run" if config.get("auto_map") else "it is unknown here"
        )
        raise ModelError(
            f"The architecture of {base}, {kind}, cannot be loaded: {why}. Give a model whose architecture is part of "
            f"transformers, or upgrade transformers."
        )
    if "vision_config" in config or "audio_config" in config:
        raise ModelError(f"{base} ({kind}) also takes images or sound. Give a text-only model of that family.")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(f"{base} ({kind}) is no language model that continues a text. Give a causal language model.")


def _load_base(source: Source, dtype: torch.dtype) -> tuple[Any, tuple[str, ...]]:
    from transformers import AutoModelForCausalLM, GgufConfig

    extra: dict[str, Any] = {"use_safetensors": True}
    if source.kind == "gguf":
        extra = {"quantization_config": GgufConfig(dequantize=True)}
    if source.kind == "folder":
        _check_files(Path(source.base))
    try:
        with hub_faults(source.base):
            model, found = AutoModelForCausalLM.from_pretrained(
                **source.arguments, **extra, dtype=dtype, trust_remote_code=False, output_loading_info=True
            )
    except (*UNREADABLE, SafetensorError, MemoryError) as error:
        raise _loading_error(source.base, error) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"The weights of {source.base} are incomplete: {_some(missing)} missing. Copy the model again; nothing is "
            f"made up in their place."
        )
    notes = []
    if found["unexpected_keys"]:
        notes.append(f"{_some(sorted(found['unexpected_keys']))} in {source.base} not used by {type(model).__name__}.")
    if source.kind == "gguf":
        _forget_quantisation(model)
        notes.append(f"{source.base} was dequantised: these are the weights after quantisation, not the originals.")
    model.config.name_or_path = model.name_or_path = source.base
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tuple(notes)


def _check_files(folder: Path) -> None:
    """Name what is wrong with the weight files before transformers meets them."""
    if (folder / WEIGHTS_INDEX).is_file() and not (folder / WEIGHTS).is_file():
        names = sorted(set(read_json(folder / WEIGHTS_INDEX).get("weight_map", {}).values()))
    else:
        names = [WEIGHTS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing and next(folder.glob("*.bin"), None) is not None:
        raise ModelError(
            f"The folder {folder} holds its weights as pickle (*.bin), which can run code and is never read. Convert "
            f"it to safetensors with transformers: from_pretrained, then save_pretrained."
        )
    if missing:
        raise ModelError(f"The folder {folder} holds no complete weights: {_some(missing)} missing. Copy it again.")
    for name in names:
        try:
            with safe_open(folder / name, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{folder / name} is damaged ({error}). Copy it again.") from error


def _loading_error(base: str, error: BaseException) -> FairleadError:
    text = " ".join(str(error).split())[:400] or type(error).__name__
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text:
        return MachineError(f"There is not enough memory to load {base}. Close other programs or take a smaller model.")
    if isinstance(error, ImportError):
        return MachineError(f"{base} needs a package that is not installed: {text}")
    return ModelError(f"{base} cannot be loaded: {text}")


def _check_vocabulary(model: Any, tokenizer: Any, source: Source) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values()) >= rows:
        raise ModelError(
            f"The tokenizer knows {len(tokenizer)} tokens, but {source.base} embeds {rows}. Model and tokenizer do not "
            f"belong together: take both from the same place."
        )


def _forget_quantisation(model: Any) -> None:
    """Dequantised weights are plain weights: without this the model refuses to be saved or trained."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _put_on(model: Any, folder: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    kind = read_json(folder / "adapter_config.json").get("peft_type")
    if kind != "LORA":
        raise ModelError(f"The adapter {folder} is of the kind {kind}. Only LoRA adapters can be used.")
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise ModelError(f"The adapter {folder} has no {file.name} (other weight files can run code and are not read).")
    try:
        with safe_open(file, framework="pt") as opened:
            stored = set(opened.keys())
        wrapped = PeftModel.from_pretrained(model, str(folder), adapter_name=ADAPTER)
    except (*UNREADABLE, SafetensorError) as error:
        text = " ".join(str(error).split())
        fits = "size mismatch" not in text and "not found in the base model" not in text
        problem = "is damaged" if fits else f"does not fit {model.config.name_or_path}"
        remedy = "Copy it again." if fits else "Give the base that it was made for as model.path."
        shown = text if len(text) <= 160 else f"{text[:160]}…"
        raise ModelError(f"The adapter {folder} {problem} ({shown}). {remedy}") from error
    expected = set(get_peft_model_state_dict(wrapped, adapter_name=ADAPTER, save_embedding_layers=False))
    if expected != stored:
        raise ModelError(
            f"The adapter {folder} does not fit {model.config.name_or_path}: {_some(sorted(expected ^ stored))} on one "
            f"side only. Give the base that it was made for as model.path."
        )
    return wrapped


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return (
        f"{shown} and {len(names) - 3} more are" if len(names) > 3 else f"{shown} {'are' if len(names) > 1 else 'is'}"
    )
