"""Every way to train that must resume bit for bit, by name: what `make_config` takes beyond the model and the rows."""

from __future__ import annotations

from typing import Any

LORA = {"r": 4}
MOVING = {"reference": "live", "reference_sync_steps": 3}
RUNNING = {"name": "bco_pair", "reward_shift": "running"}

RECIPES: dict[str, dict[str, Any]] = {
    "sft": {"loss": "sft"},
    "dpo-full": {"loss": "dpo"},
    "dpo-lora": {"loss": "dpo", "adapter": LORA},
    "dpo-lora-live": {"loss": "dpo", "adapter": LORA, "reference": "live"},
    "dpo-plus-sft": {"loss": [{"name": "dpo"}, {"name": "sft", "weight": 0.5}], "adapter": LORA},
    "dpo-wpo-probes": {"loss": {"name": "dpo", "wpo": True}, "adapter": LORA, "sample_prompts": 2, "sample_tokens": 4},
    "dora": {"loss": "dpo", "adapter": LORA | {"kind": "dora", "dropout": 0.1}},
    "rslora-embeddings": {"loss": "dpo", "adapter": LORA | {"rslora": True, "train_embeddings": True}},
    "nf4": {"loss": "dpo", "adapter": LORA, "quantize": "nf4"},
    "tr-dpo-full": {"loss": "dpo"} | MOVING,
    "tr-dpo-lora": {"loss": "dpo", "adapter": LORA} | MOVING,
    "kto-lora-dropout": {"loss": "kto", "adapter": LORA | {"dropout": 0.1}},
    "bco-running": {"loss": "bco"},
    "bco-pair-running": {"loss": RUNNING, "adapter": LORA | {"dropout": 0.1}},
    "aot-unpaired": {"loss": "aot_unpaired", "adapter": LORA},
    "simpo-checkpointing": {"loss": "simpo", "gradient_checkpointing": True},
    "reward-full": {"loss": "reward"},
    "reward-lora": {"loss": "reward", "adapter": LORA | {"dropout": 0.1}},
}
