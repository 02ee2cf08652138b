"""From Hugging Face to a run and back: the same file, tensor for tensor and bit for bit. Every family takes part by itself."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from configs import load_model_config
from tests.parity.rungs import Entry
from tests.weight_mapping.folders import assert_same, config_of, tensors_of
from weight_mapping import Checkpoint, canonical_tensors, convert, families, save
from weight_mapping.family import Family
from weight_mapping.files import write_tensors
from weight_mapping.mapping import from_canonical


def hugging_face(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The model that config.json names, loaded by Hugging Face, and what was found wrong with the file."""
    kind = getattr(transformers, config_of(folder)["architectures"][0])
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    return model, {problem: found for problem, found in report.items() if found}


def needed(tensors: dict[str, np.ndarray], family: Family) -> dict[str, np.ndarray]:
    """Without those that nobody needs: MarianModel alone, of all, also writes its sines."""
    ignored = {name.removeprefix(family.prefix) for name in family.ignored}
    return {name: array for name, array in tensors.items() if name.removeprefix(family.prefix) not in ignored}


def there_and_back(source: Path, folder: Path) -> Path:
    convert(source, folder / "run", "run")
    convert(folder / "run", folder / "hf", "hf")
    return folder / "hf"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_same_bits(family: Family, dtype: str, checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    source = checkpoint_of(family, dtype)
    back = there_and_back(source, tmp_path)
    assert_same(tensors_of(back), tensors_of(source))
    assert config_of(back)["dtype"] == dtype
    assert all(str(array.dtype) == dtype for array in tensors_of(tmp_path / "run").values())


def test_the_same_file_and_config(entry: Entry, entry_folder: Path, tmp_path: Path) -> None:
    """What we write, Hugging Face wrote so too, and we read the same model from both."""
    folder, back = entry_folder, there_and_back(entry_folder, tmp_path)
    assert_same(tensors_of(back), needed(tensors_of(folder), entry.described))
    found, expected = config_of(back), config_of(folder)
    assert {key: expected.get(key) for key in found} == found
    with Checkpoint(folder) as source, Checkpoint(tmp_path / "run") as run, Checkpoint(back) as again:
        assert source.config == run.config == again.config


def test_a_run_holds_the_canonical_names(family: Family, folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "run", "run")
    config = load_model_config(tmp_path / "run" / "model.yaml")
    assert config.family == family.name
    found = {name: array.shape for name, array in tensors_of(tmp_path / "run").items()}
    assert found == {tensor.name: tensor.shape for tensor in canonical_tensors(config)}


def test_hugging_face_loads_what_we_write(entry: Entry, entry_folder: Path, tmp_path: Path) -> None:
    back = there_and_back(entry_folder, tmp_path)
    model, wrong = hugging_face(back)
    assert type(model).__name__ == entry.architecture
    # What Hugging Face computes when it is missing, the numbers below hold to account.
    missing = {name for names in wrong.values() for name in names}
    assert missing <= {name.removeprefix(entry.described.prefix) for name in entry.described.ignored}
    expected = hugging_face(entry_folder)[0].state_dict()
    assert all((tensor == expected[name]).all() for name, tensor in model.state_dict().items())


def test_shards_of_hugging_face(family: Family, folder: Path, tmp_path: Path) -> None:
    hugging_face(folder)[0].save_pretrained(tmp_path / "sharded", max_shard_size="5KB")
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 2
    assert_same(tensors_of(there_and_back(tmp_path / "sharded", tmp_path)), tensors_of(folder))


def test_shards_of_ours(family: Family, folder: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    shutil.copy(folder / "config.json", sharded)
    with Checkpoint(folder) as checkpoint:
        write_tensors(sharded, from_canonical(checkpoint.config, checkpoint.read), shard_size=5000)
    shards = sorted(sharded.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert shards[-1].name == f"model-{len(shards):05}-of-{len(shards):05}.safetensors"
    assert_same(tensors_of(sharded), tensors_of(folder))
    assert_same(tensors_of(there_and_back(sharded, tmp_path)), tensors_of(folder))
    assert not hugging_face(sharded)[1]


def test_one_by_one_and_all_at_once_agree(family: Family, folder: Path) -> None:
    with Checkpoint(folder) as checkpoint:
        arrays = dict(checkpoint.tensors())
        assert set(arrays) == {tensor.name for tensor in canonical_tensors(checkpoint.config)}
        for name, array in arrays.items():
            np.testing.assert_array_equal(checkpoint.read(name), array)


@pytest.mark.parametrize("family", [family for family in families().values() if family.prefix], ids=lambda family: family.name)
def test_a_base_model_alone(family: Family, checkpoint_of: Callable[..., Path], tmp_path: Path) -> None:
    """`GPT2Model.save_pretrained`: no prefix, no head."""
    base = hugging_face(checkpoint_of(family))[0].base_model
    base.save_pretrained(tmp_path / "base")
    source = tensors_of(tmp_path / "base")
    assert not any(name.startswith(family.prefix) for name in source)
    back = there_and_back(tmp_path / "base", tmp_path)
    assert_same(tensors_of(back), needed(source, family))
    assert config_of(back)["architectures"] == [type(base).__name__]
    # Whether a base model has a pooler, no config.json says; tables of sines are computed.
    assert all("pooler" in name or "embed_positions" in name for names in hugging_face(back)[1].values() for name in names)


def test_a_whole_model_whose_names_lost_their_prefix(family: Family, folder: Path, tmp_path: Path) -> None:
    """The hub's `gpt2` is such a file."""
    stripped = tmp_path / "stripped"
    stripped.mkdir()
    shutil.copy(folder / "config.json", stripped)
    write_tensors(stripped, ((name.removeprefix(family.prefix), array) for name, array in tensors_of(folder).items()))
    assert_same(tensors_of(there_and_back(stripped, tmp_path)), tensors_of(folder))


def test_tokenizer_files_come_along(folder: Path, family: Family, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "source" / "training_args.bin").write_text("", encoding="utf-8")
    convert(tmp_path / "source", tmp_path / "run", "run")
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found - {"generation_config.json"} == {"model.safetensors", "model.yaml", "tokenizer.json"}


def test_save_from_arrays(family: Family, folder: Path, tmp_path: Path) -> None:
    """What the frameworks call: a config and a function from canonical names to arrays."""
    with Checkpoint(folder) as checkpoint:
        arrays = dict(checkpoint.tensors())
        save(tmp_path / "hf", checkpoint.config, arrays.__getitem__, "hf")
    assert_same(tensors_of(tmp_path / "hf"), tensors_of(folder))
