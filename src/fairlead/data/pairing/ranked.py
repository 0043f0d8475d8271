"""Several candidates of one prompt, by a score or by the places that people gave them, as comparisons of two."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import isclose
from typing import Any, NamedTuple

from fairlead.data.audit.items import order
from fairlead.data.pairing.comparisons import Comparison, Found, draw, make_pair, pair_id, usable
from fairlead.data.pairing.judged import verdict
from fairlead.data.pairing.settings import PairingSettings
from fairlead.data.records import Candidate, Candidates, Ranking, RankingAnnotation
from fairlead.errors import ConfigError, DataError, Fault


class Verdict(NamedTuple):
    """a, b, or the code under which two candidates give no pair; and what a pair's meta says of why."""

    label: str
    facts: dict[str, Any]


class Field(NamedTuple):
    """The candidates of one row that are compared: how high each stands, and how two of them compare."""

    candidates: Sequence[Candidate]
    standing: Mapping[str, float]
    judge: Callable[[Candidate, Candidate], Verdict]


def compare_candidates(rows: Sequence[Candidates | Ranking], settings: PairingSettings) -> Found:
    """Candidates by the score that `score_of` names: the higher is better."""
    name = score_of(rows, settings.score)
    found = Found(score=name)
    for place, row in enumerate(rows):
        candidates = usable(row.candidates, found.left_out)
        scored = [candidate for candidate in candidates if name in candidate.scores]
        if len(scored) < len(candidates):
            found.left_out["unscored"] += len(candidates) - len(scored)
        standing = {candidate.id: float(candidate.scores[name]) for candidate in scored}
        _compare(row, place, Field(scored, standing, _by_score(name, standing, settings)), settings, found)
    return found


def score_of(rows: Sequence[Candidates | Ranking], named: str | None) -> str:
    """The score that is named, else the only one that the candidates carry.

    Raises `DataError` where there is none, `ConfigError` where there are several and none is named, or not this one.
    """
    known = sorted({name for row in rows for candidate in row.candidates for name in candidate.scores})
    if not known:
        remedy = "Score them first (fairlead.score), or give rankings."
        raise DataError(f"no candidate has a score. {remedy}", field="candidates", code="missing_field")
    if named is None and len(known) == 1:
        return known[0]
    if named in known:
        return named
    if named is None:
        fault = Fault(field="score", problem=f"candidates carry several: {', '.join(known)}.", remedy="Name one.")
    else:
        near = difflib.get_close_matches(named, known, n=1)
        meant = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
        fault = Fault(field="score", problem=f"no candidate has a score {named!r}.", remedy=meant)
    raise ConfigError([fault], source="pairs")


def _by_score(
    name: str, standing: Mapping[str, float], settings: PairingSettings
) -> Callable[[Candidate, Candidate], Verdict]:
    def judge(one: Candidate, other: Candidate) -> Verdict:
        first, second = standing[one.id], standing[other.id]
        gap = abs(first - second)
        if first == second:
            return Verdict("tie", {})
        if gap < settings.min_gap and not isclose(gap, settings.min_gap, rel_tol=1e-9):
            return Verdict("gap_too_small", {})
        high, low = max(first, second), min(first, second)
        return Verdict("a" if first > second else "b", {"score": name, "score_chosen": high, "score_rejected": low})

    return judge


def compare_rankings(rows: Sequence[Ranking], settings: PairingSettings) -> Found:
    """Candidates by their settled places, else by those that annotators gave them."""
    found = Found()
    for place, row in enumerate(rows):
        settled = bool(row.ranking or row.best or row.worst)
        if not settled and not row.annotations:
            found.left_out["unplaced"] += 1
            continue
        candidates = usable(row.candidates, found.left_out)
        standing = net_wins(candidates, [row] if settled else row.annotations)
        _compare(row, place, Field(candidates, standing, _by_places(row, settings)), settings, found)
    return found


def _by_places(row: Ranking, settings: PairingSettings) -> Callable[[Candidate, Candidate], Verdict]:
    def judge(one: Candidate, other: Candidate) -> Verdict:
        votes = Counter(label for each in row.annotations if (label := order(each, one.id, other.id)) is not None)
        label = verdict(order(row, one.id, other.id), votes, settings)
        sides = (("chosen", label), ("rejected", "b" if label == "a" else "a"), ("tie", "tie"))
        counted = {name: votes[each] for name, each in sides if votes[each]}
        return Verdict(label, {"votes": counted or None})

    return judge


def net_wins(candidates: Sequence[Candidate], placings: Sequence[Ranking | RankingAnnotation]) -> dict[str, float]:
    """Comparisons won minus lost, of each candidate with each other in each placing: a Borda count that also takes
    placings of the best and the worst alone."""
    wins = dict.fromkeys((candidate.id for candidate in candidates), 0.0)
    for placed in placings:
        for one, other in combinations(wins, 2):
            way = {"a": 1.0, "b": -1.0}.get(order(placed, one, other) or "", 0.0)
            wins[one] += way
            wins[other] -= way
    return wins


def _compare(row: Candidates | Ranking, place: int, field: Field, settings: PairingSettings, found: Found) -> None:
    """Adds the comparisons of one row to `found`."""
    if len(field.candidates) < 2:
        found.left_out["too_few_candidates"] += 1
        return
    for one, other in _meetings(row.id, field, settings):
        label, facts = field.judge(one, other)
        if settings.which != "all" and field.standing[one.id] == field.standing[other.id]:
            label = "tie"
        elif settings.which != "all" and label == "b":
            label = "disagreement"
        if label not in ("a", "b"):
            found.left_out[label] += 1
            continue
        chosen, rejected = (one, other) if label == "a" else (other, one)
        facts = {"chosen_id": chosen.id, "rejected_id": rejected.id} | facts
        facts |= {"chosen_model": chosen.model, "rejected_model": rejected.model}
        name = pair_id(row.id, chosen.id, rejected.id)
        pair = make_pair(row, chosen.messages, rejected.messages, prompt=row.prompt, facts=facts, name=name)
        found.comparisons.append(Comparison(pair, (place,), (place, chosen.id)))


def _meetings(row: str, field: Field, settings: PairingSettings) -> list[tuple[Candidate, Candidate]]:
    """Which candidates are compared; for best-worst and best-rest the better first. Of equals the best, and the worst,
    is drawn."""
    if settings.which == "all":
        return list(combinations(field.candidates, 2))

    def rank(candidate: Candidate) -> tuple[float, int]:
        return field.standing[candidate.id], -draw(settings.seed, row, candidate.id)

    best = max(field.candidates, key=rank)
    others = [candidate for candidate in field.candidates if candidate is not best]
    if settings.which == "best-rest":
        return [(best, other) for other in others]
    worst = min(others, key=lambda candidate: (rank(candidate)[0], draw(settings.seed, row, candidate.id)))
    return [(best, worst)]
