"""Orca DPO pairs: system, question, chosen, rejected (Axolotl's `intel` is the same)."""

from __future__ import annotations

from fairlead.data.formats.axolotl import read_intel
from fairlead.data.formats.shapes import Shape

SHAPES = (
    Shape(
        name="pairs",
        becomes="preference",
        keys=frozenset({"question", "chosen", "rejected"}),
        lacks=frozenset({"prompt", "instruction", "messages", "conversations"}),
        read=read_intel,
        origin={"prompt": "question"},
        example={
            "system": "You are an AI assistant.",
            "question": "Where is my parcel?",
            "chosen": "On its way.",
            "rejected": "So sorry!",
        },
    ),
)
