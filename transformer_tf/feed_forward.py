"""Position-wise feed-forward network ("Attention Is All You Need", 3.3).

B batch, T query length, D model width, F feed-forward width, U experts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from configs import ModelConfig
from transformer_tf.dropout import Dropout
from transformer_tf.linear import Linear
from transformer_tf.module import Module
from transformer_tf.normalization import build_norm


def gelu(hidden: tf.Tensor) -> tf.Tensor:
    """x Phi(x) = 0.5 x (1 + erf(x / sqrt(2))) (Hendrycks and Gimpel 2016)."""
    return 0.5 * hidden * (1.0 + tf.math.erf(hidden * 2**-0.5))


def gelu_tanh(hidden: tf.Tensor) -> tf.Tensor:
    """0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) (Hendrycks and Gimpel 2016, section 2)."""
    inner = math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden * hidden * hidden)
    return 0.5 * hidden * (1.0 + tf.tanh(inner))


def quick_gelu(hidden: tf.Tensor) -> tf.Tensor:
    """x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, section 2)."""
    return hidden * tf.sigmoid(1.702 * hidden)


def silu(hidden: tf.Tensor) -> tf.Tensor:
    """x sigmoid(x) (Hendrycks and Gimpel 2016, section 2)."""
    return hidden * tf.sigmoid(hidden)


ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "quick_gelu": quick_gelu,
    "silu": silu,
    "tanh": tf.tanh,
}


class FeedForward(Module):
    """down(activation(up(x))) ("Attention Is All You Need", equation 2), or gated: down(activation(gate(x)) * up(x)) (Shazeer 2020,
    equation 6).

    It holds its norms, which `Layer` applies.
    """

    def __init__(self, config: ModelConfig, has_norms: bool = True) -> None:
        super().__init__()
        width, bias = config.feed_forward.width, config.feed_forward.bias
        self.activation = ACTIVATIONS[config.feed_forward.activation]
        self.norm = build_norm(config) if has_norms else None
        self.gate = Linear(config.width, width, bias) if config.feed_forward.gated else None
        self.up = Linear(config.width, width, bias)
        self.down = Linear(width, config.width, bias)
        self.dropout = Dropout(config.dropout.feed_forward)
        self.output_norm = build_norm(config) if has_norms and config.norm.placement == "both" else None

    def call(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        if self.gate is None:
            hidden_BTF = self.activation(self.up(hidden_BTD))
        else:
            hidden_BTF = self.activation(self.gate(hidden_BTD)) * self.up(hidden_BTD)
        return self.down(self.dropout(hidden_BTF))


class Experts(Module):
    """Mixture of experts: for each token the sum of the networks that a router scores highest, weighted by the softmax of their scores
    (Shazeer et al. 2017, 2; Mixtral, Jiang et al. 2024, 2.1).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts = config.feed_forward.experts
        assert experts is not None
        self.per_token = experts.per_token
        self.norm = build_norm(config)
        self.router = Linear(config.width, experts.count, False)
        self.experts: Any = [FeedForward(config, has_norms=False) for _ in range(experts.count)]
        self.output_norm = build_norm(config) if config.norm.placement == "both" else None

    def call(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        shares_BTU = self.shares(hidden_BTD)
        mixed_BTD = tf.zeros_like(hidden_BTD)
        # Every expert computes every token, and most get a share of zero: so all shapes are known before the router has spoken.
        for index, expert in enumerate(self.experts):
            mixed_BTD = mixed_BTD + shares_BTU[..., index : index + 1] * expert(hidden_BTD)
        return mixed_BTD

    def shares(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        """Softmax over the best few experts of each token, zero for the others."""
        logits_BTU = self.router(hidden_BTD)
        best = tf.math.top_k(logits_BTU, self.per_token).indices
        best_BTU = tf.reduce_sum(tf.one_hot(best, logits_BTU.shape[-1], dtype=logits_BTU.dtype), -2)
        return tf.nn.softmax(tf.where(best_BTU == 0.0, logits_BTU.dtype.min, logits_BTU))


def build_feed_forward(config: ModelConfig) -> keras.layers.Layer:
    """One network or several, as the config asks for."""
    return FeedForward(config) if config.feed_forward.experts is None else Experts(config)
