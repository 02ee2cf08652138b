"""The machine's processor in words."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil


def processor(threads: int) -> str:
    """Its name and cores, and the threads of each process."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {psutil.cpu_count(logical=False)} cores, {threads} threads a process"
