"""This project's TensorFlow model under the questions of `parity.implementation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from configs.run import Optimizer
from parity.implementation import Inputs
from transformer_tf import Transformer, cross_entropy
from transformer_tf.cache import Cache
from transformer_tf.optimizer import build_optimizer
from transformer_tf.weights import named_weights, reader, to_canonical
from weight_mapping import canonical_tensors


class TensorFlow:
    """training: whether the loss is computed as in training, with dropout and gradient checkpointing where the model has them; False until
    it is set."""

    def __init__(self, model: Transformer) -> None:
        self.name = "TensorFlow"
        self.model = model
        self.training = False

    def _tensors(self, inputs: Inputs) -> dict[str, tf.Tensor]:
        dtype = self.model.compute_dtype
        return {name: tf.constant(array, dtype if array.dtype.kind == "f" else None) for name, array in inputs.items()}

    def logits(self, inputs: Inputs) -> np.ndarray:
        return self.model(**self._tensors(inputs)).numpy()

    def hidden_states(self, inputs: Inputs) -> dict[str, np.ndarray]:
        return {name: state.numpy() for name, state in self.model.hidden_states(**self._tensors(inputs)).items()}

    def step_by_step(self, inputs: Inputs) -> np.ndarray:
        tensors = self._tensors(inputs)
        own = "input_ids"
        if self.model.config.architecture == "encoder_decoder":
            own = "decoder_input_ids"
            tensors["encoded"] = self.model.encoder(tensors.pop(self.model.config.inputs.name), tensors.get("attention_mask"))
        ids_BT = tensors.pop(own)
        batch, length = ids_BT.shape
        positions_BT = tensors.pop("position_ids", None)
        cache = Cache(self.model.config, batch, length, tf.as_dtype(self.model.compute_dtype), ahead=1)
        steps = []
        for step in range(length):
            if positions_BT is not None:
                tensors["position_ids"] = positions_BT[:, step : step + 1]
            steps.append(self.model(**tensors, **{own: ids_BT[:, step : step + 1]}, cache=cache))
        return tf.concat(steps, 1).numpy()

    def _loss(self, inputs: Inputs, labels: np.ndarray) -> tf.Tensor:
        logits_BTC = self.model(**self._tensors(inputs), training=self.training)
        if logits_BTC.shape[-1] == 1:
            logits_BTC = tf.concat([tf.zeros_like(logits_BTC), logits_BTC], -1)
        labels_1N = tf.reshape(tf.constant(labels), (1, -1))
        return cross_entropy(tf.reshape(logits_BTC, (1, -1, logits_BTC.shape[-1])), labels_1N) / float((labels != -100).sum())

    def gradients(self, inputs: Inputs, labels: np.ndarray) -> dict[str, np.ndarray]:
        weights = named_weights(self.model)
        kinds = {tensor.name: tensor.kind for tensor in canonical_tensors(self.model.config)}
        with tf.GradientTape() as tape:
            loss = self._loss(inputs, labels)
        gradients = tape.gradient(loss, [weight.value for weight in weights.values()])
        return {
            name: to_canonical(tf.convert_to_tensor(gradient).numpy(), kinds[name])
            for name, gradient in zip(weights, gradients, strict=True)
            if gradient is not None
        }

    def train(self, batches: Sequence[tuple[Inputs, np.ndarray]], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        adamw = build_optimizer(optimizer)
        losses = []
        for inputs, labels in batches:
            with tf.GradientTape() as tape:
                loss = self._loss(inputs, labels)
            adamw.apply(tape.gradient(loss, self.model.trainable_variables), self.model.trainable_variables)
            losses.append(float(loss))
        read = reader(self.model)
        return losses, {name: read(name) for name in named_weights(self.model)}

    def generate(self, inputs: Inputs, **settings: Any) -> np.ndarray:
        # What is compared says all that it wants.
        self.model.generation_config = None
        return self.model.generate(**inputs, **settings).numpy()
