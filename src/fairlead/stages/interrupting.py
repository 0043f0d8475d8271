"""A run that is interrupted: signals that ask it to stop, and a status that tells the truth whatever ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fairlead.errors import FairleadError, Stopped
from fairlead.progress import Progress
from fairlead.runs.directory import RunDirectory, Status


@contextmanager
def status_kept(run: RunDirectory) -> Iterator[None]:
    """Write down how the run stands while the block runs and after it broke off."""

    def note(status: Status) -> None:
        with suppress(FairleadError):  # what broke the run off says more than that this cannot be written either
            run.set_status(status)

    run.set_status("running")
    try:
        yield
    except (Stopped, KeyboardInterrupt):
        note("stopped")
        raise
    except Exception:
        note("failed")
        raise


@contextmanager
def stop_on_signals(progress: Progress) -> Iterator[Callable[[], int | None]]:
    """SIGTERM and Ctrl-C ask the loop to save and stop at the end of the step; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def note(number: int, frame: object) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)
        with suppress(RuntimeError):  # the signal may have come amid another print
            progress.say("stopping after this step; Ctrl-C (again) stops at once")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: asked[0] if asked else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
