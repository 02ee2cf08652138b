"""Keys and values of past tokens, in arrays of fixed size that are written in place.

B batch, G key/value heads, T new tokens, E encoder length, N longest length, K head size.
"""

from __future__ import annotations

import torch

from configs import ModelConfig

KeyValue = tuple[torch.Tensor, torch.Tensor]


class LayerCache:
    """The keys and values of one layer."""

    def __init__(self, key_BGNK: torch.Tensor, value_BGNK: torch.Tensor) -> None:
        self.key_BGNK = key_BGNK
        self.value_BGNK = value_BGNK

    def update(self, key_BGTK: torch.Tensor, value_BGTK: torch.Tensor, start: int) -> KeyValue:
        """Write new keys and values behind the `start` old ones, and give all there are."""
        end = start + key_BGTK.shape[2]
        self.key_BGNK[:, :, start:end] = key_BGTK
        self.value_BGNK[:, :, start:end] = value_BGTK
        return self.key_BGNK[:, :, :end], self.value_BGNK[:, :, :end]


class Cache:
    """The caches of all layers of a decoder. `length` tokens are in it; `max_length` fit.

    cross: the encoder's keys and values (B, G, E, K), layer by layer, once the first token has asked for them.
    """

    def __init__(self, config: ModelConfig, batch_size: int, max_length: int, dtype: torch.dtype, device: torch.device) -> None:
        shape = (batch_size, config.num_key_value_heads, max_length, config.head_size)
        self.max_length = max_length
        self.length = 0
        self.layers = [
            LayerCache(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))
            for _ in range(config.layers_of("decoder"))
        ]
        self.cross: list[KeyValue] = []
