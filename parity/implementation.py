"""What every implementation can be asked, in NumPy arrays and canonical names. B batch, T length, D width, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from configs.run import Optimizer


class Implementation(Protocol):
    name: str

    def logits(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None, position_ids: np.ndarray | None = None) -> np.ndarray:
        """Logits (B, T, V) for ids (B, T)."""

    def hidden_states(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None) -> list[np.ndarray]:
        """The input of every layer and the last norm's output, each (B, T, D)."""

    def step_by_step(self, input_ids: np.ndarray) -> np.ndarray:
        """Logits (B, T, V) computed one token at a time with a key/value cache."""

    def gradients(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the next-token loss (a mean over targets) by canonical name."""

    def train(self, batches: Sequence[np.ndarray], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        """One optimizer step on each batch of ids: the loss before each, and the weights after all, by canonical name."""

    def generate(self, input_ids: np.ndarray, attention_mask: np.ndarray | None, **settings: Any) -> np.ndarray:
        """Ids of the prompts and what follows them."""
