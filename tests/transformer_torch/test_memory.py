"""Packed weights come to lie in large pages, with the same bits."""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from transformer_torch import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these are Linux's pages")
SIZE = 2**24


def in_large_pages(array: np.ndarray) -> int:
    """How many kB of the memory around an array lie in large pages."""
    address, is_here, found = array.ctypes.data, False, 0
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        first = line.split()[0]
        if not first.endswith(":"):
            start, end = (int(number, 16) for number in first.split("-"))
            is_here = start <= address < end
        elif is_here and first == "AnonHugePages:":
            found = int(line.split()[1])
    return found


def resident(array: np.ndarray) -> int:
    """How many pages of an array are in memory."""
    pages = (ctypes.c_ubyte * (array.nbytes // mmap.PAGESIZE))()
    assert ctypes.CDLL(None).mincore(ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes), pages) == 0
    return sum(page & 1 for page in pages)


@pytest.fixture
def array() -> np.ndarray:
    return np.frombuffer(mmap.mmap(-1, SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=np.int32)


def test_full_pages_are_moved_and_keep_what_they_hold(array: np.ndarray) -> None:
    if memory.large_page() is None or tuple(map(int, platform.release().split(".")[:2])) < (6, 1):
        pytest.skip("this kernel makes no large pages when it is asked to")
    array[:] = np.arange(len(array))
    memory.use_large_pages()
    assert in_large_pages(array) * 1024 > SIZE / 2
    np.testing.assert_array_equal(array, np.arange(len(array)))


def test_what_was_never_written_takes_no_memory(array: np.ndarray) -> None:
    array[0] = 1
    before = resident(array)
    memory.use_large_pages()
    assert resident(array) == before < SIZE // mmap.PAGESIZE


def test_where_memory_is(array: np.ndarray) -> None:
    assert any(start <= array.ctypes.data < end for start, end in memory.anonymous_memory())


@pytest.mark.parametrize(("enabled", "expected"), [("always [madvise] never", 2**21), ("always madvise [never]", None), (None, None)])
def test_what_the_kernel_says(enabled: str | None, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if enabled is not None:
        (tmp_path / "enabled").write_text(enabled)
        (tmp_path / "hpage_pmd_size").write_text("2097152\n")
    monkeypatch.setattr(memory, "SETTINGS", tmp_path)
    assert memory.large_page() == expected
