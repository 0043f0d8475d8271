"""What an adapter was trained over, kept beside it: adapters beneath it, and quantised base weights.

PEFT's own adapter_config.json names the base and nothing else. Where an adapter lies over others, or was trained on
weights in 4 bits, fairlead.json in its folder says so and README.md tells how PEFT alone puts it together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairlead.errors import ModelError

RECORD, README = "fairlead.json", "README.md"
FORMAT = 1

Quantization = Literal["nf4"]


@dataclass(frozen=True, kw_only=True)
class PlacedAdapter:
    """An adapter in a stack: the folder it lies in and its digest, either empty where it is not known (yet)."""

    path: str = ""
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class StackRecord:
    """What an adapter lies on: how the base weights were quantised, and the adapters beneath, from the base up."""

    quantize: Quantization | None = None
    beneath: tuple[PlacedAdapter, ...] = ()


def read_record(folder: Path) -> StackRecord:
    """The record of the adapter in `folder`; that of an adapter straight on plain weights where there is none.

    Relative paths in it are seen from `folder`. Raises ModelError when it cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return StackRecord()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or content["quantize"] not in (None, "nf4"):
            raise ValueError(f"format {content['format']}, quantize {content['quantize']}")
        beneath = tuple(
            PlacedAdapter(path=str(folder / item["path"]), digest=str(item["digest"])) for item in content["beneath"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path}, which says what this adapter was trained over, cannot be read ({error!r}). Copy the adapter "
            f"again, or upgrade Fairlead."
        ) from error
    return StackRecord(quantize=content["quantize"], beneath=beneath)


def write_record(folder: Path, record: StackRecord, *, base: str) -> None:
    """Write the record of the adapter in `folder` and how to load it with PEFT; nothing where there is none to keep."""
    if record == StackRecord():
        return
    content: dict[str, Any] = {"format": FORMAT, "base": base} | asdict(record)
    (folder / RECORD).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (folder / README).write_text(_readme(record, base), encoding="utf-8")


def _readme(record: StackRecord, base: str) -> str:
    quantized = ", in 4 bits (NF4, double quantisation)" if record.quantize else ""
    order = [f"the base `{base}`{quantized}"]
    order += [f"the adapter `{adapter.path}` (digest {adapter.digest})" for adapter in record.beneath]
    listed = "\n".join(f"{number}. {what}" for number, what in enumerate([*order, "the adapter in this folder"], 1))
    names = [f"beneath{index}" for index in range(len(record.beneath))] + ["top"]
    folders = [*(adapter.path for adapter in record.beneath), "this folder"]
    lines = ["import torch", "from peft import PeftModel", "from transformers import AutoModelForCausalLM", ""]
    if record.quantize:
        lines[2] += ", BitsAndBytesConfig"
        lines += [
            "config = BitsAndBytesConfig(",
            '    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,',
            "    bnb_4bit_compute_dtype=torch.bfloat16,",
            ")",
        ]
    extra = ", quantization_config=config" if record.quantize else ""
    lines.append(f"model = AutoModelForCausalLM.from_pretrained({base!r}, dtype=torch.float32{extra})")
    lines.append(f"model = PeftModel.from_pretrained(model, {folders[0]!r}, adapter_name={names[0]!r})")
    rest = zip(folders[1:], names[1:], strict=True)
    lines += [f"model.load_adapter({folder!r}, adapter_name={name!r})" for folder, name in rest]
    if record.beneath:
        lines.append(f"model.base_model.set_adapter({names!r})")
    code = "\n".join(lines)
    return (
        "# An adapter and what lies beneath it\n\n"
        f"This adapter was trained over, and is right only on, what comes before it:\n\n{listed}\n\n"
        "All of them act together. Fairlead reads this from fairlead.json; with PEFT alone:\n\n"
        f"```python\n{code}\n```\n\n"
        "`fairlead merge` makes one model of them, or merges the uppermost adapter into the one beneath.\n"
    )
