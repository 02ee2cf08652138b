"""The matrix products of a training step alone, 6 layers of width 384 on 12 x 256 tokens: the ceiling of each framework.
`python -m benchmarks.products`

Forward, and both products of the backward pass: no softmax, no norms, no optimizer. What a framework loses here no model wins back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Built, main

TOKENS, LAYERS = 12 * 256, 6
# Inputs and outputs of the four attention projections and of both feed-forward products.
SIZES = [(384, 384)] * 4 + [(384, 1536), (1536, 384)]
GIGAFLOPS = LAYERS * sum(3 * 2 * TOKENS * inputs * outputs for inputs, outputs in SIZES) / 1e9


def arrays() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each product its inputs, its weight and the gradient of its outputs."""
    random = np.random.default_rng(0)
    return [
        (
            random.standard_normal((TOKENS, inputs), np.float32),
            random.standard_normal((outputs, inputs), np.float32),
            random.standard_normal((TOKENS, outputs), np.float32),
        )
        for inputs, outputs in SIZES
    ]


def pytorch(onednn: bool) -> Callable[[], Built]:
    def build() -> Built:
        import torch

        from transformer_torch.products import by_onednn

        tensors = [tuple(map(torch.from_numpy, three)) for three in arrays()]
        product = by_onednn if onednn else torch.nn.functional.linear

        def step() -> list[Any]:
            for _ in range(LAYERS):
                found = [(product(x, weight), product(gradient, weight.T), product(gradient.T, x.T)) for x, weight, gradient in tensors]
            return [product for three in found for product in three]

        return step, lambda: [float(product[0, 0]) for product in step()]

    return build


def tensorflow(jit_compile: bool) -> Callable[[], Built]:
    def build() -> Built:
        import tensorflow as tf

        # As our layers keep them: inputs first.
        tensors = [(tf.constant(x), tf.constant(weight.T), tf.constant(gradient)) for x, weight, gradient in arrays()]

        def products(x: Any, weight: Any, gradient: Any) -> Any:
            return x @ weight, tf.matmul(gradient, weight, transpose_b=True), tf.matmul(gradient, x, transpose_a=True)

        compiled = tf.function(products, jit_compile=jit_compile)

        def step() -> list[Any]:
            for _ in range(LAYERS):
                found = [compiled(*three) for three in tensors]
            return [product for three in found for product in three]

        return step, lambda: [float(product[0, 0]) for product in step()]

    return build


BUILDERS = {
    "PyTorch, MKL": pytorch(onednn=False),
    "PyTorch, oneDNN": pytorch(onednn=True),
    "TensorFlow": tensorflow(jit_compile=False),
    "TensorFlow XLA": tensorflow(jit_compile=True),
}

if __name__ == "__main__":
    main("benchmarks.products", "Matrix products of a training step, GPT-2 6 x 384, 12 x 256", GIGAFLOPS, "GFLOP/s", 1e-4)
