from __future__ import annotations

from itertools import combinations
from math import log

import numpy as np
import pytest

from fairlead.evaluation.judging.contract import Side, Verdict
from fairlead.evaluation.judging.ranking import Ranking, rank

Held = list[tuple[str, str, Side | None, str]]


def ranked(held: Held, *, void: bool = False, models: tuple[str, ...] = ("a", "b", "c")) -> Ranking:
    verdicts = [Verdict(id=str(n), judge="panel", outcome=side) for n, (_, _, side, _) in enumerate(held)]
    sides = [(first, second) for first, second, _, _ in held]
    return rank(models, sides, verdicts, [prompt for *_, prompt in held], seed=0, void=void)


def drawn(strengths: dict[str, float], prompts: int = 200) -> Held:
    """Verdicts of the model itself: P(i over j) = σ(strength i − strength j)."""
    rng = np.random.default_rng(5)
    held: Held = []
    for prompt in range(prompts):
        for first, second in combinations(sorted(strengths), 2):
            p = 1 / (1 + np.exp(strengths[second] - strengths[first]))
            held.append((first, second, "candidate" if rng.random() < p else "baseline", str(prompt)))
    return held


def test_strengths_that_made_the_verdicts_are_found() -> None:
    planted = {"a": 0.8, "b": 0.0, "c": -0.8}
    found = ranked(drawn(planted))
    assert found.models == ("a", "b", "c")
    for name, truth in planted.items():
        strength = found.strengths[name]
        assert strength.value == pytest.approx(truth, abs=0.25)
        assert strength.low is not None
        assert strength.high is not None
        assert strength.low < truth < strength.high
        assert (strength.unit, strength.n, strength.slice) == ("nats", 400, {"model": name})
    assert found.win_rates["a"].value is not None
    assert found.win_rates["a"].value > 0.65
    assert [measure.slice["model"] for measure in found.measures] == ["a", "b", "c"] * 2
    assert sum(pair.first_wins + pair.second_wins + pair.ties for pair in found.met) == 600


def test_sides_and_order_decide_nothing() -> None:
    held = drawn({"a": 0.5, "b": 0.0, "c": -0.5}, 40)
    other: dict[Side | None, Side] = {"candidate": "baseline", "baseline": "candidate"}
    turned: Held = [(second, first, other[side], prompt) for first, second, side, prompt in held][::-1]
    assert ranked(turned, models=("c", "a", "b")) == ranked(held)


def test_counts_and_ties() -> None:
    """a beats b in 3 of 4 and ties once, as b does c; so a over b is ln(3.5 / 0.5) at least as fitted from both."""
    held: Held = []
    for first, second in (("a", "b"), ("b", "c")):
        held += [(first, second, "candidate", str(n)) for n in range(3)] + [(first, second, "tie", "3")]
    held.append(("a", "c", None, "0"))
    found = ranked(held)
    assert [(pair.first, pair.second, pair.first_wins, pair.second_wins, pair.ties) for pair in found.met] == [
        ("a", "b", 3, 0, 1),
        ("b", "c", 3, 0, 1),
    ]
    values = {name: found.strengths[name].value for name in "abc"}
    assert values["a"] == pytest.approx(log(7))
    assert values["b"] == pytest.approx(0)
    assert found.win_rates["a"].value == pytest.approx(3.5 / 4)


def test_models_that_never_lose_have_no_strength_but_a_place() -> None:
    held: Held = [("a", "b", "baseline", "0"), ("b", "c", "candidate", "0"), ("a", "c", "candidate", "0")]
    found = ranked(held)
    assert found.models == ("b", "a", "c")
    assert found.strengths["b"].value is None
    assert "no finite value" in found.why
    assert found.win_rates["b"].value == 1


def test_a_void_run_ranks_nobody() -> None:
    found = ranked(drawn({"a": 0.0, "b": 2.0, "c": 1.0}, 10), void=True)
    assert found.models == ("a", "b", "c")
    assert found.met == ()
    assert {measure.value for measure in found.measures} == {None}
