"""`doctor`: what this machine can do, and what it lacks. Nothing heavy is imported until it is known to be there."""

from __future__ import annotations

import platform
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fairlead.runs.surroundings import hardware
from fairlead.stages.machines import available_memory

PACKAGE = "fairlead"
IMPORTED = ("numpy", "torch", "tokenizers", "safetensors", "transformers", "peft")
"""Packages that are also tried out: a wheel built for another machine is installed and cannot be imported."""
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
"""What the processor may say of itself that decides how fast products are."""
PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "quant": "frozen weights in 4 bits under an adapter (QLoRA)",
        "vllm": "fast sampling at scale on a GPU",
        "hub": "data sets from the hub",
        "lm-eval": "tasks of lm-eval as measures of an evaluation",
        "postgres": "several annotators on one PostgreSQL store",
        "dev": "the tests and the style checks",
    }
)
ROWS, COLUMNS = 1024, 2048
"""A product of [ROWS, COLUMNS] and [COLUMNS, COLUMNS]: of the size that a small model's layers have."""
ROUNDS = 4
LITTLE_SPACE = 5 << 30


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part: what it is for, whether it is installed, the command that adds it."""

    name: str
    purpose: str
    is_installed: bool
    command: str


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU: its memory in bytes, what is free of it, and whether it computes in bfloat16 itself."""

    name: str
    memory: int
    free: int
    has_bf16: bool


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Products as measured on `device`, in 10⁹ operations per second, and what `precision: auto` takes there."""

    device: str
    bf16: float
    fp32: float
    auto: str

    @property
    def ratio(self) -> float:
        """How many times as fast bfloat16 is."""
        return self.bf16 / self.fp32


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What was found. `faults` are what must be mended before anything works, `notes` what is worth knowing.

    `packages` are those that Fairlead needs with their versions, None where one is missing. Memory and disk in bytes,
    None where the system does not say; `disk_free` is that of the folder asked about.
    """

    python: str
    packages: dict[str, str | None]
    extras: tuple[Extra, ...]
    processor: str
    cores: int
    threads: int | None
    features: tuple[str, ...]
    memory: int | None
    memory_free: int | None
    disk_free: int | None
    gpus: tuple[Gpu, ...]
    speed: Speed | None
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def doctor(folder: str | Path = ".") -> Examination:
    """Examine this machine; `folder` is where runs would be kept. Takes a few seconds, most of them imports."""
    needed, optional = _requirements()
    packages = {name: _version(name) for name in needed}
    faults = _faults(needed, packages)
    broken = [] if any(packages.get(name) is None for name in IMPORTED) else _import_all()
    faults += broken
    found = hardware()
    threads: int | None = None
    gpus: tuple[Gpu, ...] = ()
    speed: Speed | None = None
    notes: list[str] = []
    if all(packages.get(name) for name in IMPORTED) and not broken:
        threads, gpus, speed, notes = _computing()
    disk = _disk(Path(folder))
    if disk is not None and disk < LITTLE_SPACE:
        notes.append("there is little space on the disk: checkpoints of a small model take some gigabytes")
    return Examination(
        python=platform.python_version(),
        packages=packages,
        extras=tuple(_extra(name, names) for name, names in optional.items()),
        processor=found["processor"],
        cores=found["cores"],
        threads=threads,
        features=_features(),
        memory=found["memory_bytes"],
        memory_free=available_memory(),
        disk_free=disk,
        gpus=gpus,
        speed=speed,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _requirements() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Needed packages with the least version of each, and the packages of each extra: by our own metadata."""
    needed: dict[str, str] = {}
    optional: dict[str, list[str]] = {}
    for line in metadata.requires(PACKAGE) or []:
        requirement, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)(?:\[[\w,]+\])?\s*(?:[>=]=\s*([\w.]+))?", requirement.strip())
        assert match is not None, line
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
        if extra:
            optional.setdefault(extra[1], []).append(match[1])
        else:
            needed[match[1]] = match[2] or "0"
    return needed, optional


def _faults(needed: Mapping[str, str], packages: Mapping[str, str | None]) -> list[str]:
    faults = []
    wanted = metadata.metadata(PACKAGE)["Requires-Python"].removeprefix(">=")
    if sys.version_info[:2] < _numbers(wanted)[:2]:
        faults.append(f"Python {platform.python_version()} is too old: {wanted} or newer is needed")
    for name, least in needed.items():
        version = packages[name]
        if version is None:
            faults.append(f"{name} is missing: pip install '{name}>={least}'")
        elif _numbers(version) < _numbers(least):
            faults.append(f"{name} {version} is too old: pip install --upgrade '{name}>={least}'")
    return faults


def _import_all() -> list[str]:
    """Packages that are there and cannot be imported, with the reason."""
    broken = []
    import_module("fairlead.models")  # it quiets what PEFT's imports have to say
    for name in IMPORTED:
        try:
            import_module(name)
        except Exception as error:  # whatever a broken wheel raises
            broken.append(f"{name} cannot be imported ({' '.join(str(error).split())[:200]}): install it anew")
    return broken


def _computing() -> tuple[int, tuple[Gpu, ...], Speed, list[str]]:
    """What PyTorch sees, and how fast it is."""
    import torch

    notes = []
    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, memory = torch.cuda.mem_get_info(index)
        has_bf16 = torch.cuda.get_device_capability(index) >= (8, 0)
        gpus.append(Gpu(name=torch.cuda.get_device_name(index), memory=memory, free=free, has_bf16=has_bf16))
    if not gpus and (Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")):
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for the CPU alone"
        notes.append(f"there is a driver for NVIDIA GPUs, but PyTorch sees none: this PyTorch {built}")
    speed = _speed("cuda" if gpus else "cpu")
    if (speed.auto == "bf16") != (speed.ratio > 1):
        other = "fp32" if speed.auto == "bf16" else "bf16"
        notes.append(
            f"precision: auto takes {speed.auto}, but {other} was faster just now; set train.precision: {other}"
        )
    return torch.get_num_threads(), tuple(gpus), speed, notes


def _speed(device: str) -> Speed:
    import torch

    from fairlead.models.loading import resolve_dtype

    measured = {dtype: _operations(device, dtype) for dtype in (torch.bfloat16, torch.float32)}
    auto = "bf16" if resolve_dtype("auto") == torch.bfloat16 else "fp32"
    return Speed(device=device, bf16=measured[torch.bfloat16], fp32=measured[torch.float32], auto=auto)


def _operations(device: str, dtype: Any) -> float:
    """10⁹ operations per second of a matrix product; the best of a few."""
    import torch

    scale = 8 if device == "cuda" else 1
    left = torch.randn(scale * ROWS, COLUMNS, device=device).to(dtype)
    right = torch.randn(COLUMNS, COLUMNS, device=device).to(dtype)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        _ = left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * scale * ROWS * COLUMNS * COLUMNS / min(times[1:]) / 1e9


def _extra(name: str, packages: list[str]) -> Extra:
    return Extra(
        name=name,
        purpose=PURPOSES.get(name, ""),
        is_installed=all(_version(package) is not None for package in packages),
        command=f"pip install '{PACKAGE}[{name}]'",
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers at the head of a version: 2.13.0+cpu is (2, 13, 0)."""
    head = re.match(r"[\d.]*", version)
    return tuple(int(part) for part in (head[0] if head else "").split(".") if part)


def _features() -> tuple[str, ...]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return tuple(feature for feature in FEATURES if feature in words)


def _disk(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
