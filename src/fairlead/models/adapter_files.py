"""Adapters from their folders onto a base: checked before and after, so that nothing is left out or made up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fairlead.errors import ModelError
from fairlead.models.sources import UNREADABLE, read_json
from fairlead.models.stack_record import PlacedAdapter
from fairlead.models.stacks import ADAPTER, BENEATH, activate, adapter_names, settle_adapter
from fairlead.models.weights import digest_adapter

FILE = "adapter_model.safetensors"


def put_on(model: Any, adapters: Sequence[PlacedAdapter]) -> tuple[Any, tuple[PlacedAdapter, ...]]:
    """The model under the adapters in this order, and the adapters with their digests as loaded.

    Raises ModelError for an adapter of another kind, one that does not fit the base, and one that has other content
    than when the next was trained over it.
    """
    placed = []
    for index, adapter in enumerate(adapters):
        name = ADAPTER if index == len(adapters) - 1 else f"{BENEATH}{index}"
        model = _put_on(model, Path(adapter.path), name)
        digest = digest_adapter(model, name)
        if adapter.digest not in ("", digest):
            raise ModelError(
                f"The adapter {adapters[-1].path} was trained over the adapter {adapter.path}, which has other content "
                f"now. Put the one that it was trained over back there."
            )
        placed.append(PlacedAdapter(path=adapter.path, digest=digest))
    activate(model, adapter_names(model))
    return model, tuple(placed)


def some(names: list[str]) -> str:
    """The first few of many names, with a verb."""
    shown = ", ".join(names[:3])
    return (
        f"{shown} and {len(names) - 3} more are" if len(names) > 3 else f"{shown} {'are' if len(names) > 1 else 'is'}"
    )


def _put_on(model: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    base = model.config.name_or_path
    _check_kind(folder)
    file = folder / FILE
    if not file.is_file():
        raise ModelError(f"The adapter {folder} has no {file.name} (other weight files can run code and are not read).")
    try:
        with safe_open(file, framework="pt") as opened:
            stored = set(opened.keys())
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), adapter_name=name)
        else:
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=name)
        if settle_adapter(model, name):
            model.load_adapter(str(folder), adapter_name=name)  # once more, now that nothing is rounded
    except (*UNREADABLE, SafetensorError) as error:
        raise _misfit(folder, base, error) from error
    expected = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    if expected != stored:
        raise ModelError(
            f"The adapter {folder} does not fit {base}: {some(sorted(expected ^ stored))} on one side only. Give the "
            f"base that it was made for as model.path."
        )
    return model


def _check_kind(folder: Path) -> None:
    config = read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise ModelError(
            f"The adapter {folder} is of the kind {config.get('peft_type')}. Only LoRA and DoRA adapters can be used."
        )
    for field, plain in (("bias", ("none", None)), ("lora_bias", (False, None)), ("trainable_token_indices", (None,))):
        if config.get(field) not in plain:
            raise ModelError(
                f"The adapter {folder} was trained with PEFT's {field}: {config[field]}, which cannot be used: with it "
                f"switched off the model would not be the base. Merge it with PEFT and give the merged model."
            )


def _misfit(folder: Path, base: str, error: BaseException) -> ModelError:
    text = " ".join(str(error).split())
    sizes = re.search(r"size mismatch for (\S+):", text)
    if sizes is not None and ".lora_" not in sizes.group(1):
        return ModelError(
            f"The adapter {folder} holds embeddings or an output head of another vocabulary than that of {base}. Give "
            f"the base that it was made for as model.path, with the tokenizer that lies beside the adapter."
        )
    fits = sizes is None and "not found in the base model" not in text
    problem = "is damaged" if fits else f"does not fit {base}"
    remedy = "Copy it again." if fits else "Give the base that it was made for as model.path."
    shown = text if len(text) <= 160 else f"{text[:160]}…"
    return ModelError(f"The adapter {folder} {problem} ({shown}). {remedy}")
