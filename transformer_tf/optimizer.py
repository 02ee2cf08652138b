"""AdamW (Loshchilov and Hutter 2019, algorithm 2), with weight decay on matrices and tables only, and by the whole learning rate, as in
PyTorch; in the paper by its schedule alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from configs.run import Optimizer


def build_optimizer(optimizer: Optimizer, learning_rate: float | Callable[[], tf.Tensor] | None = None) -> AdamW:
    """An optimizer as the config asks for. learning_rate: a number, or a function that gives it for each step."""
    rate = optimizer.learning_rate if learning_rate is None else learning_rate
    return AdamW(rate, optimizer.beta1, optimizer.beta2, optimizer.epsilon, optimizer.weight_decay)


@keras.saving.register_keras_serializable("transformer_tf")
class AdamW(keras.optimizers.Optimizer):
    """PyTorch's AdamW; tables and matrices decay, norms and biases do not.

    w <- w - rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * w), m and v the moving means of g and g^2.
    Keras's own adds epsilon before the correction by beta2, which is another number.
    """

    def __init__(self, learning_rate: Any, beta1: float, beta2: float, epsilon: float, decay: float, **settings: Any) -> None:
        super().__init__(learning_rate=learning_rate, **settings)
        self.beta1, self.beta2, self.epsilon, self.decay = beta1, beta2, epsilon, decay

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self.means = [self.add_variable_from_reference(variable, "mean") for variable in variables]
        self.squares = [self.add_variable_from_reference(variable, "square") for variable in variables]

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        index = self._get_variable_index(variable)
        mean, square = self.means[index], self.squares[index]
        dtype = tf.as_dtype(variable.dtype)
        gradient, rate = tf.cast(tf.convert_to_tensor(gradient), dtype), tf.cast(learning_rate, dtype)
        # In bfloat16 a beta2 of 0.999 would be 1.
        wide = tf.float64 if dtype == tf.float64 else tf.float32
        step = tf.cast(self.iterations + 1, wide)
        mean.assign(mean + (gradient - mean) * (1 - self.beta1))
        square.assign(square * self.beta2 + gradient * gradient * (1 - self.beta2))
        mean_scale, square_scale = (tf.cast(1 - tf.pow(tf.constant(beta, wide), step), dtype) for beta in (self.beta1, self.beta2))
        direction = mean / mean_scale / (tf.sqrt(square / square_scale) + self.epsilon)
        decay = self.decay if len(variable.shape) >= 2 else 0.0
        variable.assign(variable - rate * (direction + decay * variable))

    def get_config(self) -> dict[str, Any]:
        own = {"beta1": self.beta1, "beta2": self.beta2, "epsilon": self.epsilon, "decay": self.decay}
        return super().get_config() | own
