"""Hugging Face as the reference, in float32 and in true float64. Any class of transformers whose family has a table."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import GenerationConfig
from transformers.core_model_loading import revert_weight_conversion

from configs import ModelConfig
from configs.run import Optimizer
from parity.implementation import Inputs
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
        settings = copy.deepcopy(model.config)
        # What leaves the last layer is what leaves the stack, after its final norm: vision models differ without this.
        settings.tie_last_hidden_states = True
        if config.attention.soft_cap is not None:
            # The fused kernels leave the cap out.
            settings._attn_implementation = "eager"
        with self._arithmetic():
            # Made anew in float64: tables that were rounded to float32 when the model was made would stay so.
            self.model = type(model)(settings).eval()
            if double:
                self.model = self.model.double()
            self._load(model.state_dict())
        self.model.generation_config = GenerationConfig(
            bos_token_id=config.special_tokens.bos,
            eos_token_id=list(config.special_tokens.eos) or None,
            pad_token_id=config.special_tokens.pad,
            decoder_start_token_id=config.special_tokens.decoder_start,
        )

    def _load(self, state: dict[str, torch.Tensor]) -> None:
        """Every tensor that a file holds is a trained parameter from now on, be it a buffer or frozen in Hugging Face."""
        named = dict(self.model.named_parameters(remove_duplicate=False)) | dict(self.model.named_buffers(remove_duplicate=False))
        files = revert_weight_conversion(self.model, dict(named))
        self._file_names = {id(tensor): name for name, tensor in files.items()}
        targets = {pair.source: pair.targets for pair in pairs(self.config, set(files))}
        # A frozen table that no file holds, such as sines and cosines, is computed: it stays as exact as it was made.
        computed = [
            name
            for name, tensor in self.model.named_parameters()
            if not tensor.requires_grad and self._file_names.get(id(tensor)) not in targets
        ]
        missing, unexpected = self.model.load_state_dict({name: tensor for name, tensor in state.items() if name not in computed}, False)
        assert sorted(missing) == sorted(computed), (missing, computed)
        assert not unexpected, unexpected
        for name, tensor in named.items():
            if self._file_names.get(id(tensor)) not in targets:
                continue
            if not isinstance(tensor, nn.Parameter):
                path, _, last = name.rpartition(".")
                module = self.model.get_submodule(path)
                delattr(module, last)
                setattr(module, last, nn.Parameter(tensor))
            else:
                tensor.requires_grad_()

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        if not self.double:
            yield
            return
        dtype, float_tensor = torch.get_default_dtype(), torch.FloatTensor
        torch.set_default_dtype(torch.float64)
        # A constructor of its own, which the mode below does not see.
        torch.FloatTensor = torch.DoubleTensor
        try:
            with TrueFloat64():
                yield
        finally:
            torch.FloatTensor = float_tensor
            torch.set_default_dtype(dtype)

    def takes(self, name: str) -> bool:
        """Whether Hugging Face's `forward` has this input."""
        return name in inspect.signature(self.model.forward).parameters

    def _tensors(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Without position_ids where Hugging Face has no such input."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name != "position_ids" or self.takes(name)}
        return {name: tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    def _output(self, out: Any) -> torch.Tensor:
        if "logits" in out:
            return out.logits
        return out.pooler_output if self.config.pooler is not None else out.last_hidden_state

    @torch.no_grad()
    def logits(self, inputs: Inputs) -> np.ndarray:
        with self._arithmetic():
            return self._output(self.model(**self._tensors(inputs))).numpy()

    @torch.no_grad()
    def hidden_states(self, inputs: Inputs) -> dict[str, np.ndarray]:
        with self._arithmetic():
            out = self.model(**self._tensors(inputs), output_hidden_states=True)
        if self.config.architecture == "encoder_decoder":
            return _named("encoder", out.encoder_hidden_states) | _named("decoder", out.decoder_hidden_states)
        return _named(self.config.architecture, out.hidden_states)

    @torch.no_grad()
    def step_by_step(self, inputs: Inputs) -> np.ndarray:
        tensors = self._tensors(inputs)
        with self._arithmetic():
            if self.config.architecture == "encoder_decoder":
                ids, mask = "decoder_input_ids", "decoder_attention_mask"
                tensors["encoder_outputs"] = self.model.get_encoder()(tensors.pop("input_ids"), tensors.get("attention_mask"))
            else:
                ids, mask = "input_ids", "attention_mask"
            whole = {name: tensors.pop(name) for name in (ids, mask, "position_ids") if name in tensors}
            past, logits = None, []
            for step in range(whole[ids].shape[1]):
                new = {name: tensor[:, 0 if name == mask else step : step + 1] for name, tensor in whole.items()}
                out = self.model(**tensors, **new, past_key_values=past, use_cache=True)
                past = out.past_key_values
                logits.append(out.logits)
        return torch.cat(logits, 1).numpy()

    def _loss(self, inputs: Inputs, labels: np.ndarray) -> torch.Tensor:
        with self._arithmetic():
            scores = self._output(self.model(**self._tensors(inputs)))
            return nn.functional.cross_entropy(scores.flatten(0, -2), torch.from_numpy(labels).flatten())

    def _canonical(self, read: Callable[[torch.Tensor], torch.Tensor | None]) -> dict[str, np.ndarray]:
        """What `read` gives for each parameter, by canonical name. Shared parameters stand under each of their names."""
        found = {name: read(parameter) for name, parameter in self.model.named_parameters(remove_duplicate=False)}
        files = revert_weight_conversion(self.model, {name: tensor for name, tensor in found.items() if tensor is not None})
        arrays = {name: tensor.detach().numpy() for name, tensor in files.items()}
        return {
            target.name: np.array(array)
            for pair in pairs(self.config, set(arrays))
            for target, array in zip(pair.targets, pair.forward(arrays[pair.source]), strict=True)
        }

    def gradients(self, inputs: Inputs, labels: np.ndarray) -> dict[str, np.ndarray]:
        self.model.zero_grad()
        self._loss(inputs, labels).backward()
        return self._canonical(lambda parameter: parameter.grad)

    def train(self, batches: Sequence[tuple[Inputs, np.ndarray]], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        # Grouped here again, and not by our own function: a mistake in that would pass unseen.
        decayed = [parameter for parameter in self.model.parameters() if parameter.ndim >= 2]
        others = [parameter for parameter in self.model.parameters() if parameter.ndim < 2]
        groups = [{"params": decayed, "weight_decay": optimizer.weight_decay}, {"params": others, "weight_decay": 0.0}]
        adamw = torch.optim.AdamW(groups, optimizer.learning_rate, (optimizer.beta1, optimizer.beta2), optimizer.epsilon)
        losses = []
        for inputs, labels in batches:
            adamw.zero_grad()
            loss = self._loss(inputs, labels)
            loss.backward()
            adamw.step()
            losses.append(loss.item())
        return losses, self._canonical(lambda parameter: parameter)

    def generate(self, inputs: Inputs, **settings: Any) -> np.ndarray:
        tensors = self._tensors(inputs)
        tensors.setdefault("attention_mask", torch.ones_like(tensors["input_ids"]))
        with self._arithmetic():
            return self.model.generate(**tensors, do_sample=False, num_beams=1, **settings).numpy()


def _named(stack: str, states: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
    names = [f"{stack}.embeddings", *(f"{stack}.layers.{layer}" for layer in range(len(states) - 1))]
    return {name: state.numpy() for name, state in zip(names, states, strict=True)}
