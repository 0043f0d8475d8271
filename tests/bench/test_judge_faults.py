"""The battery of kills and faults, small: its counts, and that it would see what it is there to see."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.judge_faults import FEW, is_sound, kill_runs, meet

PAID = 2 * FEW + 2 * 2 * 3 + 2 * FEW
"""Questions of a run: both orders, three canaries of both sorts in both orders, every comparison under two opinions."""


def test_two_kills_pay_nothing_twice(tmp_path: Path) -> None:
    found = kill_runs(tmp_path / "run", 2, 20, seed=1)
    assert (found["kills"], found["exit_code"], found["void"]) == (2, 0, [])
    assert found["questions"] == found["kept"] == 2 * 20 + 12 + 2 * 20
    assert found["answers_sent"] == found["questions"] + found["lost_when_killed"]
    assert is_sound({"kills": found, "faults": {}})
    for spoilt in ({"kept_and_asked_again": 1}, {"paid_twice_and_not_lost": 1}, {"most_lost_in_one_kill": 5}):
        assert not is_sound({"kills": found | spoilt, "faults": {}})


def test_a_fault_that_stops_a_run_loses_nothing(tmp_path: Path) -> None:
    found = meet(tmp_path / "run", "500")
    assert (found["exit_code"], found["kept"]) == (3, 10)
    assert (found["exit_code_when_mended"], found["kept_and_asked_again"]) == (0, 0)
    assert found["calls_when_mended"] == PAID - 10


def test_a_fault_that_is_counted(tmp_path: Path) -> None:
    found = meet(tmp_path / "run", "truncated")
    assert (found["exit_code"], found["void"], found["calls"]) == (1, True, PAID)
    assert found["unparsed"] == pytest.approx(1 - 5 / FEW, abs=0.2)
