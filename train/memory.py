"""Memory on the CPU: what one step frees, the next one needs."""

from __future__ import annotations

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 2**30


def ask_for_huge_pages() -> None:
    """Let PyTorch ask the kernel for pages of 2 MiB in the place of 4 KiB for large arrays, unless the user has said otherwise.

    It looks at the environment when it makes its first array.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> bool:
    """Let glibc keep freed arrays of up to a gibibyte for the next step. True where that could be asked for.

    By default it gives arrays of some megabytes back to the kernel as soon as they are freed, and the kernel clears every page of them
    again when the next step asks: `benchmarks/README.md` shows what that costs.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(MMAP_THRESHOLD, KEPT) and mallopt(TRIM_THRESHOLD, 2 * KEPT - 1))
