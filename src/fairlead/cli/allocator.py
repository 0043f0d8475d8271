"""The C library's allocator, set for training: what only the environment of a process that starts can say."""

from __future__ import annotations

import os
import sys

VARIABLE = "GLIBC_TUNABLES"
TUNABLES = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
"""glibc puts small blocks that are freed aside, and a hole beside one is never joined with the next.

Between tensors they keep the heap in pieces that no later tensor fits into: on a CPU a run under an adapter took up to
a third more memory for it (docs/planning.md). Joining them at once costs no time that can be measured.
"""
VERBS = ("plan", "train", "sweep")
"""What trains, and what says how much memory that takes."""


def start_again_with_a_whole_heap() -> None:
    """Put a program of these verbs in place of itself with the allocator set so, unless the user set it otherwise.

    Nothing happens where the C library is another, or where a program called the command line as a function.
    """
    arguments = sys.argv[1:]
    is_program = arguments[:1] != [] and arguments[0] in VERBS and sys.orig_argv[-len(arguments) :] == arguments
    found = os.environ.get(VARIABLE, "")
    if not is_program or "glibc.malloc" in found or not _is_glibc():
        return
    os.environ[VARIABLE] = f"{found}:{TUNABLES}" if found else TUNABLES
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):
        return False
