"""Write files whole or not at all, and say in plain words why the disk refuses."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fairlead.errors import MachineError

REMEDIES = {
    errno.ENOSPC: "Free some space, or keep the run on another disk (train.output).",
    errno.EDQUOT: "Your disk quota is used up: free some space, or keep the run elsewhere (train.output).",
    errno.EFBIG: "A file outgrew what the disk or ulimit -f allows: keep the run elsewhere (train.output).",
    errno.EACCES: "Check who owns the folder and its permissions, or keep the run elsewhere (train.output).",
    errno.EPERM: "Check who owns the folder and its permissions, or keep the run elsewhere (train.output).",
    errno.EROFS: "Keep the run on a disk that can be written (train.output).",
    errno.EIO: "The disk reports a fault: keep the run on another one (train.output).",
}


@contextmanager
def disk_errors(path: Path) -> Generator[None]:
    """Turn what the disk refuses inside the block (full, forbidden, read-only, broken) into a MachineError.

    Other OSErrors, such as a file that is not there, pass: they are not the machine's fault.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise MachineError(f"{path}: cannot be written ({error.strerror}). {remedy}") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part: aside, fsync, rename, fsync.

    Raises MachineError where the disk refuses; nothing is left beside `path` then.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with disk_errors(path):
        try:
            with open(aside, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of readable JSON: indented, keys as given, NaN refused (ValueError)."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
