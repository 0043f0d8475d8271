"""Label Studio's exports of pairwise comparisons: a task's data, and the annotations of each person."""

from __future__ import annotations

from typing import Any

from fairlead.data.formats.shapes import Json, Shape, Shaped, numbered, objects_of, rest
from fairlead.data.ledger import Note, Rejected

PROMPTS = ("prompt", "question", "instruction", "input")
SIDES = {"left": "a", "right": "b"}


def read(row: Json) -> Shaped:
    """A judgement: left is the first response, right the second; an annotation marked as ground truth settles it.

    Annotations that were cancelled or that chose nothing are noted, and kept in meta.left_out; results of other sorts
    (comments, ratings) go to meta.other_results. Raises `Rejected` where the data do not say what the prompt is, or
    which two fields were compared.
    """
    data, notes = row["data"], []
    key, prompt = _prompt_of(row, data)
    first, second = _compared(data)
    annotations, truths, left_out, others = [], set(), [], {}
    for position, item in enumerate(objects_of(row["annotations"], "annotations")):
        field = f"annotations[{position}]"
        results = objects_of(item.get("result") or [], f"{field}.result")
        choices = [result for result in results if result.get("type") == "pairwise"]
        if item.get("was_cancelled") or not choices:
            left_out.append(item)
            cause = "cancelled" if item.get("was_cancelled") else "nothing chosen"
            notes.append(Note("annotation_left_out", f"{_person(item)}: {cause}"))
            continue
        label = _side(choices, f"{field}.result")
        annotations.append(_annotation(item, label))
        truths |= {label} if item.get("ground_truth") else set()
        if len(results) > len(choices):
            others[str(item.get("id", position))] = [result for result in results if result not in choices]
    meta = rest(row, "id", "data", "annotations", "prompt")
    unused = rest(data, key, first, second)
    meta |= {(f"data.{name}" if name in meta else name): value for name, value in unused.items()}
    meta |= ({"left_out": left_out} if left_out else {}) | ({"other_results": others} if others else {})
    judged = {"prompt": prompt, "response_a": data[first], "response_b": data[second]}
    judged |= {"annotations": annotations, "label": truths.pop() if len(truths) == 1 else None, "meta": meta}
    return judged | ({"id": row["id"]} if "id" in row else {}), notes


def _prompt_of(row: Json, data: Json) -> tuple[str, Any]:
    """The prompt and its key in the data, empty where a column of the row was named as the prompt."""
    if row.get("prompt") is not None:
        return "", row["prompt"]
    for name in PROMPTS:
        if data.get(name) is not None:
            return name, data[name]
    detail = f"the data have {', '.join(data) or 'nothing'}: say which is the prompt, as --columns prompt=data.KEY"
    raise Rejected("missing_field", "data.prompt", detail)


def _compared(data: Json) -> tuple[str, str]:
    if "response_a" in data and "response_b" in data:
        return "response_a", "response_b"
    found = numbered(data)
    if len(found) != 2:
        raise Rejected("missing_field", "data.text1", "no two fields differ in their number alone (text1, text2)")
    return found[0], found[1]


def _person(item: Json) -> Any:
    person = item.get("completed_by")
    return person.get("id") or person.get("email") if type(person) is dict else person


def _side(choices: list[Json], field: str) -> str:
    selected = [choice["value"].get("selected") if type(choice.get("value")) is dict else None for choice in choices]
    if len(selected) > 1 or type(selected[0]) is not str or selected[0] not in SIDES:
        raise Rejected("bad_label", field, f"it is {', '.join(map(repr, selected))}; left or right is meant")
    return SIDES[selected[0]]


def _annotation(item: Json, label: str) -> Json:
    return {
        "annotator": _person(item),
        "label": label,
        "at": item.get("created_at"),
        "seconds": item.get("lead_time"),
    }


SHAPES = (
    Shape(
        name="pairwise",
        becomes="judgement",
        keys=frozenset({"data", "annotations"}),
        lacks=frozenset({"candidates", "response_a", "response_b"}),
        fits=lambda row: type(row["data"]) is dict and type(row["annotations"]) is list,
        read=read,
        origin={"prompt": "data.prompt", "response_a": "data", "response_b": "data"},
        example={
            "id": 12,
            "data": {"prompt": "Where is my parcel?", "text1": "On its way.", "text2": "So sorry!"},
            "annotations": [
                {
                    "id": 31,
                    "completed_by": 4,
                    "result": [
                        {"type": "pairwise", "from_name": "pw", "to_name": "txt-1", "value": {"selected": "left"}}
                    ],
                    "was_cancelled": False,
                    "ground_truth": False,
                    "created_at": "2026-01-31T16:59:52Z",
                    "lead_time": 7.5,
                }
            ],
            "predictions": [],
        },
    ),
)
