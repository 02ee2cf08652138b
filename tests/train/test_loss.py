"""What a step makes smaller: with R-Drop the mean of two readings' losses, and alpha / 2 times what they disagree by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch
from accelerate import Accelerator
from torch.nn import functional as F

import transformer_tf
import transformer_torch
from configs import UserError, load_model_config, load_run_config
from train import loop, tensorflow_loop
from train.dry_run import count_step
from train.loss import training_loss
from train.objectives import prepare
from train.run_folder import RunFolder
from train.tensorflow_loss import training_loss as training_loss_tf

CONFIG = load_model_config("gpt2-character", ["width=32", "feed_forward.width=64", "num_layers=2", "vocab_size=30"])
IDS = np.random.default_rng(0).integers(0, 30, (3, 8))
LABELS = np.where(IDS % 4 == 0, -100, np.roll(IDS, -1))


def loss(framework: str, rate: float, r_drop: float) -> tuple[float, list[np.ndarray]]:
    """Of a model with this dropout in training, and the gradients of its weights."""
    dropout = CONFIG.dropout.model_copy(update={"embedding": rate, "attention": rate, "residual": rate})
    config = CONFIG.model_copy(update={"dropout": dropout})
    if framework == "torch":
        torch.manual_seed(3)
        model = transformer_torch.Transformer(config, seed=1).train()
        computed = training_loss(model, {"input_ids": torch.from_numpy(IDS)}, torch.from_numpy(LABELS), 0.1, r_drop)
        computed.backward()
        return float(computed.detach()), [parameter.grad.numpy() for parameter in model.parameters() if parameter.grad is not None]
    keras.utils.set_random_seed(3)
    twin = transformer_tf.Transformer(config, seed=1)
    with tf.GradientTape() as tape:
        value = training_loss_tf(twin, tf.constant(IDS), tf.constant(LABELS), 0.1, r_drop)
    return float(value), [tf.convert_to_tensor(gradient).numpy() for gradient in tape.gradient(value, twin.trainable_variables)]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_where_nothing_is_dropped_readings_agree(framework: str) -> None:
    """The loss and its gradients are those of one reading."""
    (once, gradients), (twice, others) = (loss(framework, 0.0, r_drop) for r_drop in (0.0, 5.0))
    assert twice == pytest.approx(once, rel=1e-6)
    for gradient, other in zip(gradients, others, strict=True):
        np.testing.assert_allclose(other, gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_what_is_dropped_differs_between_readings(framework: str) -> None:
    """The loss is linear in alpha, and rises with it."""
    first, second, third = (loss(framework, 0.3, r_drop)[0] for r_drop in (1.0, 2.0, 3.0))
    assert second - first == pytest.approx(third - second, rel=1e-2)
    assert second - first > 1e-3


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_it_is_the_papers_loss_halved(framework: str) -> None:
    """-log p(y) - log q(y) + alpha / 2 (KL(p || q) + KL(q || p)), of a model that gives what it is told."""
    logits_2BTV = torch.randn(2, 3, 8, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels_BT = torch.from_numpy(LABELS)
    log_p, log_q = logits_2BTV.log_softmax(-1)[:, labels_BT != -100]
    targets = labels_BT[labels_BT != -100]
    read = F.nll_loss(log_p, targets, reduction="sum") + F.nll_loss(log_q, targets, reduction="sum")
    divergences = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()
    expected = float(read + 5.0 / 2 * divergences) / 2

    def model(**inputs: Any) -> torch.Tensor:
        assert torch.equal(inputs["input_ids"], torch.from_numpy(np.concatenate([IDS, IDS])))
        return logits_2BTV.flatten(0, 1)

    def twin(ids: tf.Tensor, training: bool) -> tf.Tensor:
        np.testing.assert_array_equal(ids, np.concatenate([IDS, IDS]))
        return tf.constant(logits_2BTV.flatten(0, 1).numpy())

    if framework == "torch":
        found = float(training_loss(model, {"input_ids": torch.from_numpy(IDS)}, labels_BT, 0.0, 5.0))  # type: ignore[arg-type]
    else:
        found = float(training_loss_tf(twin, tf.constant(IDS), tf.constant(LABELS), 0.0, 5.0))
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_model_without_dropout_is_refused() -> None:
    said = r"r_drop=5\.0 compares two readings with other dropout, and model\.dropout is 0; set it, or r_drop=0"
    with pytest.raises(UserError, match=said):
        load_run_config("configs/runs/dates.yaml", ["objective={kind: seq2seq, r_drop: 5}", "model.dropout=0"])


def test_a_dry_run_counts_both_readings() -> None:
    config = load_run_config("configs/runs/dates.yaml", ["train.batch_tokens=null", "train.batch_size=4", "model.dropout=0.1"])
    batch = prepare(config).train.batch(0)
    twice = config.model_copy(update={"objective": config.objective.model_copy(update={"r_drop": 1.0})})
    assert count_step(twice, batch)[1] == 2 * count_step(config, batch)[1]


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
def test_a_trainer_takes_what_the_objective_says(framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["data.train=200", "data.validation=20", "data.test=20", "train.batch_tokens=200", "model.width=24", "model.dropout=0.1"]
    objective = "objective={kind: seq2seq, label_smoothing: 0.2, r_drop: 3.0}"
    config = load_run_config("configs/runs/dates.yaml", [*changes, objective])
    corpus, asked = prepare(config), []

    def recorded(module: Any) -> None:
        original = module.training_loss
        monkeypatch.setattr(module, "training_loss", lambda *words: asked.append(words[3:]) or original(*words))

    if framework == "torch":
        recorded(loop)
        loop.Trainer(config, Accelerator(cpu=True), corpus, RunFolder(tmp_path, False)).train_step(0, 1e-3)
    else:
        recorded(tensorflow_loop)
        tensorflow_loop.Trainer(config, corpus).step(0)
    assert set(asked) == {(0.2, 3.0)}


@pytest.mark.parametrize("framework", ["torch", "tensorflow"])
@pytest.mark.parametrize("clip", ["0.01", "null"])
def test_a_gradient_is_scaled_down_to_the_clip(framework: str, clip: str, tmp_path: Path) -> None:
    """With a large epsilon AdamW's first step is in proportion to the gradient; the norm that is logged is the one before."""
    changes = ["data.train=200", "data.validation=20", "data.test=20", "train.batch_tokens=200", "model.width=24", "model.dropout=0"]
    optimizer = f"optimizer={{learning_rate: 100.0, epsilon: 100.0, weight_decay: 0.0, clip: {clip}}}"
    config = load_run_config("configs/runs/dates.yaml", [*changes, optimizer, "schedule.warmup_steps=0"])
    corpus = prepare(config)
    if framework == "torch":
        trainer = loop.Trainer(config, Accelerator(cpu=True), corpus, RunFolder(tmp_path, False))
        before = [parameter.detach().clone().numpy() for parameter in trainer.plain.parameters()]
        _, norm, _ = trainer.train_step(0, 100.0)
        after = [parameter.detach().numpy() for parameter in trainer.plain.parameters()]
    else:
        twin = tensorflow_loop.Trainer(config, corpus)
        before = [variable.numpy() for variable in twin.model.trainable_variables]
        _, norm, _ = twin.step(0)
        after = [variable.numpy() for variable in twin.model.trainable_variables]
    assert float(norm) > 0.1
    moved = sum(float(np.square(new - old).sum()) for new, old in zip(after, before, strict=True)) ** 0.5
    assert moved == pytest.approx(float(norm) if clip == "null" else 0.01, rel=0.05)
