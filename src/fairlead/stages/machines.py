"""Machines that a run may be planned for: this one as it is, and common GPUs by their data sheets."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fairlead.errors import ConfigError, Fault

GIB = 1 << 30
CONTEXT = GIB
"""Memory of a GPU that the driver's context and the libraries' work spaces take."""
USABLE = 0.95
"""Share of the rest that can be filled before the allocator's blocks no longer fit together."""
EFFICIENCY = 0.4
"""Share of a data sheet's operations that fine-tuning reaches where it runs well; no measurement of that GPU."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU: memory in GiB, and 10¹² operations per second of dense products in bfloat16 and in float32."""

    memory: int
    bf16: float
    fp32: float


# Dense figures (without sparsity), bfloat16 with float32 sums, float32 without TF32. Sources: the manufacturers' data
# sheets of the A100, H100, H200, B200, L4, L40S, A10 (NVIDIA) and MI300X (AMD); for RTX cards the architecture white
# papers of GA102 (appendix A), AD102 (appendix A) and Blackwell.
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "a10": Gpu(memory=24, bf16=125, fp32=31.2),
        "a100-40": Gpu(memory=40, bf16=312, fp32=19.5),
        "a100-80": Gpu(memory=80, bf16=312, fp32=19.5),
        "b200": Gpu(memory=180, bf16=2250, fp32=75),
        "h100": Gpu(memory=80, bf16=989, fp32=67),
        "h200": Gpu(memory=141, bf16=989, fp32=67),
        "l4": Gpu(memory=24, bf16=121, fp32=30.3),
        "l40s": Gpu(memory=48, bf16=362, fp32=91.6),
        "mi300x": Gpu(memory=192, bf16=1307, fp32=163),
        "rtx-3090": Gpu(memory=24, bf16=71, fp32=35.6),
        "rtx-4090": Gpu(memory=24, bf16=165, fp32=82.6),
        "rtx-5090": Gpu(memory=32, bf16=209, fp32=104.8),
        "rtx-a6000": Gpu(memory=48, bf16=155, fp32=38.7),
    }
)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a plan is made for: `capacity` is what a run may take, in bytes; `gpu` is its data sheet where it is one."""

    name: str
    capacity: int
    kind: str
    gpu: Gpu | None = None


def find_gpu(name: str) -> Machine:
    """The GPU of that name. Raises ConfigError with the nearest one and all names where there is none."""
    wanted = name.lower().replace(" ", "-").replace("_", "-")
    if wanted not in GPUS:
        near = difflib.get_close_matches(wanted, GPUS, n=1)
        remedy = (f"Did you mean {near[0]}? " if near else "") + f"Known are {', '.join(GPUS)}; or give --memory."
        raise ConfigError([Fault(field="--gpu", problem=f"{name!r} is not known.", remedy=remedy)], source="plan")
    gpu = GPUS[wanted]
    return Machine(name=wanted, capacity=usable(gpu.memory * GIB), kind="cuda", gpu=gpu)


def usable(memory: int) -> int:
    """What a run may take of a GPU's memory, in bytes."""
    return max(0, int(USABLE * (memory - CONTEXT)))


def available_memory() -> int | None:
    """Bytes that processes may still take on this machine, also where a container may take fewer; None if unknown."""
    found = [value for value in (_free_by_kernel(), _free_by_group()) if value is not None]
    return min(found) if found else None


def own_memory() -> int:
    """Bytes of this process that lie in memory; 0 where the system does not say."""
    fields = _fields(Path("/proc/self/status"))
    return fields.get("VmRSS", 0)


def _free_by_kernel() -> int | None:
    return _fields(Path("/proc/meminfo")).get("MemAvailable")


def _free_by_group() -> int | None:
    """What the control group leaves: its limit less what is taken and cannot be given back."""
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        root = Path("/sys/fs/cgroup")
        try:
            most, taken = int((root / limit).read_text()), int((root / used).read_text())
            stat = (root / limit).with_name("memory.stat").read_text().split()
        except (OSError, ValueError):  # no such group, or the word max
            continue
        cached = dict(zip(stat[::2], stat[1::2], strict=False)).get(cache, "0")
        return max(0, most - taken + int(cached))
    return None


def _fields(path: Path) -> dict[str, int]:
    """`Name:  123 kB` lines as bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    parts = [line.replace(":", " ").split() for line in lines]
    return {part[0]: int(part[1]) * 1024 for part in parts if len(part) == 3 and part[2] == "kB"}
