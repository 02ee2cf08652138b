"""Memory on the CPU: what one step frees, the next one needs."""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 2**30


def keep_freed_memory() -> bool:
    """Let glibc keep freed arrays of up to a gibibyte for the next step. True where that could be asked for.

    By default it gives arrays of some megabytes back to the kernel as soon as they are freed, and the kernel clears every page of them
    again when the next step asks: `benchmarks/README.md` shows what that costs.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_THRESHOLD, KEPT) and mallopt(TRIM_THRESHOLD, 2 * KEPT - 1))
