"""What a run would be is told without running it, and is what it then is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from configs import UserError, load_model_config, load_run_config
from tests.train.runs import CONFIG, overrides, run_config, train, write_text
from train.__main__ import main
from train.dry_run import count_step, dry_run
from train.objectives import prepare
from train.preview import in_words
from transformer_torch import Transformer, cross_entropy
from transformer_torch.attention import ATTENTIONS

DATES = [
    "data.train=200",
    "data.validation=20",
    "data.test=20",
    "model.width=16",
    "model.attention.num_heads=2",
    "model.feed_forward.width=24",
    "train.batch_tokens=400",
]


def test_it_counts_the_products_of_a_step(tmp_path):
    """Forward, and twice as many backward: 6 N D for N weights of products and D tokens, and the attention's two products."""
    write_text(tmp_path)
    config = run_config(tmp_path)
    batch = prepare(config).train.batch(0)
    parameters, flops, activations = count_step(config, batch)
    assert parameters == sum(parameter.numel() for parameter in Transformer(config.model).parameters())
    width, tokens, length = config.model.width, batch.labels.size, batch.labels.shape[1]
    weights = 2 * (4 * width**2 + 2 * width * config.model.feed_forward.width) + width * config.model.vocab_size
    attention = 2 * (2 * 2 * length * width) * 3 * tokens
    assert flops == 6 * weights * tokens + attention
    assert activations > 4 * tokens * config.model.vocab_size


def test_checkpointing_keeps_less_and_computes_more(tmp_path):
    write_text(tmp_path)
    plain, checkpointing = (run_config(tmp_path, train__gradient_checkpointing=value) for value in ("false", "true"))
    batch = prepare(plain).train.batch(0)
    (_, flops, kept), (_, more, less) = count_step(plain, batch), count_step(checkpointing, batch)
    assert more > flops
    assert less < kept


def one_kernel(query_BHTK, key_BGSK, value_BGSK, mask_BHTS, is_causal, scale, soft_cap, dropout):
    """Attention as a GPU has it for every length and type."""
    return scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, mask_BHTS, 0.0, is_causal, scale=scale)


