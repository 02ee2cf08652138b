"""A checkpoint that does not fit is refused with one line that names the tensor, its shapes, and the nearest candidate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import save_file

from configs import UserError
from tests.weight_mapping.folders import config_of, refused, tensors_of, write
from weight_mapping import Checkpoint, convert, families
from weight_mapping.family import Family
from weight_mapping.files import INDEX, TensorFiles, whole_folder, write_tensors
from weight_mapping.hub import local_folder
from weight_mapping.mapping import checked_pairs
from weight_mapping.table import MISSING

Tensors = dict[str, np.ndarray]


def conversion(folder: Path, to: str = "run") -> Callable[[], Any]:
    return lambda: convert(folder, folder.parent / "destination", to)  # type: ignore[arg-type]


def damaged(folder: Path, tmp_path: Path, damage: Callable[[Tensors], Any]) -> Callable[[], Any]:
    """The conversion of the same checkpoint after `damage` to its tensors."""
    tensors = tensors_of(folder)
    damage(tensors)
    return conversion(write(tmp_path / "damaged", tensors, config_of(folder)))


class TestTensors:
    def test_missing(self, family: Family, folder: Path, tmp_path: Path) -> None:
        """Each tensor of each family, one after the other, but for buffers that a base model's file lacks."""
        buffers = {rule.source for rule in family.rules if rule.zeros}
        with Checkpoint(folder) as checkpoint:
            config = checkpoint.config
        tensors = tensors_of(folder)
        needed = [name for name in tensors if name not in buffers]
        for name in needed:
            array, rest = tensors[name], [other for other in tensors if other != name]
            message = refused(lambda rest=rest: checked_pairs(config, rest, lambda n: tensors[n].shape, tensors.__getitem__, "file"))
            assert f"{name.removeprefix(family.prefix)}' of shape {list(array.shape)} is missing" in message
        assert "is missing" in refused(damaged(folder, tmp_path, lambda tensors: tensors.pop(needed[0])))

    def test_misspelt(self, tied: Path, tmp_path: Path) -> None:
        def damage(tensors: Tensors) -> None:
            tensors["transformer.h.1.ln_3.bias"] = tensors.pop("transformer.h.1.ln_2.bias")

        message = refused(damaged(tied, tmp_path, damage))
        assert "'transformer.h.1.ln_2.bias' of shape [20] is missing; the nearest is 'transformer.h.1.ln_3.bias'" in message
        assert str(tmp_path / "damaged") in message

    def test_leftover(self, family: Family, folder: Path, tmp_path: Path) -> None:
        message = refused(damaged(folder, tmp_path, lambda tensors: tensors.update({"adapter.weight": np.ones((2, 3), np.float32)})))
        assert "'adapter.weight' of shape [2, 3] has no place in this model" in message

    def test_leftover_layer(self, tied: Path, tmp_path: Path) -> None:
        """A fourth layer, where config.json speaks of three."""

        def damage(tensors: Tensors) -> None:
            tensors |= {name.replace("h.2.", "h.3."): array for name, array in tensors.items() if "h.2." in name}

        message = refused(damaged(tied, tmp_path, damage))
        assert "'transformer.h.3." in message
        assert "(and 11 more); the nearest is" in message

    def test_misshaped(self, family: Family, folder: Path, tmp_path: Path) -> None:
        def damage(tensors: Tensors) -> None:
            tensors[name] = np.concatenate([tensors[name], tensors[name][:1]])

        for name, array in list(tensors_of(folder).items())[::7]:
            shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
            shape = list(array.shape)
            message = refused(damaged(folder, tmp_path, damage))
            assert f"'{name}' has shape {[shape[0] + 1, *shape[1:]]}, and the config asks for {shape}" in message

    def test_transposed(self, tied: Path, tmp_path: Path) -> None:
        """GPT-2's linear weights are inputs x outputs; a file that has them the other way round is not GPT-2's."""

        def damage(tensors: Tensors) -> None:
            tensors["transformer.h.0.mlp.c_fc.weight"] = tensors["transformer.h.0.mlp.c_fc.weight"].T

        message = refused(damaged(tied, tmp_path, damage))
        assert "'transformer.h.0.mlp.c_fc.weight' has shape [37, 20], and the config asks for [20, 37]" in message

    def test_a_run_is_checked_as_well(self, tied: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        convert(tied, run, "run")
        tensors = tensors_of(run)
        tensors["decoder.norm.wait"] = tensors.pop("decoder.norm.weight")
        (run / "model.safetensors").unlink()
        write_tensors(run, iter(tensors.items()))
        message = refused(conversion(run, "hf"))
        assert "'decoder.norm.weight' of shape [20] is missing; the nearest is 'decoder.norm.wait'" in message


class TestFiles:
    @pytest.fixture
    def copy(self, tied: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(tied, tmp_path / "copy"))

    @pytest.fixture
    def sharded(self, tied: Path, tmp_path: Path) -> Path:
        folder = tmp_path / "sharded"
        folder.mkdir()
        shutil.copy(tied / "config.json", folder)
        write_tensors(folder, iter(tensors_of(tied).items()), shard_size=20_000)
        return folder

    @pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
    def test_truncated(self, copy: Path, kept: float) -> None:
        path = copy / "model.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
        message = refused(conversion(copy))
        assert f"{path}: not a whole safetensors file" in message
        assert "truncated" in message

    def test_a_shard_is_missing(self, sharded: Path) -> None:
        shard = sorted(sharded.glob("model-*"))[1]
        shard.unlink()
        message = refused(conversion(sharded))
        assert f"names {shard.name}, which is not there" in message

    def test_a_tensor_of_the_index_is_in_no_shard(self, sharded: Path) -> None:
        index = json.loads((sharded / INDEX).read_text(encoding="utf-8"))
        index["weight_map"]["ghost"] = next(iter(index["weight_map"].values()))
        (sharded / INDEX).write_text(json.dumps(index), encoding="utf-8")
        assert "tensor 'ghost' is in the index and in none of the files" in refused(conversion(sharded))

    def test_a_tensor_in_two_shards(self, sharded: Path) -> None:
        first, second = sorted(sharded.glob("model-*"))[:2]
        shutil.copy(first, second)
        assert "stands in another file of this folder too" in refused(conversion(sharded))

    @pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": 3}'])
    def test_an_index_that_is_none(self, sharded: Path, text: str) -> None:
        (sharded / INDEX).write_text(text, encoding="utf-8")
        assert f"{sharded / INDEX}: not an index of shards" in refused(conversion(sharded))

    def test_an_index_does_not_lead_out_of_its_folder(self, sharded: Path) -> None:
        (sharded / INDEX).write_text(json.dumps({"weight_map": {"x": "../copy/model.safetensors"}}), encoding="utf-8")
        assert "outside of the folder" in refused(conversion(sharded))

    def test_a_pickle_is_not_read(self, copy: Path) -> None:
        (copy / "model.safetensors").unlink()
        torch.save({}, copy / "pytorch_model.bin")
        message = refused(conversion(copy))
        assert "pytorch_model.bin is a pickle" in message
        assert "convert it to safetensors" in message

    def test_weights_of_tensorflow_are_told_how_to_convert(self, copy: Path) -> None:
        (copy / "model.safetensors").rename(copy / "tf_model.h5")
        (copy / "training_args.bin").touch()
        assert "from_pretrained(FOLDER, from_tf=True).save_pretrained(NEW) converts it" in refused(conversion(copy))

    def test_no_weights_at_all(self, copy: Path) -> None:
        (copy / "model.safetensors").unlink()
        assert "found neither model.safetensors nor model.safetensors.index.json" in refused(conversion(copy))

    def test_no_checkpoint_at_all(self, tmp_path: Path) -> None:
        message = refused(lambda: convert(tmp_path, tmp_path / "destination", "run"))
        assert message.startswith(f"{tmp_path}: found neither model.yaml")
        (tmp_path / "adapter_config.json").touch()
        assert "it is an adapter (adapter_config.json); merge it into its model" in refused(lambda: Checkpoint(tmp_path))

    def test_an_adapter_with_a_config_or_beside_its_model(self, copy: Path) -> None:
        (copy / "adapter_config.json").touch()
        with Checkpoint(copy) as checkpoint:
            assert checkpoint.notes == ["adapter_config.json lies beside the model, and its adapter is not applied"]
        (copy / "model.safetensors").unlink()
        assert "it is an adapter (adapter_config.json); merge it into its model" in refused(lambda: Checkpoint(copy))

    def test_no_folder(self, tmp_path: Path) -> None:
        assert refused(lambda: convert(tmp_path / "nowhere", tmp_path / "run", "run")) == f"no folder {tmp_path / 'nowhere'}"
        assert "is a file; name the folder" in refused(lambda: local_folder(__file__))

    def test_a_hub_that_cannot_be_reached(self) -> None:
        message = refused(lambda: local_folder("someone/some-model"))
        assert "no model of that name in the cache, and HF_HUB_OFFLINE is set" in message

    def test_a_hub_that_has_pickles_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the hub of a name that is not in the cache, and whose files but pickles are fetched."""

        def fetch(name: str, allow_patterns: list[str], ignore_patterns: list[str], local_files_only: bool = False) -> str:
            wanted = ["config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "source.spm", "vocab.txt"]
            wanted += ["sentencepiece.bpe.model", "tokenizer.json", "chat_template.jinja"]
            others = ["pytorch_model.bin", "onnx/config.json", "consolidated.safetensors", "1_Pooling/config.json"]
            kept = filter_repo_objects(wanted + others, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
            assert list(kept) == wanted
            return str(tmp_path)

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        monkeypatch.setattr("weight_mapping.hub.require_hub", lambda what, instead: None)
        message = refused(lambda: local_folder("someone/some-model"))
        assert message.startswith("someone/some-model: the hub has no model.safetensors of it")

    def test_half_a_tensor_file_is_no_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(UserError, match="not a whole safetensors file"):
            TensorFiles(tmp_path)


class TestConfigs:
    def change(self, source: Path, tmp_path: Path, **changes: Any) -> str:
        config = {key: value for key, value in {**config_of(source), **changes}.items() if value is not None}
        return refused(conversion(write(tmp_path / "changed", tensors_of(source), config)))

    def test_unknown_model_type(self, tied: Path, tmp_path: Path) -> None:
        message = self.change(tied, tmp_path, model_type="gpt3")
        assert "model_type is 'gpt3', which is not built; did you mean 'gpt2'?" in message
        assert str(tmp_path / "changed" / "config.json") in message

    def test_no_model_type(self, tied: Path, tmp_path: Path) -> None:
        assert "model_type is None" in self.change(tied, tmp_path, model_type=None)

    def test_unknown_architecture(self, tied: Path, tmp_path: Path) -> None:
        message = self.change(tied, tmp_path, architectures=["GPT2DoubleHeadsModel"])
        assert "'GPT2DoubleHeadsModel' is not built; family 'gpt2' has: GPT2LMHeadModel, GPT2Model" in message

    def test_a_required_key_that_differs(self, family: Family, folder: Path, tmp_path: Path) -> None:
        for key, expected in family.required.items():
            shutil.rmtree(tmp_path / "changed", ignore_errors=True)
            expected = expected(config_of(folder)) if callable(expected) else expected
            other = not expected if isinstance(expected, bool) else f"not {expected}"
            message = self.change(folder, tmp_path, **{key: other})
            assert f"{key} is {other!r}, and only {expected!r} is built for family '{family.name}'" in message

    def test_an_activation_that_is_not_built(self, tied: Path, tmp_path: Path) -> None:
        message = self.change(tied, tmp_path, activation_function="mish")
        assert "activation_function is 'mish', which is not built; built: gelu," in message

    def test_sizes_that_cannot_be(self, tied: Path, tmp_path: Path) -> None:
        message = self.change(tied, tmp_path, n_head=3)
        assert "attention.num_heads=3 does not divide width=20" in message

    def test_a_config_that_speaks_of_another_model(self, tied: Path, tmp_path: Path) -> None:
        assert "has shape [83, 20], and the config asks for [84, 20]" in self.change(tied, tmp_path, vocab_size=84)

    def test_a_key_that_is_needed(self) -> None:
        """Hugging Face assumes something for every key of GPT-2; a family whose field has no default needs the key."""
        first, *others = families()["gpt2"].fields
        strict = replace(families()["gpt2"], fields=(replace(first, default=MISSING), *others))
        with pytest.raises(UserError, match="key 'vocab_size' is missing; family 'gpt2' needs it"):
            strict.read_config({"model_type": "gpt2"}, "config.json")

    @pytest.mark.parametrize("text", ["{", "[]", "\x00"])
    def test_no_json(self, tied: Path, tmp_path: Path, text: str) -> None:
        folder = Path(shutil.copytree(tied, tmp_path / "copy"))
        (folder / "config.json").write_text(text, encoding="utf-8")
        assert str(folder / "config.json") in refused(conversion(folder))

    def test_what_hugging_face_has_no_place_for(self, tied: Path, tmp_path: Path) -> None:
        """A run of ours that is no GPT-2 any more is not written as one."""
        convert(tied, tmp_path / "run", "run")
        path = tmp_path / "run" / "model.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("kind: learned", "kind: sinusoidal"), encoding="utf-8")
        text = path.read_text(encoding="utf-8").replace("  offset: 0\n  counted: all\n", "")
        path.write_text(text, encoding="utf-8")
        tensors = {name: array for name, array in tensors_of(tmp_path / "run").items() if "position" not in name}
        (tmp_path / "run" / "model.safetensors").unlink()
        write_tensors(tmp_path / "run", iter(tensors.items()))
        message = refused(conversion(tmp_path / "run", "hf"))
        assert "family 'gpt2' has positions.kind='learned', and this model has 'sinusoidal'" in message


class TestNothingHalfWritten:
    def test_a_failure_midway(self, folder: Path, family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = []

        def read(files: TensorFiles, name: str, whole: Any = TensorFiles.read) -> np.ndarray:
            reads.append(name)
            if len(reads) > 10:
                raise OSError("the disk is gone")
            return whole(files, name)

        monkeypatch.setattr(TensorFiles, "read", read)
        with pytest.raises(OSError, match="the disk is gone"):
            convert(folder, tmp_path / "below" / "run", "run")
        assert not list((tmp_path / "below").iterdir())

    def test_a_failure_between_shards(self, tied: Path, tmp_path: Path) -> None:
        def half() -> Any:
            for number, item in enumerate(tensors_of(tied).items()):
                if number == 20:
                    raise KeyboardInterrupt
                yield item

        def write_half() -> None:
            with whole_folder(tmp_path / "run") as folder:
                write_tensors(folder, half(), shard_size=5000)

        with pytest.raises(KeyboardInterrupt):
            write_half()
        assert not list(tmp_path.iterdir())

    def test_what_was_there_stays(self, tied: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "notes.txt").write_text("mine", encoding="utf-8")
        message = refused(lambda: convert(tied, tmp_path / "run", "run"))
        assert message == f"{tmp_path / 'run'} exists and is not empty; name another folder or remove it"
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_a_file_in_the_way(self, tied: Path, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("mine", encoding="utf-8")
        assert "exists" in refused(lambda: convert(tied, tmp_path / "run", "run"))

    def test_an_empty_folder_is_taken(self, tied: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        convert(tied, tmp_path / "run", "run")
        assert (tmp_path / "run" / "model.yaml").is_file()
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_overwriting_is_all_or_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "old").touch()
        with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "run", overwrite=True):
            _ = 1 // 0
        assert [path.name for path in tmp_path.rglob("*")] == ["run", "old"]
        with whole_folder(tmp_path / "run", overwrite=True) as folder:
            (folder / "new").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["run", "new"]


def test_a_type_that_numpy_does_not_have(tmp_path: Path, checkpoint_of: Callable[..., Path]) -> None:
    folder = checkpoint_of(families()["llama"])
    tensors = {name: torch.from_numpy(array) for name, array in tensors_of(folder).items()}
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.float8_e4m3fn)
    (tmp_path / "model").mkdir()
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    shutil.copy(folder / "config.json", tmp_path / "model")
    assert f"{name} is of type F8_E4M3, which NumPy does not have; convert it first" in refused(
        lambda: convert(tmp_path / "model", tmp_path / "run", "run")
    )
