"""This project's PyTorch model under the questions of `parity.implementation`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from configs.run import Optimizer
from parity.implementation import Inputs
from transformer_torch import Transformer, cross_entropy
from transformer_torch.cache import Cache
from transformer_torch.optimizer import build_optimizer
from transformer_torch.weights import named_weights, to_numpy


class PyTorch:
    def __init__(self, model: Transformer) -> None:
        self.name = "PyTorch"
        self.model = model

    def _tensors(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        dtype = next(self.model.parameters()).dtype
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    @torch.no_grad()
    def logits(self, inputs: Inputs) -> np.ndarray:
        return self.model(**self._tensors(inputs)).numpy()

    @torch.no_grad()
    def hidden_states(self, inputs: Inputs) -> dict[str, np.ndarray]:
        return {name: state.numpy() for name, state in self.model.hidden_states(**self._tensors(inputs)).items()}

    @torch.no_grad()
    def step_by_step(self, inputs: Inputs) -> np.ndarray:
        tensors = self._tensors(inputs)
        own = "input_ids"
        if self.model.config.architecture == "encoder_decoder":
            own = "decoder_input_ids"
            tensors["encoded"] = self.model.encoder(tensors.pop(self.model.config.inputs.name), tensors.get("attention_mask"))
        ids_BT = tensors.pop(own)
        batch, length = ids_BT.shape
        positions_BT = tensors.pop("position_ids", None)
        weight = next(self.model.parameters())
        cache = Cache(self.model.config, batch, length, weight.dtype, weight.device, ahead=1)
        steps = []
        for step in range(length):
            if positions_BT is not None:
                tensors["position_ids"] = positions_BT[:, step : step + 1]
            steps.append(self.model(**tensors, **{own: ids_BT[:, step : step + 1]}, cache=cache))
        return torch.cat(steps, 1).numpy()

    def _loss(self, inputs: Inputs, labels: np.ndarray) -> torch.Tensor:
        logits_BTC = self.model(**self._tensors(inputs))
        if logits_BTC.shape[-1] == 1:
            logits_BTC = torch.cat([torch.zeros_like(logits_BTC), logits_BTC], -1)
        labels_1N = torch.from_numpy(labels).reshape(1, -1)
        return cross_entropy(logits_BTC.reshape(1, -1, logits_BTC.shape[-1]), labels_1N) / int((labels != -100).sum())

    def gradients(self, inputs: Inputs, labels: np.ndarray) -> dict[str, np.ndarray]:
        self.model.zero_grad()
        self._loss(inputs, labels).backward()
        return {name: to_numpy(weight.grad) for name, weight in named_weights(self.model).items() if weight.grad is not None}

    def train(self, batches: Sequence[tuple[Inputs, np.ndarray]], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        adamw = build_optimizer(self.model, optimizer)
        losses = []
        for inputs, labels in batches:
            adamw.zero_grad()
            loss = self._loss(inputs, labels)
            loss.backward()
            adamw.step()
            losses.append(loss.item())
        return losses, {name: to_numpy(weight) for name, weight in named_weights(self.model).items()}

    def generate(self, inputs: Inputs, **settings: Any) -> np.ndarray:
        # What is compared says all that it wants.
        self.model.generation_config = None
        return self.model.generate(**inputs, **settings).numpy()
