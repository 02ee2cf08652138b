"""A checkpoint on disk: a Hugging Face folder or one of this project's, read and written under canonical names.

This project's folders hold `model.yaml` (the config) and `model.safetensors` (canonical names); Hugging Face's hold
`config.json`. Neither PyTorch nor TensorFlow is needed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from configs import ModelConfig, UserError, dump, load_model_config
from configs.generation_files import SAME, UNBUILT
from configs.parts import SpecialTokens
from configs.reading import RUN
from weight_mapping.families import family_of, get_family
from weight_mapping.files import DTYPES, INDEX, SINGLE, TensorFiles, whole_folder, write_json, write_tensors
from weight_mapping.hub import local_folder
from weight_mapping.mapping import Pair, check_names, checked_pairs, from_canonical
from weight_mapping.names import canonical_tensors

MODEL = "model.yaml"
HUGGING_FACE = "config.json"
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "added_tokens.json",
    "chat_template.jinja",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
)
GENERATION = "generation_config.json"
# When Hugging Face generates, those of generation_config.json come before config.json's.
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
ADAPTER = "adapter_config.json"
# What an old Whisper's decoder reads first; Hugging Face looks for it in both files.
FORCED = "forced_decoder_ids"
# In the place of a type: zeros are meant.
ABSENT = "absent"


def old_settings(config: Mapping[str, Any], tokens: SpecialTokens) -> dict[str, Any] | None:
    """What a config.json says of generation: before version 4.26 of transformers there was no file for it. None where it says nothing but
    special tokens. Where it says more, they are in the result too: Hugging Face then looks for them nowhere else."""
    settings = {name: config[name] for name in (*SAME, *UNBUILT, FORCED) if name not in SPECIAL_TOKENS and config.get(name) is not None}
    if config.get("force_bos_token_to_be_generated") and tokens.bos is not None:
        settings.setdefault("forced_bos_token_id", tokens.bos)
    if not settings:
        return None
    found = (tokens.bos, list(tokens.eos) or None, tokens.pad, tokens.decoder_start)
    return settings | {name: token for name, token in zip(SPECIAL_TOKENS, found, strict=True) if token is not None}


def alone(token: Any) -> Any:
    """A token that stands in a list by itself."""
    return token[0] if isinstance(token, list) and len(token) == 1 else token


def known_tokens(generation: Mapping[str, Any], count: int) -> dict[str, Any]:
    """What ends and fills up texts, without ids outside a vocabulary of `count`, by which no text ends: as config.json is read."""
    known: dict[str, Any] = {}
    for key in ("eos_token_id", "pad_token_id"):
        if (found := generation.get(key)) is not None:
            ids = [token for token in (found if isinstance(found, list) else [found]) if isinstance(token, int) and 0 <= token < count]
            known[key] = ids if isinstance(found, list) and ids else next(iter(ids), None)
    return known


@dataclass(frozen=True)
class Row:
    """A line of `inspect`.

    target: canonical name.
    source: name in the file.
    shape: in the file.
    target_shape: of the canonical tensor.
    dtype: in the file, as the file spells it.
    operations: what makes the one of the other.
    """

    target: str
    source: str
    shape: tuple[int, ...]
    target_shape: tuple[int, ...]
    dtype: str
    operations: tuple[str, ...]


class Checkpoint:
    """An open checkpoint: its config at once, its tensors when asked for. Use it in a ``with`` block.

    architecture: the Hugging Face class whose head is wanted, such as BertModel. Default: the one that config.json names.
    config: what the model is.
    files: its tensors under their names in the file.
    generation_config: the content of its generation_config.json, or what an old config.json says of generation, None without either.
    notes: what is read otherwise than it stands there, a line each.
    """

    def __init__(self, source: str | os.PathLike[str], architecture: str | None = None) -> None:
        self.folder = local_folder(source)
        self.is_hugging_face = not is_run(self.folder)
        self.notes: list[str] = []
        self.generation_config = dict(read_json(self.folder / GENERATION)) if (self.folder / GENERATION).is_file() else None
        if not self.is_hugging_face:
            self.config = load_model_config(self.folder / MODEL)
            self.files = TensorFiles(self.folder)
            if architecture is not None:
                raise UserError(f"architecture={architecture!r} is for Hugging Face's folders, and {self.folder} is a run of this project")
            return
        has_adapter = (self.folder / ADAPTER).is_file()
        if has_adapter and not any((self.folder / name).is_file() for name in (SINGLE, INDEX)):
            merge = "merge it into its model (peft: merge_and_unload), and save that"
            raise UserError(f"{self.folder}: it is an adapter ({ADAPTER}); {merge}")
        if has_adapter:
            self.notes.append(f"{ADAPTER} lies beside the model, and its adapter is not applied")
        if not (self.folder / HUGGING_FACE).is_file():
            wrong = f"found neither {MODEL} (a run of this project) nor {HUGGING_FACE} (Hugging Face)"
            if (self.folder / RUN).is_file():
                wrong = "the run is not finished; go on with it (train.existing=resume), or name one of its checkpoints/step_N"
            raise UserError(f"{self.folder}: {wrong}")
        values = {**read_json(self.folder / HUGGING_FACE)}
        where = str(self.folder / HUGGING_FACE)
        family = family_of(values, where, architecture)
        generation = (self.generation_config or {}) if family.generates else {}
        values |= {key: alone(generation[key]) for key in SPECIAL_TOKENS if generation.get(key) is not None}
        self.files = TensorFiles(self.folder)
        self.config = family.read_config(values, where, self.files.names(), architecture, self.notes)
        if self.generation_config is None and self.config.head.kind == "language_model":
            self.generation_config = old_settings(values, self.config.special_tokens)
        if self.generation_config is not None:
            self.generation_config |= known_tokens(self.generation_config, self.config.vocab_size)
            if self.generation_config.get(FORCED) is None and values.get(FORCED):
                self.generation_config[FORCED] = values[FORCED]

    def check(self) -> None:
        """Refuse a file that does not fit the model tensor for tensor. Nothing but tied tensors is read."""
        if self.is_hugging_face:
            _ = self._pairs
        else:
            expected = {tensor.name: tensor.shape for tensor in canonical_tensors(self.config)}
            check_names(expected, self.files.names(), self.files.shape, str(self.folder))

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Canonical names and arrays, one tensor of the file at a time. All names and shapes are checked before the first."""
        self.check()
        if not self.is_hugging_face:
            return ((tensor.name, self.files.read(tensor.name)) for tensor in canonical_tensors(self.config))
        return ((target.name, array) for pair in self._pairs for target, array in zip(pair.targets, self._forward(pair), strict=True))

    def read(self, name: str) -> np.ndarray:
        """One tensor by its canonical name."""
        if not self.is_hugging_face:
            return self.files.read(name)
        pair, place = self._place_of[name]
        return self._forward(pair)[place]

    def _forward(self, pair: Pair) -> list[np.ndarray]:
        array = np.zeros(pair.source_shape, self.dtype()) if pair.is_zero else self.files.read(pair.source)
        return pair.forward(array)

    @cached_property
    def _pairs(self) -> list[Pair]:
        return checked_pairs(self.config, self.files.names(), self.files.shape, self.files.read, str(self.folder), self.notes)

    @cached_property
    def _place_of(self) -> dict[str, tuple[Pair, int]]:
        return {target.name: (pair, place) for pair in self._pairs for place, target in enumerate(pair.targets)}

    def rows(self) -> list[Row]:
        """What `inspect` shows."""
        tensors = canonical_tensors(self.config)
        self.check()
        if not self.is_hugging_face:
            return [Row(tensor.name, tensor.name, tensor.shape, tensor.shape, self.files.dtype(tensor.name), ()) for tensor in tensors]
        rows = []
        for tensor in tensors:
            pair, _ = self._place_of[tensor.name]
            dtype = ABSENT if pair.is_zero else self.files.dtype(pair.source)
            operations = ("zeros",) if pair.is_zero else tuple(operation.name for operation in pair.operations)
            rows.append(Row(tensor.name, pair.source, pair.source_shape, tensor.shape, dtype, operations))
        return rows

    def dtype(self) -> str:
        """The type of the weights, as NumPy spells it."""
        found = sorted({self.files.dtype(name) for name in self.files.names()} & set(DTYPES))
        return DTYPES[found[0]] if len(found) == 1 else "float32"

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.files.__exit__(kind, error, trace)


