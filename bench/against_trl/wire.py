"""How the two processes of a cell are led: a word in, a line of JSON out, one step at a time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

READY, STEP, END = "ready", "step", "end"
GO = "go"
TAIL = 12


class Ended(Exception):
    """The word came that no further step is wanted."""


class WorkerFailed(Exception):
    """A contender ended, said nothing for too long, or said something that was not asked for."""


class Turnstile:
    """The worker's side: it waits for leave before each step, and says how the step went."""

    def __init__(self, words: IO[str], answers: IO[str]) -> None:
        self.words, self.answers = words, answers

    @classmethod
    def of_process(cls) -> Turnstile:
        """Over stdin and stdout; what libraries print goes to stderr from now on."""
        answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        return cls(sys.stdin, answers)

    def wait(self) -> None:
        """Until the next step may begin; raises Ended where there is none."""
        if self.words.readline().strip() != GO:
            raise Ended

    def say(self, event: str, **what: Any) -> None:
        """One line of JSON."""
        self.answers.write(json.dumps({"event": event, **what}) + "\n")
        self.answers.flush()


class Worker:
    """The leader's side of one contender's process. `log` takes what it prints."""

    def __init__(self, command: Sequence[str], log: Path, *, extra: dict[str, str], folder: Path) -> None:
        self.log = log
        with log.open("w", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **extra},
                cwd=folder,
            )

    def ask(self, word: str) -> None:
        """Send a word."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{word}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerFailed(self._why("ended")) from error

    def hear(self, event: str, *, until: float) -> dict[str, Any]:
        """The next answer, which must be of this kind; raises WorkerFailed after the moment `until` (monotonic)."""
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not readable:
            raise WorkerFailed(self._why("did not answer in time"))
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise WorkerFailed(self._why(f"ended with exit code {self.process.returncode}"))
        answer: dict[str, Any] = json.loads(line)
        if answer.pop("event") != event:
            raise WorkerFailed(self._why(f"said {line.decode().strip()} where {event} was due"))
        return answer

    def close(self) -> None:
        """End the process if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def _why(self, what: str) -> str:
        last = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        return "\n".join([f"{self.log.stem} {what}", *last])


def peak_memory() -> int:
    """The most memory this process has had resident, in bytes."""
    return _status("VmHWM")


def resident_memory() -> int:
    """The memory this process has resident now, in bytes."""
    return _status("VmRSS")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
