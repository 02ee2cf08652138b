"""Keys and values of past tokens, in arrays of fixed size that are written in place.

B batch, G key/value heads, T new tokens, E encoder length, N longest length, K head size, R rows (some for each of the batch).
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

    def repeat(self, times: int) -> None:
        """Several rows for each one, one behind the other."""
        for layer in self.layers:
            layer.key_BGNK = layer.key_BGNK.repeat_interleave(times, 0)
            layer.value_BGNK = layer.value_BGNK.repeat_interleave(times, 0)
        self.cross = [(key_BGEK.repeat_interleave(times, 0), value_BGEK.repeat_interleave(times, 0)) for key_BGEK, value_BGEK in self.cross]

    def reorder(self, order_R: torch.Tensor, shared: int) -> None:
        """Row `order_R[r]` in the place of row r. Rows change places only with those that have the same first `shared` tokens and the
        same encoder's keys and values: neither is moved."""
        for layer in self.layers:
            for tensor_RGNK in (layer.key_BGNK, layer.value_BGNK):
                new_RGTK = tensor_RGNK[:, :, shared : self.length]
                new_RGTK.copy_(new_RGTK[order_R])
