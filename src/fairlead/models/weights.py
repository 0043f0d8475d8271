"""Weights as content and as files: digests, safetensors folders, merging."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
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
from fairlead.models.stack_record import PlacedAdapter, StackRecord, write_record
from fairlead.models.stacks import ADAPTER, adapter_names, has_adapter, trained_copies


def digest_weights(model: Any) -> str:
    """sha256 over names, types, shapes and bytes of the base weights; the same with and without an adapter on them."""
    return _digest(_base_tensors(model))


def digest_adapter(model: Any, name: str = ADAPTER) -> str:
    """sha256 over an adapter's weights and what scales them; empty for a model without adapter."""
    if not has_adapter(model):
        return ""
    from peft import get_peft_model_state_dict

    config = model.peft_config[name]
    scale = [config.r, config.lora_alpha, config.use_rslora, config.rank_pattern, config.alpha_pattern]
    tensors = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return _digest(sorted(tensors.items()), salt=canonical_json(scale))


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

    What it was trained over, if more than plain weights, is recorded beside it. Raises as `save_model`.
    """
    assert has_adapter(lm.model)
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(lm.model, adapter_name=ADAPTER, save_embedding_layers=False)
    write_adapter(lm, folder, tensors, adapter_config(lm.model), beneath=lm.adapters[:-1])


def write_adapter(
    lm: LanguageModel,
    folder: str | Path,
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    *,
    beneath: tuple[PlacedAdapter, ...],
) -> None:
    """Write an adapter for the base of `lm` by its tensors and PEFT configuration. Raises as `save_model`."""
    config = {**config, "inference_mode": True, "base_model_name_or_path": lm.source}

    def write(aside: Path) -> None:
        # Copies, because a head tied to the embeddings is the same memory under two names, which the format refuses.
        whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
        save_file(whole, aside / "adapter_model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True, default=_plain)
        (aside / "adapter_config.json").write_text(text + "\n", encoding="utf-8")
        write_record(aside, StackRecord(quantize=lm.quantize, beneath=beneath), base=lm.source)
        _save_tokenizer(lm.tokenizer, aside)

    _write_whole(Path(folder), write)


def adapter_config(model: Any, name: str = ADAPTER) -> dict[str, Any]:
    """PEFT's configuration of an adapter on the model, as it is written down."""
    config: dict[str, Any] = model.peft_config[name].to_dict()
    # PEFT takes the tied head out of the list once it has tied it, and by some families' names does not tie it again.
    tied = set(getattr(model.peft_config[name], "modules_to_tie", None) or ())
    return config | ({"modules_to_save": sorted({*config["modules_to_save"], *tied})} if tied else {})


def merged(lm: LanguageModel, *, dtype: torch.dtype) -> LanguageModel:
    """The model with its adapters added into the base weights, rounded to `dtype`, in place: `lm` is used up.

    They are added in their order, from the base up. Raises ModelError when a merged weight is not finite.
    """
    assert has_adapter(lm.model)
    model: Any = lm.model
    names = adapter_names(model)
    for name in [name for name in model.peft_config if name not in names]:
        model.delete_adapter(name)
    model.base_model.set_adapter(list(names), inference_mode=True)
    whole_copies = [copy for name in names for _, copy in trained_copies(model, name)]
    try:
        with quiet():
            whole = model.merge_and_unload(safe_merge=True, adapter_names=list(names))
    except ValueError as error:
        raise ModelError(f"The adapter cannot be merged into {lm.source}: {error}") from error
    for copy in whole_copies:  # modules like any other from here on
        copy._forward_hooks.clear()
        copy._forward_pre_hooks.clear()
    whole.to(dtype).requires_grad_(False)
    return replace(lm, model=whole, weights_digest=digest_weights(whole), adapters=(), quantize=None)


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
