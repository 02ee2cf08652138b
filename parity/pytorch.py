"""This project's PyTorch model under the questions of `parity.implementation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from configs.run import Optimizer
from transformer_torch import Transformer, cross_entropy
from transformer_torch.cache import Cache
from transformer_torch.optimizer import build_optimizer
from transformer_torch.weights import named_weights, to_numpy


class PyTorch:
    def __init__(self, model: Transformer) -> None:
        self.name = "PyTorch"
        self.model = model

    @torch.no_grad()
    def logits(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None, position_ids: np.ndarray | None = None) -> np.ndarray:
        return self.model(torch.from_numpy(input_ids), _tensor(attention_mask), _tensor(position_ids)).numpy()

    @torch.no_grad()
    def hidden_states(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None) -> list[np.ndarray]:
        return [state.numpy() for state in self.model.hidden_states(torch.from_numpy(input_ids), _tensor(attention_mask)).values()]

    @torch.no_grad()
    def step_by_step(self, input_ids: np.ndarray) -> np.ndarray:
        weight = self.model.decoder.embeddings.token.weight
        cache = Cache(self.model.config, input_ids.shape[0], input_ids.shape[1], weight.dtype, weight.device)
        ids_BT = torch.from_numpy(input_ids)
        steps = [self.model(ids_BT[:, position : position + 1], cache=cache) for position in range(ids_BT.shape[1])]
        return torch.cat(steps, 1).numpy()

    def _loss(self, input_ids: np.ndarray) -> torch.Tensor:
        ids_BT = torch.from_numpy(input_ids)
        return cross_entropy(self.model(ids_BT)[:, :-1], ids_BT[:, 1:]) / ids_BT[:, 1:].numel()

    def gradients(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        self.model.zero_grad()
        self._loss(input_ids).backward()
        return {name: to_numpy(weight.grad) for name, weight in named_weights(self.model).items() if weight.grad is not None}

    def train(self, batches: Sequence[np.ndarray], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        adamw = build_optimizer(self.model, optimizer)
        losses = []
        for batch in batches:
            adamw.zero_grad()
            loss = self._loss(batch)
            loss.backward()
            adamw.step()
            losses.append(loss.item())
        return losses, {name: to_numpy(weight) for name, weight in named_weights(self.model).items()}

    def generate(self, input_ids: np.ndarray, attention_mask: np.ndarray | None, **settings: Any) -> np.ndarray:
        return self.model.generate(input_ids, attention_mask=attention_mask, **settings).numpy()


def _tensor(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(array)
