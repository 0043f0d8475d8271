"""Progress of long work: a protocol the library reports to, silence by default, and a display on stderr.

Library functions take `progress: Progress = SILENT`, open one task per pass over something countable and advance it:

    with progress.task("train", total=steps, unit="steps") as task:
        for batch in batches:
            ...
            task.advance(loss=0.61)
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0
SAMPLES_OF_RATE = 50


class Task(Protocol):
    """One bar."""

    def advance(self, count: int = 1, **fields: float) -> None:
        """Say that `count` more units are done; `fields` are shown beside the rate, for instance loss=0.61."""
        ...


class Progress(Protocol):
    """Something that shows how far work has come."""

    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> AbstractContextManager[Task]:
        """Open a task of `total` units, `done` of which were finished before (a resumed run); tasks may nest."""
        ...

    def say(self, text: str) -> None:
        """Tell the user one thing worth knowing, in a line of its own."""
        ...


class _Silence:
    """Shows nothing, as a `Progress` and as each of its tasks."""

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> Generator[Task]:
        yield self

    def advance(self, count: int = 1, **fields: float) -> None:
        return None

    def say(self, text: str) -> None:
        return None


SILENT: Progress = _Silence()


class Meter:
    """Counts units against a clock and puts count, rate, time left and extra fields into words.

    The rate is that of the last `SAMPLES_OF_RATE` advances, so a slow start is forgotten; units done before the
    task was opened do not count towards it.
    """

    def __init__(self, *, total: int, unit: str, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.unit, self.done = total, unit, done
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), done)], maxlen=SAMPLES_OF_RATE)
        self._fields: dict[str, float] = {}

    def advance(self, count: int, fields: dict[str, float]) -> None:
        """Add `count` units and remember the latest value of each field."""
        self.done += count
        self._samples.append((self._clock(), self.done))
        self._fields.update(fields)

    @property
    def rate(self) -> float:
        """Units per second; NaN until time has passed between two advances."""
        (start, before), (end, after) = self._samples[0], self._samples[-1]
        return (after - before) / (end - start) if end > start else math.nan

    @property
    def count_text(self) -> str:
        """For instance `120/400 steps`."""
        return f"{self.done}/{self.total} {self.unit}"

    @property
    def rate_text(self) -> str:
        """For instance `2.1 steps/s`; empty while unknown."""
        if math.isnan(self.rate):
            return ""
        return f"{self.rate:.{0 if self.rate >= 100 else 1 if self.rate >= 1 else 2}f} {self.unit}/s"

    @property
    def left_text(self) -> str:
        """For instance `2:13 left`; empty while unknown and once nothing is left."""
        left = self.total - self.done
        if left <= 0 or math.isnan(self.rate) or self.rate <= 0:
            return ""
        minutes, seconds = divmod(math.ceil(left / self.rate), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"

    @property
    def fields_text(self) -> str:
        """For instance `loss 0.6124  rewards/accuracies 0.71`."""
        return "  ".join(f"{name} {value:.4g}" for name, value in self._fields.items())


class _Bar:
    """A task of `_Bars`."""

    def __init__(self, shown: RichProgress, task: TaskID, meter: Meter) -> None:
        self._shown, self._task, self._meter = shown, task, meter

    def advance(self, count: int = 1, **fields: float) -> None:
        self._meter.advance(count, fields)
        self._shown.update(self._task, completed=self._meter.done, texts=_texts(self._meter))


class _Bars:
    """Live bars on a terminal; nested tasks share one display, which goes away with the last of them."""

    def __init__(self, shown: RichProgress) -> None:
        self._shown = shown
        self._open = 0

    def say(self, text: str) -> None:
        self._shown.console.print(text, markup=False, highlight=False)

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> Generator[Task]:
        meter = Meter(total=total, unit=unit, done=done)
        task = self._shown.add_task(name, total=total, completed=done, texts=_texts(meter))
        if self._open == 0:
            self._shown.start()
        self._open += 1
        try:
            yield _Bar(self._shown, task, meter)
        finally:
            self._open -= 1
            if self._open:
                self._shown.remove_task(task)
            else:
                self._shown.stop()
                self._shown.remove_task(task)


class _Line:
    """A task of `_Lines`."""

    def __init__(self, name: str, meter: Meter, stream: TextIO, seconds: float, clock: Callable[[], float]) -> None:
        self._name, self._meter, self._stream = name, meter, stream
        self._seconds, self._clock = seconds, clock
        self._said_at, self._said_done = clock(), -1

    def advance(self, count: int = 1, **fields: float) -> None:
        self._meter.advance(count, fields)
        if self._clock() - self._said_at >= self._seconds:
            self.write()

    def write(self) -> None:
        """Write the state of the task as a line, unless the last line said the same."""
        if self._meter.done == self._said_done:
            return
        self._said_at, self._said_done = self._clock(), self._meter.done
        words = [f"{self._name}:", *(text for text in _texts(self._meter).values() if text)]
        print("  ".join(words), file=self._stream, flush=True)


class _Lines:
    """A plain line every few seconds and one at the end: for logs and pipes."""

    def __init__(self, stream: TextIO, *, seconds: float, clock: Callable[[], float]) -> None:
        self._stream, self._seconds, self._clock = stream, seconds, clock

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0) -> Generator[Task]:
        meter = Meter(total=total, unit=unit, done=done, clock=self._clock)
        line = _Line(name, meter, self._stream, self._seconds, self._clock)
        try:
            yield line
        finally:
            line.write()


def _texts(meter: Meter) -> dict[str, str]:
    return {
        "count": meter.count_text,
        "rate": meter.rate_text,
        "left": meter.left_text,
        "fields": meter.fields_text,
    }


def terminal_progress(
    stream: TextIO | None = None,
    *,
    seconds: float = SECONDS_BETWEEN_LINES,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Progress for people, written to `stream` (stderr by default).

    On a terminal: one bar per open task with count, rate, time left and the extra fields. Elsewhere: a plain line at
    most every `seconds` and one at the end of each task.
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        return _Lines(stream, seconds=seconds, clock=clock)
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    def text(template: str) -> TextColumn:
        return TextColumn(template, markup=False)

    return _Bars(
        RichProgress(
            text("{task.description}"),
            BarColumn(bar_width=24),
            text("{task.fields[texts][count]}"),
            text("{task.fields[texts][rate]}"),
            text("{task.fields[texts][left]}"),
            text("{task.fields[texts][fields]}"),
            console=Console(file=stream),
            redirect_stdout=False,
        )
    )
