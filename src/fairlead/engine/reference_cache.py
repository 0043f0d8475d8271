"""Reference log-probabilities on disk: per token, float32, keyed by all that decides them.

One folder per reference (weights, adapter, template, number format); in it shards of log-probs, each a safetensors
file with an index of completion keys. A shard is renamed into place whole, so a pass that was killed goes on where the
last shard ended. Every method, β and normalisation reads the same entries.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save

from fairlead.engine.groups import Completion, PromptGroup
from fairlead.engine.packing import micro_batches
from fairlead.engine.scoring import Scorer
from fairlead.errors import MachineError
from fairlead.identity import digest, digest_bytes
from fairlead.losses.scores import TokenScores
from fairlead.progress import SILENT, Progress
from fairlead.runs.atomic import write_bytes, write_json

FORMAT = 1
SHARD_TOKENS = 65_536
"""Tokens scored between two shards: what a killed pass loses at most."""


class ReferenceCache:
    """Log-probs of one reference. `identity` names what decides them; other values make another folder."""

    def __init__(self, folder: str | Path, identity: Mapping[str, str]) -> None:
        self.identity = {"format": str(FORMAT), **identity}
        self.folder = Path(folder) / digest(self.identity)[:16]
        self._logps: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
        for shard in sorted(self.folder.glob("*.safetensors")):
            self._read(shard)

    def __len__(self) -> int:
        return len(self._logps)

    def missing(self, groups: Sequence[PromptGroup]) -> list[PromptGroup]:
        """The groups with at least one completion that is not cached."""
        return [group for group in groups if any(key(group, c) not in self._logps for c in group.completions)]

    def fill(self, groups: Sequence[PromptGroup], scorer: Scorer, budget: int, progress: Progress = SILENT) -> int:
        """Score what is missing under the model as it stands (which must be the reference); returns how many groups."""
        missing = self.missing(groups)
        pending: list[PromptGroup] = []
        pending_tokens = 0
        with progress.task("reference", total=len(groups), unit="rows", done=len(groups) - len(missing)) as task:
            for batch in micro_batches(missing, budget):
                chosen = [missing[index] for index in batch]
                self._score(chosen, scorer)
                pending += chosen
                pending_tokens += sum(group.tokens for group in chosen)
                if pending_tokens >= SHARD_TOKENS:
                    self._write(pending)
                    pending, pending_tokens = [], 0
                task.advance(len(chosen))
        if pending:
            self._write(pending)
        return len(missing)

    def scores(self, groups: Sequence[PromptGroup], which: Sequence[int] | None = None) -> TokenScores:
        """The cached scores of the groups' completions, in the order a batch of them has."""
        arrays = [
            self._logps[key(group, completion)]
            for group in groups
            for index, completion in enumerate(group.completions)
            if which is None or index in which
        ]
        flat = np.concatenate(arrays) if arrays else np.zeros(0, np.float32)
        return TokenScores(torch.from_numpy(flat), torch.tensor([len(array) for array in arrays], dtype=torch.int64))

    @torch.no_grad()
    def _score(self, groups: Sequence[PromptGroup], scorer: Scorer) -> None:
        with scorer.attention():
            scores = scorer.score(scorer.batch(groups))
        pieces = np.split(scores.logp_N.float().cpu().numpy(), np.cumsum(scores.count_C.cpu().numpy())[:-1])
        completions = [(group, completion) for group in groups for completion in group.completions]
        for (group, completion), piece in zip(completions, pieces, strict=True):
            self._logps[key(group, completion)] = piece

    def _write(self, groups: Sequence[PromptGroup]) -> None:
        keys = list(dict.fromkeys(key(group, c) for group in groups for c in group.completions))
        arrays = [self._logps[k] for k in keys]
        tensors = {"logps": np.concatenate(arrays), "lengths": np.array([len(array) for array in arrays], np.int64)}
        shard = save(tensors, metadata={"keys": json.dumps(keys), "sha256": _checksum(**tensors)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "reference.json", self.identity)
            write_bytes(self.folder / f"{digest(keys)[:16]}.safetensors", shard)
        except (OSError, MachineError) as error:
            reason = getattr(error.__cause__ or error, "strerror", None) or error
            raise MachineError(
                f"{self.folder}: reference log-probs cannot be written ({reason}). Free some space, or point "
                "`train.reference_cache` at another disk; what is written is kept and used."
            ) from error

    def _read(self, shard: Path) -> None:
        try:
            with safe_open(shard, framework="numpy") as file:
                keys = json.loads(file.metadata()["keys"])
                logps, lengths = file.get_tensor("logps"), file.get_tensor("lengths")
                if _checksum(logps, lengths) != file.metadata()["sha256"]:
                    raise ValueError("checksum")
        except Exception:  # a damaged shard is worth less than the pass that makes it anew
            shard.unlink(missing_ok=True)
            return
        for name, piece in zip(keys, np.split(logps, np.cumsum(lengths)[:-1]), strict=True):
            self._logps[name] = piece


def _checksum(logps: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> str:
    return digest_bytes([logps.tobytes(), lengths.tobytes()])


def key(group: PromptGroup, completion: Completion) -> str:
    """Identity of a completion behind its prompt: token ids and trained mask."""
    ids = np.asarray([*group.prompt, *completion.ids], np.int64).tobytes()
    return digest_bytes([struct.pack("<q", len(group.prompt)), ids, bytes(completion.trained)])[:32]
