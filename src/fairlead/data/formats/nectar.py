"""Nectar: seven answers to a prompt, each with its rank."""

from __future__ import annotations

from fairlead.data.formats.hh import ends_open, turns_to_answer
from fairlead.data.formats.shapes import (
    Json,
    Shape,
    Shaped,
    are_objects,
    assistant,
    number_in,
    objects_of,
    rest,
    text_of,
)
from fairlead.data.ledger import Note


def read(row: Json) -> Shaped:
    """Candidates by their place, ranked, equal ranks tied. The prompt is a question, or a dialogue in one text."""
    notes: list[Note] = []
    places: dict[float, list[str]] = {}
    candidates = []
    for position, item in enumerate(objects_of(row["answers"], "answers")):
        rank = number_in(item.get("rank"), f"answers[{position}].rank", notes)
        places.setdefault(rank, []).append(str(position))
        others = rest(item, "answer", "rank", "model")
        candidate = {"id": str(position), "messages": [assistant(item.get("answer"))], "model": item.get("model")}
        candidates.append(others | candidate)
    text = text_of(row["prompt"], "prompt")
    prompt = turns_to_answer(text, "prompt") if ends_open(text) else text
    ranking = [places[rank] for rank in sorted(places)]
    return rest(row, "answers") | {"prompt": prompt, "candidates": candidates, "ranking": ranking}, notes


SHAPES = (
    Shape(
        name="ranked answers",
        becomes="ranking",
        keys=frozenset({"prompt", "answers"}),
        fits=lambda row: are_objects(row["answers"]) and "rank" in row["answers"][0],
        read=read,
        origin={"candidates": "answers[]", "ranking": "answers"},
        example={
            "prompt": "\n\nHuman: Where is my parcel?\n\nAssistant: ",
            "answers": [
                {"answer": "On its way.", "model": "gpt-4", "rank": 1.0},
                {"answer": "It will come.", "model": "llama-2-7b-chat", "rank": 2.0},
                {"answer": "So sorry!", "model": "gpt-3.5-turbo", "rank": 3.0},
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["lmsys-chat-1m"],
            "good_natured": True,
        },
    ),
)
