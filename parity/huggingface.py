"""Hugging Face as the reference, in float32 and in true float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from configs import ModelConfig
from configs.run import Optimizer
from weight_mapping.mapping import pairs


class TrueFloat64(TorchFunctionMode):
    """Inside, whatever asks for float32 gets float64: Hugging Face's norms, rotary positions and softmax ask for it by name."""

    def __torch_function__(self, function: Callable, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        arguments = tuple(torch.float64 if value is torch.float32 else value for value in arguments)
        keywords = {key: torch.float64 if value is torch.float32 else value for key, value in (keywords or {}).items()}
        return function(*arguments, **keywords)


class HuggingFace:
    """A Hugging Face model under the questions of `parity.implementation`. double: in true float64."""

    def __init__(self, model: Any, config: ModelConfig, double: bool = False) -> None:
        self.name = "Hugging Face float64" if double else "Hugging Face"
        self.config = config
        self.double = double
        with self._arithmetic():
            # Made anew in float64: tables that were rounded to float32 when the model was made would stay so.
            self.model = type(model)(type(model.config).from_dict(model.config.to_dict())).eval()
            if double:
                self.model = self.model.double()
            self.model.load_state_dict(model.state_dict())

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        if not self.double:
            yield
            return
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with TrueFloat64():
                yield
        finally:
            torch.set_default_dtype(before)

    def _run(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None, position_ids: np.ndarray | None = None) -> Any:
        more = {"attention_mask": attention_mask, "position_ids": position_ids}
        tensors = {name: torch.from_numpy(array) for name, array in more.items() if array is not None}
        with self._arithmetic():
            return self.model(torch.from_numpy(input_ids), output_hidden_states=True, **tensors)

    @torch.no_grad()
    def logits(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None, position_ids: np.ndarray | None = None) -> np.ndarray:
        return self._run(input_ids, attention_mask, position_ids).logits.numpy()

    @torch.no_grad()
    def hidden_states(self, input_ids: np.ndarray, attention_mask: np.ndarray | None = None) -> list[np.ndarray]:
        return [state.numpy() for state in self._run(input_ids, attention_mask).hidden_states]

    @torch.no_grad()
    def step_by_step(self, input_ids: np.ndarray) -> np.ndarray:
        ids_BT, past, logits = torch.from_numpy(input_ids), None, []
        with self._arithmetic():
            for position in range(ids_BT.shape[1]):
                out = self.model(ids_BT[:, position : position + 1], past_key_values=past, use_cache=True)
                past = out.past_key_values
                logits.append(out.logits)
        return torch.cat(logits, 1).numpy()

    def _loss(self, input_ids: np.ndarray) -> torch.Tensor:
        logits_BTV = self._run(input_ids).logits[:, :-1]
        with self._arithmetic():
            return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), torch.from_numpy(input_ids)[:, 1:].flatten())

    def _canonical(self, tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
        return {
            target.name: np.array(array)
            for pair in pairs(self.config, set(arrays))
            for target, array in zip(pair.targets, pair.forward(arrays[pair.source]), strict=True)
        }

    def gradients(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        self.model.zero_grad()
        self._loss(input_ids).backward()
        return self._canonical({name: parameter.grad for name, parameter in self.model.named_parameters()})

    def train(self, batches: Sequence[np.ndarray], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        # Grouped here again, and not by our own function: a mistake in that would pass unseen.
        decayed = [parameter for parameter in self.model.parameters() if parameter.ndim >= 2]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim < 2]
        groups = [{"params": decayed, "weight_decay": optimizer.weight_decay}, {"params": others, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(groups, optimizer.learning_rate, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)
        losses = []
        for batch in batches:
            adamw.zero_grad()
            loss = self._loss(batch)
            loss.backward()
            adamw.step()
            losses.append(loss.item())
        return losses, self._canonical(dict(self.model.named_parameters()))

    def generate(self, input_ids: np.ndarray, attention_mask: np.ndarray | None, **settings: Any) -> np.ndarray:
        mask = np.ones_like(input_ids) if attention_mask is None else attention_mask
        with self._arithmetic():
            return self.model.generate(
                torch.from_numpy(input_ids), attention_mask=torch.from_numpy(mask), do_sample=False, num_beams=1, **settings
            ).numpy()
