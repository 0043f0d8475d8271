"""`fairlead doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.output import AsJson, print_json, print_values

if TYPE_CHECKING:
    from fairlead.stages.doctor import Examination


def doctor(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that runs would be kept in.")] = Path("."),
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do: packages, processor, memory, GPUs, bfloat16 against float32, optional parts.

    Ends with 0 when all that Fairlead needs is there, else with 3. With --json the object is printed in either case.

    \b
    Example:
      fairlead doctor
    """
    from fairlead.errors import MachineError
    from fairlead.stages.doctor import doctor as run_stage

    found = run_stage(folder)
    if as_json:
        print_json(found)
    else:
        _print_examination(found)
    if found.faults:
        raise MachineError("; ".join(found.faults) + ".")


def _print_examination(found: Examination) -> None:
    gpus = [f"{gpu.name}, {_gigabytes(gpu.memory)}, {_gigabytes(gpu.free)} free" for gpu in found.gpus]
    values = {
        "Python": found.python,
        "processor": f"{found.processor}, {found.cores} cores"
        + (f", {found.threads} threads used" if found.threads is not None else ""),
        "features": " ".join(found.features) or "none known",
        "memory": f"{_gigabytes(found.memory)}, {_gigabytes(found.memory_free)} free",
        "disk": f"{_gigabytes(found.disk_free)} free",
        "GPU": "; ".join(gpus) or "none",
    }
    if found.speed is not None:
        speed = found.speed
        values["products"] = (
            f"bfloat16 {speed.bf16:,.0f} and float32 {speed.fp32:,.0f} GFLOP/s on {speed.device}: "
            f"{speed.ratio:.2g} times; precision: auto takes {speed.auto}"
        )
    print_values(values)
    print("\nPackages")
    print_values({name: version or "missing" for name, version in found.packages.items()})
    print("\nOptional parts")
    print_values(
        {
            extra.name: ("installed" if extra.is_installed else extra.command) + f"  ({extra.purpose})"
            for extra in found.extras
        }
    )
    for note in found.notes:
        print(f"\nnote: {note}")


def _gigabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:.1f} GB"
