"""The contract of rows that hold several completions and what people said of them: candidates, pairs, rankings."""

from __future__ import annotations

from typing import Any

from fairlead.data.fields import parse_json_text, read_id, read_number, read_objects, read_text, set_aside
from fairlead.data.ledger import Rejected
from fairlead.data.records import Annotation, Candidate, RankingAnnotation
from fairlead.data.turns import Notes, check_completion, is_blank, kind_of_value, read_prompted, read_turns

VERDICTS = frozenset({"a", "b", "tie", "both_bad"})
VERDICT_WORDS = {"equal": "tie", "draw": "tie", "neither": "both_bad"}
UNSETTLED = frozenset({"none", ""})


def read_candidates(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The prompt and the candidates, whose ids differ from one another."""
    fields = read_prompted(row, (), notes)
    if row.get("candidates") is not None:
        items = enumerate(read_objects(row, "candidates", notes))
        found = [_candidate(item, position, notes) for position, item in items]
        if len({candidate.id for candidate in found}) < len(found):
            raise Rejected("bad_field", "candidates", "two candidates share an id")
        fields["candidates"] = tuple(found)
    return fields


def _candidate(value: dict[str, Any], position: int, notes: Notes) -> Candidate:
    where = f"candidates[{position}]"
    name = read_id(value.get("id"), f"{where}.id")
    if name is None:
        raise Rejected("missing_field", f"{where}.id")
    messages = read_turns(value.get("messages"), f"{where}.messages", "assistant", notes)
    check_completion(messages, f"{where}.messages", may_be_blank=True)
    if is_blank(messages[-1]):
        notes.add("empty_candidate", name)
    sampling, scores = value.get("sampling") or {}, value.get("scores") or {}
    if type(sampling) is not dict or type(scores) is not dict:
        raise Rejected("bad_field", where, "sampling and scores are objects")
    set_aside(value, Candidate, where, notes)
    return Candidate(
        id=name,
        messages=messages,
        model=read_text(value, "model", where),
        sampling=sampling,
        scores={key: read_number(score, f"{where}.scores.{key}") for key, score in scores.items()},
    )


def read_judgement(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The prompt, the two responses, what each annotator said, and the settled label."""
    fields = read_prompted(row, ("response_a", "response_b"), notes)
    if row.get("annotations") is not None:
        items = enumerate(read_objects(row, "annotations", notes))
        fields["annotations"] = tuple(_annotation(item, position, notes) for position, item in items)
    label = row.get("label")
    if type(label) is str and label.strip().lower() in UNSETTLED:
        notes.add("label_word", f"label: {label!r} → null")
    elif label is not None:
        fields["label"] = _verdict(label, "label", notes)
    return fields


def _annotation(value: dict[str, Any], position: int, notes: Notes) -> Annotation:
    where = f"annotations[{position}]"
    strength = value.get("strength")
    shown = read_text(value, "shown", where)
    if shown not in (None, "ab", "ba"):
        raise Rejected("bad_field", f"{where}.shown", f"it is {shown!r}; ab or ba is meant")
    set_aside(value, Annotation, where, notes)
    return Annotation(
        label=_verdict(value.get("label"), f"{where}.label", notes),
        strength=None if strength is None else read_number(strength, f"{where}.strength"),
        shown=shown,
        **_circumstances(value, where),
    )


def _circumstances(value: dict[str, Any], where: str) -> dict[str, Any]:
    """Who judged, when, for how long, by which rubric: what annotations of every sort carry."""
    annotator, seconds = read_id(value.get("annotator"), f"{where}.annotator"), value.get("seconds")
    if annotator is None:
        raise Rejected("missing_field", f"{where}.annotator")
    return {
        "annotator": annotator,
        "at": read_text(value, "at", where),
        "seconds": None if seconds is None else read_number(seconds, f"{where}.seconds", least=0.0),
        "rubric": read_text(value, "rubric", where),
        "note": read_text(value, "note", where),
    }


def _verdict(value: Any, field: str, notes: Notes) -> str:
    if type(value) is str:
        if value in VERDICTS:
            return value
        folded = value.strip().lower().replace(" ", "_").replace("-", "_")
        found = folded if folded in VERDICTS else VERDICT_WORDS.get(folded)
        if found is not None:
            notes.add("label_word", f"{field}: {value!r} → {found}")
            return found
    raise Rejected("bad_label", field, f"it is {value!r}; a, b, tie or both_bad is meant")


def read_ranking(row: dict[str, Any], notes: Notes) -> dict[str, Any]:
    """The prompt, two candidates or more, how each annotator placed them, and how they are settled to stand."""
    fields = read_candidates(row, notes)
    candidates = fields.get("candidates", ())
    if len(candidates) < 2:
        raise Rejected("bad_field", "candidates", "a ranking needs at least two")
    known = frozenset(candidate.id for candidate in candidates)
    if row.get("annotations") is not None:
        items = enumerate(read_objects(row, "annotations", notes))
        fields["annotations"] = tuple(_placement(item, position, known, notes) for position, item in items)
    return fields | _places(row, "", known, notes)


def _placement(value: dict[str, Any], position: int, known: frozenset[str], notes: Notes) -> RankingAnnotation:
    where = f"annotations[{position}]"
    shown = value.get("shown")
    set_aside(value, RankingAnnotation, where, notes)
    places = _places(value, f"{where}.", known, notes)
    if not places:
        raise Rejected("missing_field", f"{where}.ranking")
    return RankingAnnotation(
        shown=() if shown is None else _names(shown, f"{where}.shown", known),
        **places,
        **_circumstances(value, where),
    )


def _places(value: dict[str, Any], where: str, known: frozenset[str], notes: Notes) -> dict[str, Any]:
    """The ranking, the best and the worst that an annotation or a row states; each is absent where it does not.

    A place of the ranking is an id, or a list of ids that are tied there. Raises `Rejected`, also where the three
    contradict one another.
    """
    places: dict[str, Any] = {}
    if value.get("ranking") is not None:
        field = f"{where}ranking"
        stated = parse_json_text(value["ranking"], field, notes)
        if type(stated) is not list:
            raise Rejected("bad_ranking", field, f"it is {kind_of_value(stated)}; a list of ids, best first, is meant")
        ranking = tuple(_names(place if type(place) is list else [place], field, known) for place in stated)
        ranked = [name for place in ranking for name in place]
        if not all(ranking) or not ranked or len(set(ranked)) < len(ranked):
            raise Rejected("bad_ranking", field, "a place is empty, or a candidate stands in two")
        places["ranking"] = ranking
    for key, end in (("best", 0), ("worst", -1)):
        if value.get(key) is not None:
            (name,) = _names([value[key]], f"{where}{key}", known)
            if "ranking" in places and name not in places["ranking"][end]:
                raise Rejected("bad_ranking", f"{where}{key}", f"the ranking puts {name!r} elsewhere")
            places[key] = name
    if "best" in places and places["best"] == places.get("worst") and "ranking" not in places:
        raise Rejected("bad_ranking", f"{where}worst", "one candidate is both best and worst")
    return places


def _names(value: Any, field: str, known: frozenset[str]) -> tuple[str, ...]:
    """Ids of candidates of the row, as text."""
    if type(value) is not list:
        raise Rejected("bad_ranking", field, f"it is {kind_of_value(value)}; a list of candidate ids is meant")
    names = tuple(read_id(item, field) or "" for item in value)
    for name in names:
        if name not in known:
            raise Rejected("bad_ranking", field, f"no candidate has the id {name!r}")
    return names
