"""The model: one or two stacks, and a head. B batch, T query length, S key length, D model width, V vocabulary."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from configs import ModelConfig, UserError, check_inputs
from transformer_torch.attention import ATTENTIONS
from transformer_torch.cache import Cache
from transformer_torch.cuda_graphs import StepMemories
from transformer_torch.generation import generate, stream
from transformer_torch.generation_rows import Rows
from transformer_torch.heads import build_head
from transformer_torch.layers import Stack
from transformer_torch.pooler import Pooler
from transformer_torch.weights import assign
from weight_mapping import initial_tensors

# The most programs that are compiled, one for each amount of room.
PROGRAMS = 256


class Transformer(nn.Module):
    """A model as `config` describes it, with fresh weights drawn from `seed` (None leaves them unset, to be filled).

    attention: ``fused`` for PyTorch's kernel or ``plain`` for the readable formula; the numbers are the same but for rounding and
        padding that sees nothing.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0, attention: str = "fused") -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise UserError(f"attention={attention!r} is not built; choose one of: {', '.join(ATTENTIONS)}")
        self.config = config
        # What a loaded folder's generation_config.json says.
        self.generation_config: dict[str, Any] | None = None
        self.encoder: Any = Stack(config, "encoder", attention) if "encoder" in config.stacks else None
        shared = self.encoder.embeddings.token if self.encoder is not None and config.inputs.kind == "tokens" else None
        self.decoder: Any = Stack(config, "decoder", attention, shared) if "decoder" in config.stacks else None
        self.pooler = Pooler(config, config.pooler) if config.pooler else None
        self.head = build_head(config)
        self.compiled_continue: Any = None
        self.step_memories: Any = None
        # How `for_inference` has packed the weights.
        self.packed: str | None = None
        if seed is not None:
            assign(self, initial_tensors(config, seed))

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoded: torch.Tensor | None = None,
        cache: Cache | None = None,
        hidden_states: MutableMapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """What the head computes from the last hidden states.

        input_ids: integers (B, T).
        attention_mask: (B, S), 1 for tokens and 0 for padding, those in the cache too; of an encoder-decoder, the encoder's. Default: no
            padding.
        position_ids: integers (B, T), of an encoder-decoder the encoder's. Default: 0, 1, 2, ... after those in the cache, or as
            `positions.counted` says.
        token_type_ids: the segment of each token, integers (B, T), of an encoder-decoder the encoder's. Default: 0.
        pixel_values: images (B, channels, height, width), in place of input_ids.
        input_features: log-mel spectra (B, mel bins, frames), in place of input_ids.
        decoder_input_ids: of an encoder-decoder, the decoder's tokens.
        decoder_attention_mask: of an encoder-decoder, the decoder's mask.
        encoded: of an encoder-decoder, what the encoder has computed (B, S, D), so that it need not run again.
        cache: keys and values of the tokens before, to which those of these tokens are added.
        hidden_states: a mapping that receives the hidden states of every layer, by the names that the method `hidden_states` gives.

        Returns logits: of a language model (B, T, V), of a token classifier (B, T, num_labels), of a sequence classifier (B, num_labels).
        Of a projection, its vectors (B, head.width). Without a head, the pooler's vectors (B, D); without a pooler too, the hidden states
        (B, T, D).
        Raises UserError for inputs that the model has no use for, and for longer sequences than it knows.
        """
        check_inputs(
            self.config,
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            pixel_values=pixel_values,
            input_features=input_features,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoded=encoded,
            cache=cache,
        )
        inputs = {"input_ids": input_ids, "pixel_values": pixel_values, "input_features": input_features}[self.config.inputs.name]
        if self.encoder is None:
            hidden_BTD = self.decoder(inputs, attention_mask, position_ids, token_type_ids, cache=cache, hidden_states=hidden_states)
            return self.apply_head(hidden_BTD, attention_mask, inputs)
        if encoded is None:
            encoded = self.encoder(inputs, attention_mask, position_ids, token_type_ids, hidden_states=hidden_states)
        if self.decoder is None:
            return self.apply_head(encoded, attention_mask, inputs)
        hidden_BTD = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            cache=cache,
            encoded_BSD=encoded,
            encoder_mask_BS=attention_mask,
            hidden_states=hidden_states,
        )
        return self.apply_head(hidden_BTD, decoder_attention_mask, decoder_input_ids)

    def apply_head(self, hidden_BTD: torch.Tensor, attention_mask_BS: torch.Tensor | None, inputs: Any) -> torch.Tensor:
        """From the last hidden states to what the model gives. inputs: what the last stack read."""
        pooled = hidden_BTD if self.pooler is None else self.pooler(hidden_BTD, attention_mask_BS, inputs)
        return self.head(pooled, self.token_table())

    def hidden_states(self, **inputs: Any) -> dict[str, torch.Tensor]:
        """What enters the first layer of a stack and what leaves each, the last one after the final norm: (B, T, D) each, by name.

        inputs: those of the model.
        """
        hidden_states: dict[str, torch.Tensor] = {}
        self(**inputs, hidden_states=hidden_states)
        return hidden_states

    def token_table(self) -> torch.Tensor | None:
        """The vectors of the vocabulary (V, E), which a tied head shares. None for a model of images."""
        stacks = self.config.token_stacks
        return getattr(self, stacks[0]).embeddings.token.weight if stacks else None

    def generate(self, input_ids: Any = None, **settings: Any) -> Any:
        """Continue prompts; see `transformer_torch.generation.generate`."""
        return generate(self, input_ids, **settings)

    def stream(self, input_ids: Any = None, **settings: Any) -> Iterator[np.ndarray]:
        """Continue prompts token by token; see `transformer_torch.generation.stream`."""
        return stream(self, input_ids, **settings)

    def compile(self, *arguments: Any, options: dict[str, Any] | None = None, **settings: Any) -> None:
        """Compile `forward`, as every module's `compile` does, and how `generate` continues texts: one program for all lengths, on a GPU
        recorded as a CUDA graph.

        Arguments are those of `torch.compile`. Programs that continue texts see other weights, types and devices, and whether the model
        trains; not that a part of it was set to another number.
        """
        own: dict[str, Any] = {} if options is None else {"options": options}
        # PyTorch takes some of them out of the dict.
        super().compile(*arguments, **{name: dict(value) for name, value in own.items()}, **settings)
        if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
            # PyTorch would compile eight amounts of room, those of all models together, and continue others without a word uncompiled.
            own |= {"recompile_limit": PROGRAMS, "isolate_recompiles": True}
            if settings.get("mode") is None:
                own["options"] = {"guard_filter_fn": may_change, **(options or {})}
        self.compiled_continue = torch.compile(Rows.continue_with, *arguments, **(own | settings))
        self.step_memories = StepMemories(self.compiled_continue)

    def __getstate__(self) -> dict[str, Any]:
        # Like every module's, a copy or a pickle is not compiled.
        return {**super().__getstate__(), "compiled_continue": None, "step_memories": None}

    def _apply(self, fn: Any, recurse: bool = True) -> Transformer:
        # What was recorded reads the weights where they were.
        if self.step_memories is not None:
            self.step_memories.memories.clear()
        super()._apply(fn, recurse)
        return self

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Keep only the layers' inputs for the backward pass and compute the rest again (Chen et al. 2016)."""
        for stack in (self.encoder, self.decoder):
            if stack is not None:
                stack.gradient_checkpointing = enabled


def may_change(guards: Sequence[Any]) -> list[bool]:
    """Which of a program's conditions are looked at before each step: of the model, those about its tensors, and whether it trains. To look
    at all takes GPT-2 0.6 ms a step."""
    of_model = [guard.name.startswith("self.model.") and not guard.name.endswith(".training") for guard in guards]
    return [not fixed or guard.guard_type == "TENSOR_MATCH" for guard, fixed in zip(guards, of_model, strict=True)]
