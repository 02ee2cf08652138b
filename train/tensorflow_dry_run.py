"""What a step of a TensorFlow run takes, without running it, for `train.preview`."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from configs import RunConfig
from train.batches import Batch
from train.objectives.corpus import Corpus
from train.preview import preview, preview_folder
from train.tensorflow_devices import strategy
from train.tensorflow_loop import conditions, tensors
from train.tensorflow_loss import training_loss
from transformer_tf import Transformer


def dry_run(config: RunConfig, corpus: Corpus) -> None:
    """Print all of it, but for the bytes that the backward pass needs, which TensorFlow does not tell of a graph."""
    parts, devices = config.train.accumulation_steps, strategy(config).num_replicas_in_sync
    flops = count_step(config, corpus.train.batch(0).share(processes=devices, parts=parts))
    now = conditions(config, corpus.fingerprint)
    preview(config, corpus, f"{devices} device{'s' * (devices > 1)}, {now['precision']}", flops * parts * devices, None, "device")
    print(preview_folder(config, now))


def count_step(config: RunConfig, batch: Batch) -> int:
    """FLOPs of one forward and backward pass in matrix products, as `train.dry_run` counts them; nothing is computed for it."""
    model = Transformer(config.model, seed=None)
    model.set_gradient_checkpointing(config.train.gradient_checkpointing)

    def step(share: dict[str, Any]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = training_loss(model, share["inputs"], share["labels"], config.objective.label_smoothing, config.objective.r_drop)
        return tape.gradient(loss, model.trainable_variables)

    shapes = tf.nest.map_structure(tf.TensorSpec.from_tensor, tensors(batch))
    return count_products(tf.function(step, autograph=False).get_concrete_function(shapes).graph)


def count_products(graph: tf.Graph) -> int:
    """2 m k n for each product of (m, k) and (k, n) that the graph's results need.

    Not by TensorFlow's own profiler, which takes the wrong k of batched products with a transposed side.
    """
    waiting, needed = [tensor.op for tensor in graph.outputs], set()
    while waiting:
        if (operation := waiting.pop()) not in needed:
            needed.add(operation)
            waiting += [tensor.op for tensor in operation.inputs] + operation.control_inputs
    return sum(map(flops, needed))


def flops(operation: tf.Operation) -> int:
    """Of a product or a convolution; others count nothing."""
    kind, inputs, result = operation.type, operation.inputs, operation.outputs[0].shape if operation.outputs else ()
    if kind in ("MatMul", "BatchMatMulV2"):
        is_transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return 2 * inputs[0].shape[-2 if is_transposed else -1] * math.prod(result)
    if kind == "Conv2D":
        return 2 * math.prod(inputs[1].shape[:3]) * math.prod(result)
    if kind == "Conv2DBackpropFilter":
        return 2 * math.prod(result[:3]) * math.prod(inputs[2].shape)
    if kind == "Conv2DBackpropInput":
        return 2 * math.prod(inputs[1].shape[:3]) * math.prod(inputs[2].shape)
    return 0
