"""Safetensors files and folders: read lazily (memory-mapped), written whole or not at all."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary, finalize

import ml_dtypes  # noqa: F401  # registers bfloat16 with NumPy
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from configs import UserError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
GIGABYTE = 1000**3
# Safetensors' names of the types that are mapped.
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class TensorFiles:
    """The tensors of one folder, by name, read when asked for; one file or several with an index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack: list[Any] = []
        self._file_of: dict[str, Any] = {}
        self._mapped_of: dict[str, MappedFile] = {}
        self._has_index = not (folder / SINGLE).is_file() and (folder / INDEX).is_file()
        for path in self._paths():
            try:
                handle = safe_open(str(path), framework="numpy")
            except (SafetensorError, OSError) as error:
                raise UserError(f"{path}: not a whole safetensors file ({error}); it may be truncated, fetch or write it again") from None
            self._stack.append(handle)
            mapped = MappedFile(path)
            self._mapped_of |= dict.fromkeys(mapped.names(), mapped)
            for name in handle.keys():  # noqa: SIM118  # the handle is no mapping
                if name in self._file_of:
                    raise UserError(f"{path}: tensor {name!r} stands in another file of this folder too; each may stand once")
                self._file_of[name] = handle
        self._check_index()

    def _paths(self) -> list[Path]:
        # As in Hugging Face, which leaves the index of former shards beside a file that takes their place.
        if (self.folder / SINGLE).is_file():
            paths = [self.folder / SINGLE]
        elif self._has_index:
            paths = [self.folder / name for name in sorted(set(self._weight_map().values()))]
        else:
            pickles = [path.name for kind in ("pytorch_model*.bin", "model*.bin", "*.pt*") for path in sorted(self.folder.glob(kind))]
            hint = f"; {pickles[0]} is a pickle, which can run code and is not read: convert it to safetensors" if pickles else ""
            if not pickles and (self.folder / "tf_model.h5").is_file():
                hint = "; tf_model.h5 is of transformers 4, whose from_pretrained(FOLDER, from_tf=True).save_pretrained(NEW) converts it"
            raise UserError(f"{self.folder}: found neither {SINGLE} nor {INDEX}{hint}")
        for path in paths:
            if not path.is_file():
                raise UserError(f"{self.folder / INDEX}: names {path.name}, which is not there; fetch it, all shards are needed")
        return paths

    def _weight_map(self) -> dict[str, str]:
        try:
            weight_map = dict(json.loads((self.folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.folder / INDEX}: not an index of shards: {error}") from None
        if outside := [name for name in weight_map.values() if Path(str(name)).name != name]:
            raise UserError(f"{self.folder / INDEX}: names {outside[0]!r}, which is outside of the folder")
        return weight_map

    def _check_index(self) -> None:
        if self._has_index and (missing := sorted(set(self._weight_map()) - set(self._file_of))):
            raise UserError(f"{self.folder / INDEX}: tensor {missing[0]!r} is in the index and in none of the files")

    def names(self) -> list[str]:
        return list(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._file_of[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """The type as the file spells it: F32, BF16, ..."""
        return str(self._file_of[name].get_slice(name).get_dtype())

    def read(self, name: str) -> np.ndarray:
        """The tensor where it lies in the file: no byte is read before it is looked at. Writing into it leaves the file as it is."""
        if name in self._mapped_of:
            return self._mapped_of[name].read(name)
        try:
            return self._file_of[name].get_tensor(name)
        except (AttributeError, TypeError, KeyError):
            raise UserError(f"{self.folder}: {name} is of type {self.dtype(name)}, which NumPy does not have; convert it first") from None

    def __enter__(self) -> TensorFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for handle in self._stack:
            handle.__exit__(None, None, None)


class MappedFile:
    """A whole safetensors file, mapped: its tensors lie where they are, and their pages leave memory with the last array that shows them.

    Of its tensors it has those whose types NumPy has, and that are aligned.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        start = 8 + int.from_bytes(self._map[:8], "little")
        self._places: dict[str, tuple[np.dtype[Any], list[int], int, int]] = {}
        for name, entry in json.loads(self._map[8:start]).items():
            if name == "__metadata__" or entry["dtype"] not in DTYPES:
                continue
            dtype, (begin, end) = np.dtype(DTYPES[entry["dtype"]]), (start + offset for offset in entry["data_offsets"])
            if begin % dtype.itemsize == 0:
                self._places[name] = dtype, entry["shape"], begin, end
        self._shown: WeakValueDictionary[str, np.ndarray] = WeakValueDictionary()
        # Of one thread too: an array may go while another is made.
        self._lock = RLock()

    def names(self) -> list[str]:
        return list(self._places)

    def read(self, name: str) -> np.ndarray:
        """The tensor, the same memory as long as somebody has it. Writing into it leaves the file as it is; when nobody has it any more,
        what was written is lost, wholly or in part."""
        dtype, shape, begin, end = self._places[name]
        with self._lock:
            shown = self._shown.get(name)
            if shown is None:
                # All views of it, and PyTorch's tensors, hold on to this array.
                shown = self._shown[name] = np.frombuffer(self._map, dtype, (end - begin) // dtype.itemsize, begin)
                finalize(shown, self._drop, name).atexit = False
        return shown.reshape(shape)

    def _drop(self, name: str) -> None:
        """Take the tensor's pages out of memory, but for those that hold something else too. They are read again where they are needed."""
        _, _, begin, end = self._places[name]
        first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
        with self._lock:
            if first < last and self._shown.get(name) is None and hasattr(self._map, "madvise"):
                self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


def write_tensors(folder: Path, tensors: Iterator[tuple[str, np.ndarray]], shard_size: int = 5 * GIGABYTE) -> None:
    """Write tensors into `folder`, in shards of at most `shard_size` bytes (or one tensor) where they do not fit into one file."""
    shards: list[dict[str, np.ndarray]] = []
    names: list[list[str]] = []
    temporary: list[Path] = []
    total = size = 0

    def flush() -> None:
        path = folder / f"shard-{len(temporary)}.safetensors"
        save_file(shards.pop(), str(path), metadata={"format": "pt"})
        path.chmod(0o644)  # safetensors writes for the owner only
        temporary.append(path)

    for name, array in tensors:
        array = np.ascontiguousarray(array)
        if not shards or size + array.nbytes > shard_size:
            if shards:
                flush()
            shards.append({})
            names.append([])
            size = 0
        shards[-1][name] = array
        names[-1].append(name)
        size += array.nbytes
        total += array.nbytes
    if shards:
        flush()
    if len(temporary) == 1:
        temporary[0].rename(folder / SINGLE)
        return
    weight_map: dict[str, str] = {}
    for number, (path, held) in enumerate(zip(temporary, names, strict=True), start=1):
        final = f"model-{number:05}-of-{len(temporary):05}.safetensors"
        path.rename(folder / final)
        weight_map |= dict.fromkeys(held, final)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def whole_folder(destination: str | os.PathLike[str], overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the name `destination` when the block ends well, and vanishes when it does not."""
    final = Path(destination)
    if final.exists() and not overwrite and (not final.is_dir() or any(final.iterdir())):
        raise UserError(f"{final} exists and is not empty; name another folder or remove it")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    except OSError as error:
        raise UserError(f"{final} cannot be written: {error}; name a folder where you may write") from None
    try:
        yield temporary
        temporary.chmod(0o755)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{final.name}.old.", dir=final.parent))
            final.rename(old / "old")
            temporary.rename(final)
            shutil.rmtree(old)
        else:
            temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
