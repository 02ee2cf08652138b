"""What a run would be is told without running it, and is what it then is."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from configs import load_model_config, load_run_config
from tests.train.runs import CONFIG, overrides, run_config, write_text
from train.dry_run import count_step, dry_run, in_words
from train.objectives import prepare
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
    from train.__main__ import main

    write_text(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", str(CONFIG), *overrides(tmp_path), "--dry-run"])
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    assert main() == 0
    assert "parameters" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_an_unknown_key_is_told_before_anything(tmp_path):
    with pytest.raises(ValueError, match="label_smothing"):
        load_run_config("configs/runs/dates.yaml", ["objective={kind: seq2seq, label_smothing: 0.1}"])
