"""Arrays that a step frees are there for the next one."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, sys
import numpy as np
from train.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for turn in range(40):
    if turn == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
def test_kept_memory_is_not_cleared_again() -> None:
    """64 megabytes at a time: without it, each turn touches pages that the kernel has just cleared."""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)
        for how in ("keep", "default")
    }
    assert faults["keep"] * 10 < faults["default"]


HUGE = """
import re, sys
from train.memory import ask_for_huge_pages
if sys.argv[1] == "huge":
    ask_for_huge_pages()
import torch
array = torch.ones(32_000_000)
# One mapping after the other, each with its size and at the end its flags.
mappings = re.findall(r"^Size: *(\\d+) kB$.*?^VmFlags:(.*?)$", open("/proc/self/smaps").read(), re.DOTALL | re.MULTILINE)
print(sum(int(size) for size, flags in mappings if "hg" in flags.split()))
"""
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not SETTING.exists() or "[madvise]" not in SETTING.read_text(), reason="the kernel gives huge pages to all or to none")
def test_huge_pages_are_asked_for_where_large_arrays_lie() -> None:
    """128 megabytes; how many of these pages the kernel finds is its own affair."""
    environment = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    found = {
        how: int(subprocess.run([sys.executable, "-c", HUGE, how], capture_output=True, text=True, check=True, env=environment).stdout)
        for how in ("huge", "default")
    }
    assert found["huge"] > 120_000
    assert found["default"] < 64_000
