"""What a model path means: a transformers folder, a GGUF file, a hub id, an adapter, or a run that made one."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fairlead.errors import FairleadError, MachineError, ModelError
from fairlead.models.stack_record import RECORD, PlacedAdapter, Quantization, read_record

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
RUN_ARTIFACTS = ("artifacts/model", "artifacts/adapter")
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    ImportError,
    RuntimeError,
    struct.error,
)
"""What the readers of model files raise when a file is not what it should be."""
ADAPTER_FILES = ["adapter_config.json", "adapter_model.safetensors", "tokenizer*", "special_tokens*", "*.jinja"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where weights come from. `base` is an absolute path or a hub id.

    `adapters` lie on it in this order, the first on the base itself; a digest is one that was recorded. `quantize` is
    how the base was quantised when the uppermost of them was trained.
    """

    kind: Literal["folder", "gguf", "hub"]
    base: str
    adapters: tuple[PlacedAdapter, ...] = ()
    quantize: Quantization | None = None

    @property
    def adapter(self) -> Path | None:
        """Folder of the uppermost adapter."""
        return Path(self.adapters[-1].path) if self.adapters else None

    @property
    def arguments(self) -> dict[str, Any]:
        """How the `from_pretrained` functions of transformers are told about it."""
        if self.kind == "gguf":
            path = Path(self.base)
            return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        return {"pretrained_model_name_or_path": self.base}


def locate(path: str, *, adapter: str | None = None) -> Source:
    """Find what `path` (and the adapter to put on it) stands for; loads nothing.

    Raises ModelError when nothing usable is there, saying what was found and what to give instead.
    """
    source = _locate(path)
    if adapter is None:
        return source
    if source.adapter is not None:
        raise ModelError(
            f"{path} is itself an adapter (on {source.base}), so the adapter {adapter} cannot be put on it. Merge the "
            f"first one with `fairlead merge {path}` and give the merged model, or give its base as model.path."
        )
    return _under(source, _locate_adapter(adapter))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises ModelError when there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as JSON ({error}). Copy the model folder again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} does not hold a JSON object. Copy the model folder again.")
    return value


def _locate(path: str) -> Source:
    place = Path(path).expanduser()
    if place.is_dir():
        return _locate_folder(place.resolve())
    if place.is_file():
        if place.suffix.lower() != ".gguf":
            raise ModelError(
                f"{path} is a file but no .gguf file. Give a transformers folder, a hub id or a GGUF file."
            )
        with open(place, "rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path} is damaged: a GGUF file begins with the letters GGUF. Copy it again.")
        return Source(kind="gguf", base=str(place.resolve()))
    if not HUB_ID.fullmatch(path) or place.suffix.lower() == ".gguf":
        raise ModelError(f"There is no model at {path}: no such file or folder, and it cannot be a hub id either.")
    return Source(kind="hub", base=path)


def _locate_folder(folder: Path) -> Source:
    if (folder / "run.json").is_file():
        for artifact in RUN_ARTIFACTS:
            if (folder / artifact).is_dir():
                return _locate_folder(folder / artifact)
        raise ModelError(
            f"The run {folder} has no model yet: {' or '.join(RUN_ARTIFACTS)} is missing. Has it finished?"
        )
    if (folder / "config.json").is_file():
        return Source(kind="folder", base=str(folder))
    if (folder / "adapter_config.json").is_file():
        return _under(_base_of_adapter(folder), folder)
    hint = "Give a transformers folder, a hub id, a GGUF file or a run directory."
    ggufs = sorted(folder.glob("*.gguf"))
    if ggufs:
        hint = f"It holds GGUF files: give one of them, for instance {ggufs[0]}."
    raise ModelError(f"The folder {folder} holds no model: config.json is missing. {hint}")


def _under(base: Source, folder: Path) -> Source:
    """The base under the adapter in `folder` and those that this one was trained over."""
    record = read_record(folder)
    for adapter in record.beneath:
        if not (Path(adapter.path) / "adapter_config.json").is_file():
            raise ModelError(
                f"The adapter {folder} was trained over the adapter {adapter.path}, which is not there. Put it back, "
                f"or correct its path in {folder / RECORD}."
            )
    return replace(base, adapters=(*record.beneath, PlacedAdapter(path=str(folder))), quantize=record.quantize)


def _base_of_adapter(folder: Path) -> Source:
    named = read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise ModelError(
            f"{folder}/adapter_config.json does not name its base model (base_model_name_or_path). Give the base as "
            f"model.path and this folder as model.adapter."
        )
    beside = folder / named
    try:
        source = _locate(str(beside) if not Path(named).exists() and beside.exists() else named)
    except ModelError as error:
        raise ModelError(
            f"The adapter {folder} was made for the base model {named}, which cannot be used: {error} If the base has "
            f"moved, give its place as model.path and this folder as model.adapter."
        ) from error
    if source.adapter is not None:
        raise ModelError(
            f"The adapter {folder} names another adapter, {named}, as its base. Merge that one with "
            f"`fairlead merge {named}`; then give the merged model as model.path and this folder as model.adapter."
        )
    return source


def _locate_adapter(path: str) -> Path:
    folder = Path(path).expanduser()
    if (folder / "run.json").is_file():
        folder = folder / "artifacts" / "adapter"
    if not folder.exists() and HUB_ID.fullmatch(path):
        from huggingface_hub import snapshot_download

        with hub_faults(path):
            folder = Path(snapshot_download(path, allow_patterns=ADAPTER_FILES))
    if not (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"There is no adapter at {path}: adapter_config.json is missing. Give a PEFT adapter's folder."
        )
    return folder.resolve()


@contextmanager
def hub_faults(name: str) -> Iterator[None]:
    """Turn what can go wrong on the way to the hub into errors with a remedy."""
    try:
        yield
    except FairleadError:
        raise
    except Exception as error:
        chain = [type(link).__name__ for link in _causes(error)]
        if "GatedRepoError" in chain:
            problem = "its owner has to grant access: ask for it on its page and log in with `hf auth login`."
        elif "RepositoryNotFoundError" in chain:
            problem = f"neither a local path nor a model on the hub has that name (from {Path.cwd()})."
        elif {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectTimeout"} & set(chain):
            raise MachineError(
                f"{name} is no local path (looked from {Path.cwd()}), and the hub cannot be reached to look for it "
                f"there. Connect to the network, or download the model elsewhere and give its folder."
            ) from error
        else:
            raise
        raise ModelError(f"The model {name} cannot be had: {problem}") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
