"""The learning rate's values, and which parameters decay."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from configs import load_model_config
from configs.run import Optimizer, Schedule
from train.schedule import learning_rate
from transformer_torch import Transformer
from transformer_torch.optimizer import build_optimizer


def rates(kind: str, warmup: int = 4, steps: int = 25, final: float = 0.1) -> list[float]:
    schedule = Schedule(kind=kind, warmup_steps=warmup, final=final)
    return [learning_rate(schedule, 2.0, step, steps) for step in range(steps)]


def test_warm_up_rises_in_equal_steps_to_the_height():
    assert rates("cosine")[:5] == pytest.approx([0.4, 0.8, 1.2, 1.6, 2.0])
    assert rates("cosine", warmup=0)[0] == 2.0


def test_cosine_ends_at_its_final_share():
    values = rates("cosine")
    assert values[14] == pytest.approx(2.0 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))))
    assert values[-1] == pytest.approx(0.2)
    assert values[4:] == sorted(values[4:], reverse=True)


def test_linear_and_constant():
    values = rates("linear", final=0.0)
    assert values[14] == pytest.approx(1.0)
    assert values[-1] == 0.0
    assert set(rates("constant")[4:]) == {2.0}


def test_with_the_inverse_root_of_the_step():
    """Its height where the warm-up ends, and half of it after four times as many steps ("Attention Is All You Need", equation 3)."""
    values = rates("inverse_sqrt")
    assert values[:4] == rates("cosine")[:4]
    assert (values[4], values[19]) == pytest.approx((2.0, 1.0))


def test_a_single_step_has_a_rate():
    assert rates("cosine", warmup=0, steps=1) == [2.0]


def test_matrices_decay_and_vectors_do_not():
    model = Transformer(load_model_config("gpt2-character", ["num_layers=1", "width=16", "feed_forward.width=8"]))
    optimizer = build_optimizer(model, Optimizer(weight_decay=0.1, learning_rate=0.5))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.5 * 0.1 if parameter.ndim >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * factor, msg=name)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
    assert optimizer.param_groups[0]["fused"]


def test_adamw_of_tensorflow_has_its_digits_in_bfloat16():
    """A beta2 of 0.999 is 1 there: what it corrects by would be 0, and a weight without a gradient no number."""
    import keras
    import tensorflow as tf

    from transformer_tf.optimizer import AdamW

    weight = keras.Variable([1.0, 1.0], dtype="bfloat16")
    optimizer = AdamW(0.1, 0.9, 0.999, 1e-8, 0.0)
    optimizer.apply([tf.constant([0.5, 0.0], tf.bfloat16)], [weight])
    np.testing.assert_allclose(np.asarray(weight.value, np.float32), [0.9, 1.0], atol=0.01)
