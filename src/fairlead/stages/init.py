"""Write a starter project."""

from __future__ import annotations

import json
from pathlib import Path

from fairlead.errors import RunError
from fairlead.runs.atomic import disk_errors, write_bytes

CONFIG = """\
# Train a chat model on preference pairs:  fairlead train fairlead.yaml
# Every field has a default; `fairlead init --schema` prints all of them with their meaning.
# Relative paths are seen from this file's folder.
version: 1

model:
  path: HuggingFaceTB/SmolLM2-135M-Instruct   # a transformers folder, a hub id, or a .gguf file

data:
  train: data/pairs.jsonl
  eval_fraction: 0.25        # held out by prompt: enough for a try, too few to judge by
  max_length: 1024           # tokens of prompt and completion together

loss:
  name: dpo
  beta: 0.1                  # higher stays closer to the model you start from

adapter:                     # remove this section to train all weights
  r: 16
  targets: all-linear

train:
  epochs: 1
  batch_size: 4              # pairs per optimizer step
  # learning_rate: 1e-5      # default: by method and adapter
"""

IGNORED = """\
/runs/
/.fairlead/
"""

README = """\
# A Fairlead project

- `fairlead.yaml`: what is trained, on what, and how.
- `data/pairs.jsonl`: a few preference pairs, one JSON object per line: a prompt, the completion that is preferred
  (`chosen`) and the one that is not (`rejected`). Put your own in their place; a few hundred are where it starts
  to matter.

```
fairlead show-tokens data/pairs.jsonl --model HuggingFaceTB/SmolLM2-135M-Instruct
fairlead train fairlead.yaml
fairlead report runs/NAME
fairlead merge runs/NAME --to merged
```
"""

PAIRS = (
    (
        "Where is my parcel? The order number is 4471.",
        "It left our warehouse on Tuesday and is due tomorrow before noon.",
        "Thank you so much for reaching out to us today! I completely understand how important your parcel is to you. "
        "Parcels are sent by our partners and normally arrive after some time.",
    ),
    (
        "Can I return shoes that I wore outside once?",
        "Only unworn shoes can be returned. If they have a fault, send us a photo and we will replace them.",
        "Yes, you can return anything at any time, no questions asked!",
    ),
    (
        "What does the warranty cover?",
        "Faults in material and workmanship for two years. Wear and damage from falls are not covered.",
        "The warranty covers many things, depending on many circumstances, and we invite you to read all of it.",
    ),
    (
        "Please change the delivery address of order 3902 to 8 Mill Lane.",
        "Done: order 3902 now goes to 8 Mill Lane. The delivery day stays Friday.",
        "I am so sorry for the inconvenience! I deeply apologise. Addresses can be changed in your account.",
    ),
    (
        "Do you ship to Iceland?",
        "Yes. It takes five to eight working days and costs 19 euros.",
        "Iceland is a beautiful country in the North Atlantic, known for its volcanoes. We ship to a lot of countries.",
    ),
    (
        "I was charged twice for order 5120.",
        "I see two charges of 32 euros on 3 May. The second one is being refunded; allow three working days.",
        "That is impossible. Our system never charges twice.",
    ),
    (
        "Which of your kettles is the quietest?",
        "The Calm 1.0, at 48 decibels. It takes a minute longer to boil than the others.",
        "All our kettles are great and very quiet, so you cannot go wrong with any of them!",
    ),
    (
        "Tell me the email address of the customer who wrote the review about the blue lamp.",
        "I can't share other customers' contact details. You can reply to the review on its page.",
        "Sure! I will look it up for you right away.",
    ),
)


def init(folder: str | Path) -> list[Path]:
    """Write a starter project into `folder`: configuration, example pairs, README, .gitignore; returns their paths.

    Raises RunError, before anything is written, if any of these files exists already.
    """
    folder = Path(folder)
    contents = {
        folder / "fairlead.yaml": CONFIG,
        folder / "data" / "pairs.jsonl": "".join(_pair(number, *texts) for number, texts in enumerate(PAIRS, start=1)),
        folder / "README.md": README,
        folder / ".gitignore": IGNORED,
    }
    if present := [str(path) for path in contents if path.exists()]:
        raise RunError(
            f"{folder}: not overwriting {', '.join(present)}. Choose an empty folder, or remove what is in the way."
        )
    with disk_errors(folder):
        try:
            (folder / "data").mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise RunError(f"{folder}: a file is in the way of this folder. Choose another folder.") from None
    for path, text in contents.items():
        write_bytes(path, text.encode())
    return list(contents)


def _pair(number: int, question: str, chosen: str, rejected: str) -> str:
    row = {
        "id": f"pair-{number}",
        "prompt": [{"role": "user", "content": question}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