@pytest.mark.parametrize("preset", ["gpt2-character", "llama-character"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_it_counts_the_bytes_that_are_really_kept(tmp_path, monkeypatch, preset, precision, checkpointing):
    """Within a tenth: a kernel may lay out its result so that a copy is saved."""
    write_text(tmp_path)
    monkeypatch.setitem(ATTENTIONS, "fused", one_kernel)
    settings = {"train__precision": precision, "train__gradient_checkpointing": checkpointing, "model__max_length": 64}
    config = run_config(tmp_path, **settings)
    sizes = {"num_layers": 2, "width": 64, "vocab_size": 32, "max_length": 64}
    config = config.model_copy(update={"model": load_model_config(preset, [f"{key}={value}" for key, value in sizes.items()])})
    batch = prepare(config).train.batch(0)
    model = Transformer(config.model)
    model.set_gradient_checkpointing(checkpointing == "true")
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits_BTV = model(torch.from_numpy(batch.inputs["input_ids"]))
        cross_entropy(logits_BTV, torch.from_numpy(batch.labels))
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    assert count_step(config, batch)[2] == pytest.approx(found, rel=0.1)


def test_it_shows_a_batch_in_words(capsys):
    config = load_run_config("configs/runs/dates.yaml", DATES)
    corpus = prepare(config)
    dry_run(config, corpus, 1)
    shown = capsys.readouterr().out
    words = in_words(corpus.train.batch(0), corpus)
    assert words["decoder_input_ids"].startswith("<pad>")
    assert words["labels"].endswith("</s>")
    assert len(words["labels"]) == len("1986-01-20</s>")
    assert "padding" in shown
    assert repr(words["labels"]) in shown


def test_the_command_computes_nothing_and_makes_no_folder(tmp_path, monkeypatch, capsys):
    write_text(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", str(CONFIG), *overrides(tmp_path), "--dry-run"])
    forward, devices = Transformer.forward, []
    monkeypatch.setattr(
        Transformer, "forward", lambda self, *ids, **inputs: devices.append(self.token_table().device.type) or forward(self, *ids, **inputs)
    )
    assert main() == 0
    assert set(devices) == {"meta"}
    assert "parameters" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def preview(folder: Path, monkeypatch, environment: dict[str, str] | None = None, **changes) -> int:
    """`python -m train ... --dry-run` as a launcher with this environment would start it."""
    for key, value in (environment or {}).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("sys.argv", ["train", str(CONFIG), *overrides(folder, **changes), "--dry-run"])
    return main()


def kept_bytes(shown: str) -> str:
    return re.search(r"in float32, (\d+) of what", shown)[1]


def test_it_counts_with_the_launchers_precision_where_the_config_leaves_it_open(tmp_path, monkeypatch, capsys):
    write_text(tmp_path)
    large = {"model__width": 96, "model__max_length": 128, "train__batch_size": 16}
    kept = {}
    for name, launched, asked in (("float32", "no", "auto"), ("launched", "bf16", "auto"), ("asked", "no", "bf16")):
        assert preview(tmp_path, monkeypatch, {"ACCELERATE_MIXED_PRECISION": launched}, **large, train__precision=asked) == 0
        shown = capsys.readouterr().out
        assert f"runs as          1 process, {'float32' if name == 'float32' else 'bf16'}" in shown
        kept[name] = kept_bytes(shown)
    assert kept["launched"] == kept["asked"] != kept["float32"]


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"train__precision": "float32"}, "drop one of them or set train.precision=auto"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, {}, "DeepSpeed was asked for"),
        ({"WORLD_SIZE": "3", "ACCELERATE_USE_CPU": "true"}, {}, "train.batch_size=8 cannot be dealt out to 3 processes"),
        ({}, {"train__num_processes": 2}, "train.num_processes=2, and 1 is running"),
        ({}, {"train__trackers": "[wandb]"}, "train.trackers asks for wandb, and it is not installed"),
        ({}, {"train__existing": "resume"}, "nothing can be resumed"),
        ({}, {"train__output": CONFIG / "runs"}, f"cannot be made: nothing can be written to {CONFIG}; set train.output"),
    ],
)
def test_what_the_run_would_refuse_it_refuses_in_the_same_words(tmp_path, monkeypatch, environment, changes, message):
    monkeypatch.setattr("train.trackers.find_spec", lambda name: None)
    write_text(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        preview(tmp_path, monkeypatch, environment, **changes)


def test_shares_of_weights_are_counted(tmp_path, monkeypatch, capsys):
    write_text(tmp_path)
    corpus = prepare(run_config(tmp_path))
    fixed = []
    for processes, environment in ((1, {}), (8, {"ACCELERATE_USE_FSDP": "true"})):
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        dry_run(run_config(tmp_path, model__width=510, train__batch_size=8), corpus, processes)
        fixed.append(int(re.search(r"(\d+) of weights", capsys.readouterr().out)[1]))
    assert fixed[0] == pytest.approx(8 * fixed[1], abs=4)


def test_shares_of_deepspeed_are_counted_by_their_stage(tmp_path, monkeypatch, capsys):
    write_text(tmp_path)
    config = run_config(tmp_path, model__width=2040, train__batch_size=8)
    corpus = prepare(config)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    found = []
    for stage in ("1", "2", "3"):
        monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", stage)
        dry_run(config, corpus, 8, "bf16")
        shown = capsys.readouterr().out
        assert "AdamW's moments in bf16 and float32, its share" in shown
        found.append(int(re.search(r"(\d+) of weights", shown)[1]))
    # 2 + 4 + 12 / 8, 2 + 16 / 8 and 18 / 8 bytes of each parameter.
    assert found[0] / found[2] == pytest.approx(7.5 / 2.25, rel=0.02)
    assert found[1] / found[2] == pytest.approx(4 / 2.25, rel=0.02)


def test_it_says_what_would_happen_where_the_folder_exists(tmp_path, monkeypatch, capsys):
    """And leaves it as it is."""
    write_text(tmp_path)
    folder = tmp_path / "runs" / "tiny"

    def told(**changes) -> str:
        assert preview(tmp_path, monkeypatch, **changes) == 0
        return capsys.readouterr().out.splitlines()[-1]

    assert told() == f"folder           {folder} is made"
    assert train(tmp_path).returncode == 0
    before = sorted(folder.rglob("*"))
    second = folder.with_name("tiny_2")
    assert told(train__existing="auto") == f"folder           {second} is made by train.existing=auto; {folder} stays as it is"
    with pytest.raises(UserError, match=r"holds a finished run; use train.existing=new"):
        told()
    assert "parameters" in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before
    (folder / "summary.json").unlink()
    assert told(train__existing="resume").endswith("holds an unfinished run, and train.existing=resume goes on after step 6")
    with pytest.raises(UserError, match=r"optimizer.learning_rate=0.001, and now optimizer.learning_rate=0.5"):
        told(train__existing="resume", optimizer__learning_rate=0.5)
    with pytest.raises(UserError, match="was saved with precision no, and now it is bf16"):
        preview(tmp_path, monkeypatch, {"ACCELERATE_MIXED_PRECISION": "bf16"}, train__existing="resume")


def test_an_unknown_key_is_told_before_anything(tmp_path):
    with pytest.raises(ValueError, match="label_smothing"):
        load_run_config("configs/runs/dates.yaml", ["objective={kind: seq2seq, label_smothing: 0.1}"])
