"""The weights before training, drawn in NumPy by canonical name: one seed gives both frameworks the same model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs import ModelConfig
from weight_mapping.names import canonical_tensors


def initial_tensors(config: ModelConfig, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """N(0, std) for matrices and tables; projections into the residual sum are divided by sqrt(2 layers) (GPT-2, 2.3)."""
    std = config.initialization.std
    residual = (2 * config.num_layers) ** -0.5 if config.initialization.scale_residual else 1.0
    generator = np.random.default_rng(seed)
    for tensor in canonical_tensors(config):
        if tensor.initial in ("zeros", "ones"):
            yield tensor.name, np.full(tensor.shape, float(tensor.initial == "ones"), np.float32)
        else:
            scale = np.float32(std * residual if tensor.initial == "residual" else std)
            yield tensor.name, generator.standard_normal(tensor.shape, np.float32) * scale
