"""The weights before training, drawn in NumPy by canonical name: one seed gives both frameworks the same model."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from configs import ModelConfig
from configs.tables import audio_table
from weight_mapping.names import Tensor, canonical_tensors


def initial_tensors(config: ModelConfig, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of the model as `config.initialization` draws it, in float32; projections into the residual sum may be scaled down."""
    draw = xavier if config.initialization.kind == "xavier" else normal
    residual = (2 * config.num_layers) ** -0.5 if config.initialization.scale_residual else 1.0
    generator = np.random.default_rng(seed)
    for tensor in canonical_tensors(config):
        if tensor.initial in ("zeros", "ones"):
            yield tensor.name, np.full(tensor.shape, float(tensor.initial == "ones"), np.float32)
        elif tensor.initial == "sines":
            yield tensor.name, audio_table(*tensor.shape).astype(np.float32)
        else:
            scale = residual if tensor.initial == "residual" else 1.0
            yield tensor.name, draw(tensor, config, scale, generator)


def normal(tensor: Tensor, config: ModelConfig, scale: float, generator: np.random.Generator) -> np.ndarray:
    """Matrices and tables from N(0, std^2), times `scale`."""
    return generator.standard_normal(tensor.shape, np.float32) * np.float32(config.initialization.std * scale)


def xavier(tensor: Tensor, config: ModelConfig, scale: float, generator: np.random.Generator) -> np.ndarray:
    """Matrices evenly within sqrt(6 / (inputs + outputs)) of zero (Glorot and Bengio 2010, eq. 16), tables from N(0, 1 / width)."""
    if tensor.kind in ("embedding", "vector"):
        return generator.standard_normal(tensor.shape, np.float32) * np.float32(tensor.shape[-1] ** -0.5 * scale)
    outputs, *inputs = tensor.shape
    bound = (6 / (prod(inputs) + outputs)) ** 0.5
    return (2 * generator.random(tensor.shape, np.float32) - 1) * np.float32(bound * scale)
