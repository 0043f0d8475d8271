from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from fairlead.progress import SILENT, Meter, terminal_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that moves by `seconds` each time it is read."""
    now = -seconds

    def clock() -> float:
        nonlocal now
        now += seconds
        return now

    return clock


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with SILENT.task("train", total=2, unit="steps") as task:
        task.advance(loss=0.5)
        SILENT.say("something worth knowing")
    assert capsys.readouterr() == ("", "")


def test_a_meter_puts_its_state_into_words() -> None:
    meter = Meter(total=400, unit="steps", done=100, clock=ticking(0.5))
    assert (meter.count_text, meter.rate_text, meter.left_text) == ("100/400 steps", "", "")
    meter.advance(1, {"loss": 0.61239, "rewards/accuracies": 0.7})
    meter.advance(1, {"loss": 0.5})
    assert meter.count_text == "102/400 steps"
    assert meter.rate_text == "2.0 steps/s"
    assert meter.left_text == "2:29 left"
    assert meter.fields_text == "loss 0.5  rewards/accuracies 0.7"


def test_hours_are_written_out_and_nothing_is_left_at_the_end() -> None:
    meter = Meter(total=3701, unit="rows", clock=ticking(1.0))
    meter.advance(1, {})
    assert meter.left_text == "1:01:40 left"
    meter.advance(3700, {})
    assert meter.left_text == ""


def test_the_rate_forgets_a_slow_start() -> None:
    times = iter([0.0, *(1000.0 + i for i in range(100))])
    meter = Meter(total=1000, unit="rows", clock=lambda: next(times))
    for _ in range(100):
        meter.advance(1, {})
    assert meter.rate == pytest.approx(1.0)


def test_off_a_terminal_a_line_comes_now_and_then_and_at_the_end() -> None:
    stream = io.StringIO()
    progress = terminal_progress(stream, seconds=5.0, clock=ticking(1.0))
    with progress.task("score", total=7, unit="rows") as task:
        for _ in range(7):
            task.advance(loss=0.25)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 6
    assert all(line.startswith("score: ") for line in lines)
    assert "7/7 rows" in lines[-1]
    assert "loss 0.25" in lines[-1]
    assert "\x1b" not in stream.getvalue()


def test_a_task_that_fails_leaves_its_last_line() -> None:
    stream = io.StringIO()

    def fail_at_the_third() -> None:
        with terminal_progress(stream).task("score", total=7, unit="rows") as task:
            task.advance(2)
            raise ValueError

    with pytest.raises(ValueError):
        fail_at_the_third()
    assert "2/7 rows" in stream.getvalue()


def test_bars_on_a_terminal_nest(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Terminal()
    progress = terminal_progress(stream)
    with progress.task("train [x]", total=2, unit="steps") as outer:
        with progress.task("evaluate", total=3, unit="batches") as inner:
            inner.advance(3)
        outer.advance(loss=0.5)
        outer.advance(loss=0.5)
    shown = stream.getvalue()
    assert "train [x]" in shown
    assert "2/2 steps" in shown
    assert "loss 0.5" in shown
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_what_is_said_is_a_line_of_its_own(stream: io.StringIO) -> None:
    progress = terminal_progress(stream)
    with progress.task("train", total=1, unit="steps"):
        progress.say("reference: my-model [4f2a]")
    assert any(line.rstrip().endswith("reference: my-model [4f2a]") for line in stream.getvalue().splitlines())
