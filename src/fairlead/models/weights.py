"""Weights as content and as files: digests, safetensors folders, merging."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fairlead.errors import FairleadError, MachineError, ModelError
from fairlead.identity import canonical_json
from fairlead.models.language_model import LanguageModel
from fairlead.models.quiet import quiet

ADAPTER = "default"
"""Name of the adapter that is trained, saved and merged."""


def digest_weights(model: Any) -> str:
    """sha256 over names, types, shapes and bytes of the base weights; the same with and without an adapter on them."""
    return _digest(_base_tensors(model))


def digest_adapter(model: Any) -> str:
    """sha256 over the adapter's weights and what scales them; empty for a model without adapter."""
    if not has_adapter(model):
        return ""
    from peft import get_peft_model_state_dict

    config = model.peft_config[ADAPTER]
    scale = [config.r, config.lora_alpha, config.use_rslora, config.rank_pattern, config.alpha_pattern]
    tensors = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    return _digest(sorted(tensors.items()), salt=canonical_json(scale))


def has_adapter(model: Any) -> bool:
    """Whether PEFT wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "get_base_model")


def save_model(lm: LanguageModel, folder: str | Path) -> None:
    """Write the full weights, tokenizer and chat template as a folder that transformers loads.

    The folder appears whole or not at all. Raises ModelError when it exists and is not empty, MachineError when the
    disk will not take it.
    """
    assert not has_adapter(lm.model), "merge the adapter first"

    def write(aside: Path) -> None:
        with quiet():
            lm.model.save_pretrained(aside)
        _save_tokenizer(lm.tokenizer, aside)

    _write_whole(Path(folder), write)


def save_adapter(lm: LanguageModel, folder: str | Path) -> None:
    """Write the trained adapter, tokenizer and chat template in PEFT's layout; equal adapters give equal bytes.

    Raises as `save_model`.
    """
    assert has_adapter(lm.model)
    from peft import get_peft_model_state_dict

    model: Any = lm.model
    tensors = get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)
    config = model.peft_config[ADAPTER].to_dict() | {"inference_mode": True, "base_model_name_or_path": lm.source}

    def write(aside: Path) -> None:
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
        save_file(whole, aside / "adapter_model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
        (aside / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        _save_tokenizer(lm.tokenizer, aside)

    _write_whole(Path(folder), write)


def merged(lm: LanguageModel, *, dtype: torch.dtype) -> LanguageModel:
    """The model with its adapter added into the base weights, rounded to `dtype`, in place: `lm` is used up.

    Raises ModelError when a merged weight is not finite.
    """
    assert has_adapter(lm.model)
    model: Any = lm.model
    for name in [name for name in model.peft_config if name != ADAPTER]:
        model.delete_adapter(name)
    try:
        whole = model.merge_and_unload(safe_merge=True, adapter_names=[ADAPTER])
    except ValueError as error:
        raise ModelError(f"The adapter cannot be merged into {lm.source}: {error}") from error
    whole.to(dtype).requires_grad_(False)
    return replace(lm, model=whole, weights_digest=digest_weights(whole), adapter_digest="")


def refuse_taken(folder: Path) -> None:
    """Raise ModelError when something lies at `folder` already, an empty folder aside."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"{folder} exists already and is not an empty folder. Move it away, or give another place.")


def _base_tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Base weights under the names they have without PEFT, tied weights once, by name."""
    base = model.get_base_model() if has_adapter(model) else model
    seen: set[tuple[int, torch.Size]] = set()
    named = {}
    for name, tensor in base.state_dict().items():
        if "lora_" in name or ".modules_to_save." in name or not isinstance(tensor, Tensor):
            continue
        named[name.replace(".base_layer.", ".").replace(".original_module.", ".")] = tensor
    for name, tensor in sorted(named.items()):
        place = (tensor.data_ptr(), tensor.shape)
        if place not in seen:
            seen.add(place)
            yield name, tensor


def _digest(tensors: Iterable[tuple[str, Tensor]], salt: bytes = b"") -> str:
    state = hashlib.sha256(salt)
    for name, tensor in tensors:
        state.update(canonical_json([name, str(tensor.dtype), list(tensor.shape)]))
        flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        state.update(flat.numpy().data)
    return state.hexdigest()


def _save_tokenizer(tokenizer: Any, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":  # unknown to loaders older than transformers 5
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON of what PEFT keeps in its configs: sets and enumerations."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return getattr(value, "value", None) or str(value)


def _write_whole(folder: Path, write: Any) -> None:
    """Write a folder aside, flush it to the disk and rename it into place; leave nothing behind when that fails."""
    refuse_taken(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    with _disk_faults(folder):
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            write(aside)
            readable = aside.stat().st_mode & 0o666  # as the umask has it; safetensors writes for the owner alone
            for path in sorted(aside.rglob("*")):
                if path.is_file():
                    path.chmod(readable)
                _flush(path)
            _flush(aside)
            if folder.exists():
                folder.rmdir()
            aside.rename(folder)
            _flush(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _disk_faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except FairleadError:
        raise
    except (OSError, SafetensorError) as error:
        raise MachineError(
            f"{folder} cannot be written: {error}. Nothing was left there. Free some space or give another place."
        ) from error
