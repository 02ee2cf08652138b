"""This project's TensorFlow model under the questions of `parity.implementation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from configs.run import Optimizer
from transformer_tf import Transformer, cross_entropy
from transformer_tf.cache import Cache
from transformer_tf.optimizer import build_optimizer
from transformer_tf.weights import named_weights, reader, to_canonical
from weight_mapping import canonical_tensors


class TensorFlow:
    def __init__(self, model: Transformer) -> None:
        self.name = "TensorFlow"
        self.model = model

    def logits(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None, position_ids: np.ndarray | None = None) -> np.ndarray:
        return self.model(tf.constant(input_ids), _tensor(attention_mask), _tensor(position_ids)).numpy()

    def hidden_states(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None) -> list[np.ndarray]:
        return [state.numpy() for state in self.model.hidden_states(tf.constant(input_ids), _tensor(attention_mask)).values()]

    def step_by_step(self, input_ids: np.ndarray) -> np.ndarray:
        cache = Cache(self.model.config, input_ids.shape[0], input_ids.shape[1], tf.as_dtype(self.model.compute_dtype))
        ids_BT = tf.constant(input_ids)
        steps = [self.model(ids_BT[:, position : position + 1], cache=cache) for position in range(ids_BT.shape[1])]
        return tf.concat(steps, 1).numpy()

    def _loss(self, input_ids: np.ndarray) -> tf.Tensor:
        ids_BT = tf.constant(input_ids)
        return cross_entropy(self.model(ids_BT, training=True)[:, :-1], ids_BT[:, 1:]) / float(np.prod(ids_BT[:, 1:].shape))

    def gradients(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        weights = named_weights(self.model)
        kinds = {tensor.name: tensor.kind for tensor in canonical_tensors(self.model.config)}
        with tf.GradientTape() as tape:
            loss = self._loss(input_ids)
        gradients = tape.gradient(loss, [weight.value for weight in weights.values()])
        return {
            name: to_canonical(tf.convert_to_tensor(gradient).numpy(), kinds[name])
            for name, gradient in zip(weights, gradients, strict=True)
            if gradient is not None
        }

    def train(self, batches: Sequence[np.ndarray], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        adamw = build_optimizer(optimizer)
        losses = []
        for batch in batches:
            with tf.GradientTape() as tape:
                loss = self._loss(batch)
            adamw.apply(tape.gradient(loss, self.model.trainable_variables), self.model.trainable_variables)
            losses.append(float(loss))
        read = reader(self.model)
        return losses, {name: read(name) for name in named_weights(self.model)}

    def generate(self, input_ids: np.ndarray, attention_mask: np.ndarray | None, **settings: Any) -> np.ndarray:
        return self.model.generate(input_ids, attention_mask=attention_mask, **settings).numpy()


def _tensor(array: np.ndarray | None) -> tf.Tensor | None:
    return None if array is None else tf.constant(array)
