"""Normalization over the last axis, of hidden states (B, T, D) or of anything else; `weight` and `bias` are as long as that."""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig
from transformer_tf.module import Module


def plain_layer_norm(hidden: tf.Tensor, weight: tf.Tensor, bias: tf.Tensor | None, epsilon: float) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, equation 4)."""
    mean = tf.reduce_mean(hidden, -1, keepdims=True)
    variance = tf.reduce_mean(tf.square(hidden - mean), -1, keepdims=True)
    normal = (hidden - mean) * tf.math.rsqrt(variance + epsilon)
    return normal * weight if bias is None else normal * weight + bias


def plain_rms_norm(hidden: tf.Tensor, weight: tf.Tensor, epsilon: float) -> tf.Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019, equation 4)."""
    mean_square = tf.reduce_mean(tf.square(hidden), -1, keepdims=True)
    return hidden * tf.math.rsqrt(mean_square + epsilon) * weight


class LayerNorm(Module):
    """`plain_layer_norm`, which XLA fuses into one kernel."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.weight = self.add_weight(name="weight", shape=(size,), autocast=False)
        has_bias = config.norm.bias
        self.bias = self.add_weight(name="bias", shape=(size,), autocast=False) if has_bias else None

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        # Sums of squares need the range and the digits of float32, as PyTorch's kernel has inside.
        wide = tf.float64 if hidden.dtype == tf.float64 else tf.float32
        weight, bias = tf.cast(self.weight, wide), None if self.bias is None else tf.cast(self.bias, wide)
        return tf.cast(plain_layer_norm(tf.cast(hidden, wide), weight, bias, self.epsilon), hidden.dtype)


class RMSNorm(Module):
    """`plain_rms_norm`, which XLA fuses into one kernel. The weight may be stored as w - 1 (Gemma)."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.offset = 1.0 if config.norm.unit_offset else 0.0
        self.weight = self.add_weight(name="weight", shape=(size,), autocast=False)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        wide = tf.float64 if hidden.dtype == tf.float64 else tf.float32
        weight = tf.cast(self.weight, wide) + self.offset if self.offset else tf.cast(self.weight, wide)
        return tf.cast(plain_rms_norm(tf.cast(hidden, wide), weight, self.epsilon), hidden.dtype)


NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def build_norm(config: ModelConfig, size: int | None = None) -> keras.layers.Layer:
    """The norm that the config asks for, over `size` values: default the model's width."""
    return NORMS[config.norm.kind](config, size or config.width)
