"""Fairlead turns preference judgements into a better language model, and says honestly whether it is one.

    import fairlead

    result = fairlead.train("fairlead.yaml")
    fairlead.merge(result.run, to="merged")

Everything named here is imported when it is first used, so that `import fairlead` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Large tensors in huge pages, where the system leaves that to the program: a few percent less time on a
# CPU, the same bits.
# PyTorch reads this once, when it is imported.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

if TYPE_CHECKING:
    from fairlead.config import Config, read_config
    from fairlead.config.rubric import read_rubric
    from fairlead.data.pairing import PairingSettings, make_pairs, make_thumbs
    from fairlead.data.reading import read
    from fairlead.data.split import split
    from fairlead.data.writing import write
    from fairlead.losses.contract import Loss
    from fairlead.stages.audit import audit
    from fairlead.stages.compare import compare
    from fairlead.stages.doctor import doctor
    from fairlead.stages.dry_run import dry_run
    from fairlead.stages.evaluate import evaluate
    from fairlead.stages.export import export
    from fairlead.stages.gate import gate
    from fairlead.stages.generate import generate
    from fairlead.stages.init import init
    from fairlead.stages.judge import judge
    from fairlead.stages.merge import merge
    from fairlead.stages.plan import plan
    from fairlead.stages.report import report
    from fairlead.stages.score import score
    from fairlead.stages.show_tokens import show_tokens
    from fairlead.stages.sweep import sweep
    from fairlead.stages.train import train
    from fairlead.stages.versions import diff, make_version, read_version, verify_version
    from fairlead.training.measuring import Measure

__version__ = "0.1.0"

__all__ = [
    "Config",
    "Loss",
    "Measure",
    "PairingSettings",
    "__version__",
    "audit",
    "compare",
    "diff",
    "doctor",
    "dry_run",
    "evaluate",
    "export",
    "gate",
    "generate",
    "init",
    "judge",
    "make_pairs",
    "make_thumbs",
    "make_version",
    "merge",
    "plan",
    "read",
    "read_config",
    "read_rubric",
    "read_version",
    "report",
    "score",
    "show_tokens",
    "split",
    "sweep",
    "train",
    "verify_version",
    "write",
]

_HOMES = {
    "Config": "fairlead.config",
    "audit": "fairlead.stages.audit",
    "Loss": "fairlead.losses.contract",
    "Measure": "fairlead.training.measuring",
    "PairingSettings": "fairlead.data.pairing",
    "compare": "fairlead.stages.compare",
    "diff": "fairlead.stages.versions",
    "doctor": "fairlead.stages.doctor",
    "dry_run": "fairlead.stages.dry_run",
    "evaluate": "fairlead.stages.evaluate",
    "export": "fairlead.stages.export",
    "gate": "fairlead.stages.gate",
    "generate": "fairlead.stages.generate",
    "init": "fairlead.stages.init",
    "judge": "fairlead.stages.judge",
    "make_pairs": "fairlead.data.pairing",
    "make_thumbs": "fairlead.data.pairing",
    "make_version": "fairlead.stages.versions",
    "merge": "fairlead.stages.merge",
    "plan": "fairlead.stages.plan",
    "read": "fairlead.data.reading",
    "read_config": "fairlead.config",
    "read_rubric": "fairlead.config.rubric",
    "read_version": "fairlead.stages.versions",
    "report": "fairlead.stages.report",
    "score": "fairlead.stages.score",
    "show_tokens": "fairlead.stages.show_tokens",
    "split": "fairlead.data.split",
    "sweep": "fairlead.stages.sweep",
    "train": "fairlead.stages.train",
    "verify_version": "fairlead.stages.versions",
    "write": "fairlead.data.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fairlead' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
