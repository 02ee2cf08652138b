"""Where packed weights lie in memory: what they replaced goes back to the kernel, and they come to lie in large pages.

TensorFlow has no such file: it packs nothing.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SETTINGS = Path("/sys/kernel/mm/transparent_hugepage")
# Linux's mman.h: a large page in the place of small ones, at once.
MADV_COLLAPSE = 25


def give_back_freed_memory() -> None:
    """The weights that were replaced lay between others, and glibc would keep the gaps."""
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)


@cache
def is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"


def use_large_pages() -> None:
    """Move what fills large pages (2 MiB) into such: few rows read all weights, and where each 4 KiB lie is looked up too.

    Linux 6.1 and later can; elsewhere, and where its administrator wants no large pages, nothing happens.
    """
    size = large_page()
    if size is None:
        return
    libc, resident = ctypes.CDLL(None), (ctypes.c_ubyte * (size // os.sysconf("SC_PAGE_SIZE")))()
    for start, end in anonymous_memory():
        for address in range(-(-start // size) * size, end - size + 1, size):
            place, length = ctypes.c_void_p(address), ctypes.c_size_t(size)
            # Only full pages: others would take more memory than before.
            if libc.mincore(place, length, resident) == 0 and all(resident):
                libc.madvise(place, length, MADV_COLLAPSE)


def large_page() -> int | None:
    """The bytes of a large page, None where there are none."""
    try:
        is_wanted = "[never]" not in (SETTINGS / "enabled").read_text(encoding="ascii")
        return int((SETTINGS / "hpage_pmd_size").read_text(encoding="ascii")) if is_wanted else None
    except OSError:
        return None


def anonymous_memory() -> Iterator[tuple[int, int]]:
    """From where to where this process has memory of its own, which shows no file."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw.p \S+ \S+ 0\s*(\[heap\]|\[anon.*\])?$", line)
        if found:
            yield int(found[1], 16), int(found[2], 16)