def is_run(folder: Path) -> bool:
    """Whether a folder is of this project, and not Hugging Face's."""
    return (folder / MODEL).is_file()


def write_run(folder: Path, config: ModelConfig, read: Callable[[str], np.ndarray]) -> None:
    """Write this project's form into an existing folder: `model.yaml` and canonical tensors."""
    dump(config, folder / MODEL)
    write_tensors(folder, ((tensor.name, read(tensor.name)) for tensor in canonical_tensors(config)))


def write_hugging_face(folder: Path, config: ModelConfig, read: Callable[[str], np.ndarray], dtype: str = "float32") -> None:
    """Write Hugging Face's form into an existing folder: `config.json` and its tensors."""
    write_json(folder / HUGGING_FACE, {**get_family(config.family).write_config(config), "dtype": dtype})
    write_tensors(folder, from_canonical(config, read))


def save(
    destination: str | os.PathLike[str],
    config: ModelConfig,
    read: Callable[[str], np.ndarray],
    to: Literal["hf", "run"],
    companions: Path | None = None,
    dtype: str = "float32",
    generation_config: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint as a whole folder, or nothing. companions: a folder whose tokenizer files come along. generation_config: the
    content of a generation_config.json."""
    if to not in ("hf", "run"):
        raise UserError(f"to={to!r} is not known; choose one of: hf, run")
    with whole_folder(destination) as folder:
        if to == "hf":
            write_hugging_face(folder, config, read, dtype)
        else:
            write_run(folder, config, read)
        for name in COMPANIONS if companions else ():
            if companions and (companions / name).is_file():
                shutil.copy(companions / name, folder / name)
        if generation_config is not None:
            write_json(folder / GENERATION, dict(generation_config))


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    to: Literal["hf", "run"],
    architecture: str | None = None,
    notes: list[str] | None = None,
) -> int:
    """Convert a checkpoint and say how many canonical tensors it holds. At most one shard of the new files is in memory. notes: a list to
    which those of the checkpoint are added."""
    with Checkpoint(source, architecture) as checkpoint:
        checkpoint.check()
        if notes is not None:
            notes += checkpoint.notes
        file, generation = checkpoint.folder / GENERATION, checkpoint.generation_config
        if generation is not None and file.is_file() and read_json(file).get(FORCED) == generation.get(FORCED):
            # It comes along as it is.
            generation = None
        save(destination, checkpoint.config, checkpoint.read, to, checkpoint.folder, checkpoint.dtype(), generation)
        return len(canonical_tensors(checkpoint.config))


def read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, found {type(content).__name__}")
    return content
