"""Data sets of the Hugging Face hub, by id, where the package `datasets` is installed (the extra `hub`).

A name is `hub:ID`, `hub:ID:SPLIT` or `hub:ID:CONFIG:SPLIT`; ID is owner/name, or a local folder of data files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead.data.ledger import Rejected
from fairlead.data.tables import Record, json_value
from fairlead.errors import DataError, MachineError
from fairlead.identity import canonical_json

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hub:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_hub_name(path: str | Path) -> bool:
    """Whether a path names a data set of the hub."""
    return isinstance(path, str) and path.startswith(HUB)


def open_hub(name: str) -> tuple[Iterator[Record], Callable[[], str]]:
    """The rows of one split, and a function that gives the sha256 (hex) of their canonical JSON once all are read.

    Raises `MachineError` where `datasets` is not installed or the hub cannot be reached; `DataError` (`missing_file`)
    where there is no such data set, config or split, and where a split has to be named.
    """
    rows = _load(name)
    state = hashlib.sha256()

    def records() -> Iterator[Record]:
        for number, row in enumerate(rows, start=1):
            try:
                value = {key: json_value(item, key) for key, item in row.items()}
                state.update(canonical_json(value) + b"\n")
                yield number, value
            except Rejected as rejected:
                state.update(repr(row).encode(errors="surrogatepass") + b"\n")
                yield number, rejected
            except UnicodeEncodeError:
                yield number, Rejected("lone_surrogate")

    return records(), state.hexdigest


def raw_rows(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of one split as they are kept, with their numbers."""
    yield from enumerate(_load(name), start=1)


def _load(name: str) -> Dataset:
    parts = name.removeprefix(HUB).split(":")
    if len(parts) > 3 or not all(parts):
        problem = "is not hub:ID, hub:ID:SPLIT or hub:ID:CONFIG:SPLIT."
        raise DataError(problem, path=name, code="missing_file")
    identifier, config = parts[0], parts[1] if len(parts) == 3 else None
    split = parts[-1] if len(parts) > 1 else None
    found = _download(name, identifier, config)
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split not in found:
        problem = "has several splits" if split is None else f"has no split {split!r}"
        whole = ":".join([identifier, *([config] if config else [])])
        ways = ", ".join(f"{HUB}{whole}:{each}" for each in found)
        raise DataError(f"{problem}. Write one of {ways}.", path=name, code="missing_file")
    return found[split]


def _download(name: str, identifier: str, config: str | None) -> dict[str, Dataset]:
    """All splits by name."""
    try:
        import datasets
    except ImportError:
        remedy = "Install it with: pip install 'fairlead[hub]'. Or download the files and name them."
        raise MachineError(f"{name}: data sets of the hub are read with the package datasets. {remedy}") from None
    datasets.disable_progress_bars()
    try:
        return dict(datasets.load_dataset(identifier, name=config))
    except (ConnectionError, TimeoutError) as error:
        raise MachineError(f"{name}: the hub cannot be reached ({_first_line(error)}). Check the network.") from None
    except (FileNotFoundError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"cannot be loaded: {_first_line(error)}", path=name, code="missing_file") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
