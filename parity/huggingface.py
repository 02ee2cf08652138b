"""Hugging Face as the reference, in float32 and in true float64. Any class of transformers whose family has a table."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin
from transformers.core_model_loading import revert_weight_conversion

from configs import ModelConfig
from configs.run import Optimizer
from parity.implementation import Inputs
from parity.true_float64 import in_float32, true_float64
from weight_mapping.mapping import Pair, pairs


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
        if double and config.feed_forward.experts is not None:
            # The grouped kernel has no float64.
            settings._experts_implementation = "eager"
        with self._arithmetic():
            # Made anew in float64: tables that were rounded to float32 when the model was made would stay so.
            self.model = type(model)(settings, **pooling(type(model), getattr(model, "pooler", None) is not None)).eval()
            if double:
                self.model = self.model.double()
            output = self.model.get_output_embeddings()
            if output is not None and not config.head.tied:
                # Hugging Face 5 makes every T5 tied; files with a head of its own untie it when they are read.
                output.weight = nn.Parameter(output.weight.detach().clone())
            self._load(model.state_dict())
        self.model.generation_config = GenerationConfig(
            bos_token_id=config.special_tokens.bos,
            eos_token_id=list(config.special_tokens.eos) or None,
            pad_token_id=config.special_tokens.pad,
            decoder_start_token_id=config.special_tokens.decoder_start,
        )
        for module in self.model.modules():
            if hasattr(module, "_relative_position_bucket"):
                # A distance on the border of two buckets may fall into the other one in float64, and models are trained in float32.
                module._relative_position_bucket = in_float32(module._relative_position_bucket)

    def _load(self, state: dict[str, torch.Tensor]) -> None:
        """Every buffer that a file holds becomes a parameter to be trained."""
        tensors = dict(self.model.named_parameters(remove_duplicate=False)) | dict(self.model.named_buffers(remove_duplicate=False))
        held = {id(tensor) for _, tensor in self._held(tensors)}
        # A frozen table that no file holds, such as sines and cosines, is computed: it stays as exact as it was made.
        computed = [name for name, tensor in self.model.named_parameters() if not tensor.requires_grad and id(tensor) not in held]
        kept = {name: tensor for name, tensor in state.items() if name not in computed}
        missing, unexpected = self.model.load_state_dict(kept, strict=False)
        assert sorted(missing) == sorted(computed), missing
        assert not unexpected, unexpected
        for name, tensor in tensors.items():
            if id(tensor) in held and not isinstance(tensor, nn.Parameter):
                path, _, last = name.rpartition(".")
                module = self.model.get_submodule(path)
                delattr(module, last)
                setattr(module, last, nn.Parameter(tensor))

    def _held(self, tensors: dict[str, torch.Tensor]) -> list[tuple[Pair, torch.Tensor]]:
        """Those of the model's `tensors` that a file holds, laid out as there, each with its place in the table of names."""
        files = revert_weight_conversion(self.model, tensors)
        return [(pair, files[pair.source]) for pair in pairs(self.config, set(files)) if pair.source in files]

    def _arithmetic(self) -> AbstractContextManager[None]:
        return true_float64() if self.double else nullcontext()

    def takes(self, name: str) -> bool:
        """Whether Hugging Face's `forward` has this input."""
        return name in inspect.signature(self.model.forward).parameters

    def _begin(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Tensors for a question that is asked of a fresh model; without position_ids where Hugging Face has no such input."""
        for module in self.model.modules():
            # Dynamic rotary frequencies depend on the longest call so far.
            for name in [name for name, _ in module.named_buffers(recurse=False) if name.endswith("original_inv_freq")]:
                prefix = name.removesuffix("original_inv_freq")
                setattr(module, f"{prefix}inv_freq", getattr(module, name).clone())
                setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name != "position_ids" or self.takes(name)}
        return {name: tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}

    def _output(self, out: Any) -> torch.Tensor:
        if "logits" in out:
            # Hugging Face drops the axis of a class that is alone.
            is_alone = self.config.head.kind == "token_classification" and out.logits.ndim == 2
            return out.logits[..., None] if is_alone else out.logits
        if self.config.head.kind == "projection":
            return out["text_embeds" if "text_embeds" in out else "image_embeds"]
        return out.pooler_output if self.config.pooler is not None else out.last_hidden_state

    @torch.no_grad()
    def logits(self, inputs: Inputs) -> np.ndarray:
        with self._arithmetic():
            return self._output(self.model(**self._begin(inputs))).numpy()

    @torch.no_grad()
    def hidden_states(self, inputs: Inputs) -> dict[str, np.ndarray]:
        with self._arithmetic():
            out = self.model(**self._begin(inputs), output_hidden_states=True)
            if self.config.architecture == "encoder_decoder":
                return _named("encoder", out.encoder_hidden_states) | _named("decoder", out.decoder_hidden_states)
            *states, last = out.hidden_states
            # CLIP's tower of images gives its final norm the pooled vector alone.
            norm = getattr(self.model.base_model, "post_layernorm", nn.Identity())
            return _named(self.config.architecture, [*states, norm(last)])

    @torch.no_grad()
    def step_by_step(self, inputs: Inputs) -> np.ndarray:
        tensors = self._begin(inputs)
        with self._arithmetic():
            if self.config.architecture == "encoder_decoder":
                ids, mask = "decoder_input_ids", "decoder_attention_mask"
                tensors["encoder_outputs"] = self.model.get_encoder()(tensors.pop(self.config.inputs.name), tensors.get("attention_mask"))
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
            scores = self._output(self.model(**self._begin(inputs)))
            if scores.shape[-1] == 1:
                scores = torch.cat([torch.zeros_like(scores), scores], -1)
            return nn.functional.cross_entropy(scores.flatten(0, -2), torch.from_numpy(labels).flatten())

    def _canonical(self, read: Callable[[torch.Tensor], torch.Tensor | None]) -> dict[str, np.ndarray]:
        """What `read` gives for each parameter, by canonical name."""
        # A shared parameter stands under each of its names: the table knows one of them.
        found = {name: read(parameter) for name, parameter in self.model.named_parameters(remove_duplicate=False)}
        return {
            target.name: np.array(array)
            for pair, tensor in self._held({name: tensor for name, tensor in found.items() if tensor is not None})
            for target, array in zip(pair.targets, pair.forward(tensor.detach().numpy()), strict=True)
        }

    def gradients(self, inputs: Inputs, labels: np.ndarray) -> dict[str, np.ndarray]:
        self.model.zero_grad()
        self._loss(inputs, labels).backward()
        return self._canonical(lambda parameter: parameter.grad)

    def train(self, batches: Sequence[tuple[Inputs, np.ndarray]], optimizer: Optimizer) -> tuple[list[float], dict[str, np.ndarray]]:
        # Grouped here again, and not by our own function: a mistake in that would pass unseen.
        axes = {id(tensor): len(pair.targets[0].shape) for pair, tensor in self._held(dict(self.model.named_parameters()))}
        decayed = [parameter for parameter in self.model.parameters() if axes.get(id(parameter), parameter.ndim) >= 2]
        others = [parameter for parameter in self.model.parameters() if axes.get(id(parameter), parameter.ndim) < 2]
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
        tensors = self._begin(inputs)
        if "input_ids" in tensors:
            tensors.setdefault("attention_mask", torch.ones_like(tensors["input_ids"]))
        with self._arithmetic():
            # Whisper's own cuts what the decoder has read off again, and more.
            return GenerationMixin.generate(self.model, **tensors, do_sample=False, num_beams=1, **settings).numpy()


def pooling(kind: Any, is_pooled: bool) -> dict[str, Any]:
    """How a class that makes a pooler unasked is told to make none."""
    return {"add_pooling_layer": False} if not is_pooled and "add_pooling_layer" in inspect.signature(kind).parameters else {}


def _named(stack: str, states: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
    names = [f"{stack}.embeddings", *(f"{stack}.layers.{layer}" for layer in range(len(states) - 1))]
    return {name: state.numpy() for name, state in zip(names, states, strict=True)}
