"""The formats, in one table: a new one is a module with `SHAPES`, and a line here; one to write has `LAYOUTS` too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.data.formats import (
    argilla,
    axolotl,
    canonical,
    helpsteer,
    hh,
    label_studio,
    llama_factory,
    nectar,
    openai,
    orca,
    pku_saferlhf,
    shp,
    to_axolotl,
    to_hh,
    to_llama_factory,
    to_openai,
    to_trl,
    trl,
    ultrafeedback,
)
from fairlead.data.formats.layouts import Layout
from fairlead.data.formats.shapes import Shape


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format by its own name, and the shapes of its rows in the order in which they are tried.

    layouts: by kind of row, the ways in which it is written, the most natural first; none where it is read only.
    """

    title: str
    shapes: Sequence[Shape]
    layouts: Mapping[str, Sequence[Layout]] = field(default_factory=dict)


# In the order in which they are tried: the more particular first. A row is of the first format with a shape that fits
# and need not be named; canonical rows come late because most of these formats use some of the same keys.
FORMATS: dict[str, Format] = {
    "openai": Format(title="OpenAI fine-tuning (Together, Fireworks)", shapes=openai.SHAPES, layouts=to_openai.LAYOUTS),
    "ultrafeedback": Format(title="UltraFeedback", shapes=ultrafeedback.SHAPES),
    "helpsteer": Format(title="HelpSteer", shapes=helpsteer.SHAPES),
    "pku-saferlhf": Format(title="PKU-SafeRLHF", shapes=pku_saferlhf.SHAPES),
    "shp": Format(title="SHP", shapes=shp.SHAPES),
    "nectar": Format(title="Nectar", shapes=nectar.SHAPES),
    "label-studio": Format(title="Label Studio", shapes=label_studio.SHAPES),
    "argilla": Format(title="Argilla", shapes=argilla.SHAPES),
    "hh": Format(title="HH-RLHF", shapes=hh.SHAPES, layouts=to_hh.LAYOUTS),
    "llama-factory": Format(title="LLaMA-Factory", shapes=llama_factory.SHAPES, layouts=to_llama_factory.LAYOUTS),
    "orca": Format(title="Orca DPO", shapes=orca.SHAPES),
    "axolotl": Format(title="Axolotl", shapes=axolotl.SHAPES, layouts=to_axolotl.LAYOUTS),
    "canonical": Format(title="Fairlead", shapes=canonical.SHAPES),
    "trl": Format(title="TRL", shapes=trl.SHAPES, layouts=to_trl.LAYOUTS),
}
