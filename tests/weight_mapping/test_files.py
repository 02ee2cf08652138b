"""Tensors of a file that is mapped: nothing is read before it is looked at, and nothing stays that nobody looks at any more."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from weight_mapping.files import SINGLE, TensorFiles, write_tensors

MEGABYTE = 2**20


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two tensors of four megabytes, and a small one between them."""
    large = np.arange(MEGABYTE, dtype=np.float32)
    write_tensors(tmp_path, iter([("first", large.reshape(1024, 1024)), ("middle", np.ones(3, np.float32)), ("second", -large)]))
    return tmp_path


def resident(folder: Path) -> float:
    """Megabytes of the folder's files that are in this process's memory."""
    mappings = re.split(r"\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
    kilobytes = [int(re.search(r"Rss:\s+(\d+)", mapping)[1]) for mapping in mappings if str(folder) in mapping.split("\n")[0]]
    return sum(kilobytes) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells what is in memory")
def test_pages_are_there_as_long_as_somebody_has_the_tensor(folder):
    with TensorFiles(folder) as files:
        first, second = files.read("first"), files.read("second")
        assert resident(folder) < 1
        assert first.sum() == -second.sum()
        assert resident(folder) >= 8
        rows = first[:2]
        del first, second
        gc.collect()
        assert 4 <= resident(folder) < 5
        del rows
        gc.collect()
        assert resident(folder) < 1
        assert files.read("first")[1, 0] == 1024


def test_what_is_written_into_a_tensor_stays_as_long_as_somebody_has_it_and_never_reaches_the_file(folder):
    before = next(folder.glob("*.safetensors")).read_bytes()
    with TensorFiles(folder) as files:
        one, other = files.read("first"), files.read("first")
        one[:] = 5.0
        assert (other == 5.0).all()
        del other
        gc.collect()
        assert (one == 5.0).all()
        assert (files.read("middle") == 1.0).all()
        view = one.T
        del one
        gc.collect()
        assert (view == 5.0).all()
    assert next(folder.glob("*.safetensors")).read_bytes() == before


def test_tensors_outlive_the_files_that_they_were_read_from(folder):
    with TensorFiles(folder) as files:
        second = files.read("second")
    del files
    gc.collect()
    assert second[-1] == 1 - MEGABYTE


def test_empty_and_single_tensors_are_read(tmp_path):
    save_file({"empty": np.zeros((0, 4), np.float32), "one": np.full((), 7.0, np.float32)}, tmp_path / SINGLE)
    with TensorFiles(tmp_path) as files:
        assert files.read("empty").shape == (0, 4)
        assert files.read("one").shape == ()
        assert files.read("one") == 7.0
