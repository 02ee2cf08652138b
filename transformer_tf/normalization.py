"""Normalisation over the model width. B batch, T query length, D model width."""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.module import Module


def plain_layer_norm(hidden_BTD: tf.Tensor, weight_D: tf.Tensor, bias_D: tf.Tensor | None, epsilon: float) -> tf.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias (Ba et al. 2016, equation 4)."""
    mean_BT1 = tf.reduce_mean(hidden_BTD, -1, keepdims=True)
    variance_BT1 = tf.reduce_mean(tf.square(hidden_BTD - mean_BT1), -1, keepdims=True)
    normal_BTD = (hidden_BTD - mean_BT1) * tf.math.rsqrt(variance_BT1 + epsilon)
    return normal_BTD * weight_D if bias_D is None else normal_BTD * weight_D + bias_D


def plain_rms_norm(hidden_BTD: tf.Tensor, weight_D: tf.Tensor, epsilon: float) -> tf.Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019, equation 4)."""
    mean_square_BT1 = tf.reduce_mean(tf.square(hidden_BTD), -1, keepdims=True)
    return hidden_BTD * tf.math.rsqrt(mean_square_BT1 + epsilon) * weight_D


class LayerNorm(Module):
    """`plain_layer_norm`, which XLA fuses into one kernel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.weight = self.add_weight(name="weight", shape=(config.width,), initializer="ones", autocast=False)
        self.bias = (
            self.add_weight(name="bias", shape=(config.width,), initializer="zeros", autocast=False) if config.norm.has_bias else None
        )

    def call(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        # Sums of squares need the range and the digits of float32, as PyTorch's kernel has inside.
        wide = tf.float64 if hidden_BTD.dtype == tf.float64 else tf.float32
        weight_D, bias_D = tf.cast(self.weight, wide), None if self.bias is None else tf.cast(self.bias, wide)
        return tf.cast(plain_layer_norm(tf.cast(hidden_BTD, wide), weight_D, bias_D, self.epsilon), hidden_BTD.dtype)


class RMSNorm(Module):
    """`plain_rms_norm`, which XLA fuses into one kernel."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.epsilon = config.norm.epsilon
        self.weight = self.add_weight(name="weight", shape=(config.width,), initializer="ones", autocast=False)

    def call(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        wide = tf.float64 if hidden_BTD.dtype == tf.float64 else tf.float32
        return tf.cast(plain_rms_norm(tf.cast(hidden_BTD, wide), tf.cast(self.weight, wide), self.epsilon), hidden_BTD.dtype)


NORMS = {"layer": LayerNorm, "rms": RMSNorm}


def build_norm(config: ModelConfig) -> keras.layers.Layer:
    """The norm that the config asks for."""
    if config.norm.unit_offset:
        raise UserError("norm.unit_offset is not built yet")
    return NORMS[config.norm.kind](config)
