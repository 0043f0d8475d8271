"""The content of a frontier.json like a real one, for tests and for looking at its figure."""

from __future__ import annotations

from typing import Any


def measure(value: float | None, half: float, unit: str, direction: str = "none", n: int = 120) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "n": n, "unit": unit, "direction": direction}


def point(name: str, kl: float | None, wins: float | None, **more: Any) -> dict[str, Any]:
    measures = {
        "kl/k1": measure(kl, 0.1 * (kl or 0), "nats"),
        "judge/win_rate": measure(wins, 0.07, "share", "up"),
        "ranking_accuracy": measure(0.6, 0.05, "share", "up"),
    }
    folder = f"points/{name}"
    return {
        "name": name,
        "settings": {"loss.beta": 0.1},
        "run": f"{folder}/train",
        "eval": f"{folder}/eval",
        "judge": f"{folder}/judge",
        "measures": measures,
        "constraints": [],
        "on_front": True,
        "eligible": True,
    } | more


FAILS = {"text": "required_phrase/dispute ≥ 0.9", "passed": False, "evidence": "0.45, n = 60: below the minimum"}


def frontier(*points: dict[str, Any], picked: str | None = "beta=0.3", **more: Any) -> dict[str, Any]:
    shown = points or (
        point("base", 0.0, 0.5, run=None, judge=None, settings={}),
        point("beta=0.5", 1.2, 0.58),
        point("beta=0.3", 2.6, 0.66),
        point("beta=0.2", 3.1, 0.64, on_front=False),
        point("beta=0.1", 6.4, 0.71, eligible=False, constraints=[FAILS]),
        point("beta=0.05", 14.0, 0.69, eligible=False, on_front=False, constraints=[FAILS]),
    )
    return {
        "format": 1,
        "x": "kl/k1",
        "y": "judge/win_rate",
        "rule": "the highest judge/win_rate whose constraints hold",
        "points": list(shown),
        "picked": picked,
        "why": "beta=0.3 has the highest judge/win_rate of the 4 of 6 points that are eligible.",
        "diagnoses": [
            {"code": "beta_too_low", "points": ["beta=0.05"], "text": "β is too low, or too much was learnt: …"}
        ],
    } | more
