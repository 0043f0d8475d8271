"""The exceptions a user may meet.

FairleadError                 exit code 2
├── DataError                 a row or a file of rows is at fault: path, line, field, reason code
├── ConfigError               a configuration is at fault: every fault at once
├── ModelError                a model, tokenizer, template or adapter cannot be used as asked
├── RunError                  a run cannot start, resume or go on as asked
│   └── Stopped               a run was asked to stop and has saved its state; exit code 128 + signal
└── MachineError              the environment is at fault (disk, memory, network, device); exit code 3

Each message is one paragraph: what is wrong, where, and what to do. Broken invariants are `assert`, never these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class FairleadError(Exception):
    """Base of every error that is not a bug; `exit_code` is what the command line ends with."""

    exit_code = 2


class DataError(FairleadError):
    """A row or a file of rows that cannot be used; `code` is a reason code of `fairlead.data.ledger`."""

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        line: int | None = None,
        field: str | None = None,
        code: str | None = None,
    ) -> None:
        self.path, self.line, self.field, self.code = path, line, field, code
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a configuration: dotted field, what is wrong, what to write instead."""

    field: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" + (f" {self.remedy}" if self.remedy else "")


class ConfigError(FairleadError):
    """A configuration with one or more faults, all of them listed."""

    def __init__(self, faults: Sequence[Fault], *, source: str = "configuration") -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  - {fault}" for fault in self.faults))


class ModelError(FairleadError):
    """A model, tokenizer, chat template or adapter that cannot be used as asked."""


class RunError(FairleadError):
    """A run that cannot start, resume or go on as asked."""


class Stopped(RunError):
    """A run that was asked to stop by a signal, saved its state and can be resumed."""

    def __init__(self, signal: int, step: int) -> None:
        self.exit_code = 128 + signal
        super().__init__(f"stopped as asked, saved after step {step}. Go on with the same command and --resume.")


class MachineError(FairleadError):
    """The environment is at fault: disk, memory, network, device."""

    exit_code = 3
