"""The model: a stack and a head. B batch, T query length, S key length, D model width, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from configs import ModelConfig, UserError
from transformer_torch.attention import ATTENTIONS
from transformer_torch.cache import Cache
from transformer_torch.generation import generate
from transformer_torch.heads import build_head
from transformer_torch.layers import Decoder
from transformer_torch.weights import assign
from weight_mapping import initial_tensors


class Transformer(nn.Module):
    """A model as `config` describes it, with fresh weights drawn from `seed` (None leaves them unset, to be filled).

    attention: ``fused`` for PyTorch's kernel or ``plain`` for the readable formula; the numbers are the same.
    """

    def __init__(self, config: ModelConfig, seed: int | None = 0, attention: str = "fused") -> None:
        super().__init__()
        if config.architecture != "decoder":
            raise UserError(f"architecture={config.architecture!r} is not built yet; built: decoder")
        if attention not in ATTENTIONS:
            raise UserError(f"attention={attention!r} is not built; choose one of: {', '.join(ATTENTIONS)}")
        self.config = config
        self.decoder = Decoder(config, attention)
        self.head = build_head(config)
        if seed is not None:
            assign(self, initial_tensors(config, seed))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """Logits for the token after each token.

        input_ids: integers (B, T). attention_mask: (B, S) with 1 for tokens and 0 for padding, S counting those in the cache too.
        position_ids: integers (B, T), default 0, 1, 2, ... after those in the cache. cache: keys and values of the tokens before.
        Result: (B, T, V), or hidden states (B, T, D) where the config has no head.
        Raises UserError for more tokens than the model's max_length.
        """
        hidden_BTD = self.decoder(input_ids, attention_mask, position_ids, cache=cache)
        return self.head(hidden_BTD, self.decoder.embeddings.token.weight)

    def hidden_states(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, position_ids: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """What enters the first layer and what leaves each, the last one after the final norm: (B, T, D) each, by name."""
        hidden_states: dict[str, torch.Tensor] = {}
        self.decoder(input_ids, attention_mask, position_ids, None, hidden_states)
        return hidden_states

    def generate(self, input_ids: Any, **settings: Any) -> torch.Tensor:
        """Continue prompts; see `transformer_torch.generation.generate`."""
        return generate(self, input_ids, **settings)

    def set_gradient_checkpointing(self, enabled: bool = True) -> None:
        """Keep only the layers' inputs for the backward pass and compute the rest again (Chen et al. 2016)."""
        self.decoder.gradient_checkpointing = enabled
