"""What every implementation can be asked, in NumPy arrays and canonical names. B batch, T length, D width, C classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from configs.run import Optimizer

# What goes into a model, under Hugging Face's names: input_ids, attention_mask, pixel_values, decoder_input_ids, ...
Inputs: TypeAlias = Mapping[str, np.ndarray]


class Implementation(Protocol):
    """One loss for every model: the mean cross-entropy of what comes out, its last axis taken as scores, against integer labels of
    the axes before it; labels of -100 count for nothing. A score that is alone is that of class 1, and class 0 has 0."""

    name: str

    def logits(self, inputs: Inputs) -> np.ndarray:
        """What comes out: a head's scores (B, T, C) or (B, C), else the pooler's vectors (B, D), else hidden states (B, T, D)."""

    def hidden_states(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """What enters the first layer of each stack and what leaves each layer, the last one after the final norm: (B, T, D) each.

        By name, in the order of computation: ``encoder.embeddings``, ``encoder.layers.0``, ..., ``decoder.embeddings``, ...
        """

    def step_by_step(self, inputs: Inputs) -> np.ndarray:
        """`logits` of a language model, computed one token at a time with a key/value cache."""

    def gradients(self, inputs: Inputs, labels: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the loss by canonical name."""

    def train(self, batches: Sequence[tuple[Inputs, np.ndarray]], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        """One optimizer step on each batch of inputs and labels: the loss before each, and the weights after all, by canonical name."""

    def generate(self, inputs: Inputs, **settings: Any) -> np.ndarray:
        """Ids of the prompts and what follows them; of what a decoder writes where there is an encoder."""
