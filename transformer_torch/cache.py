"""Keys and values of past tokens, in arrays of fixed size that are written in place.

B batch, G key/value heads, T query length (the new tokens), S key length, N longest length, K head size,
R rows (some for each of the batch).
"""

from __future__ import annotations

from typing import Any

import torch

from configs import ModelConfig

KeyValue = tuple[torch.Tensor, torch.Tensor]
# The most tokens that are read at once behind a text: its last one, and guesses.
AHEAD = 32


class LayerCache:
    """The keys and values of one layer."""

    def __init__(self, key_BGNK: torch.Tensor, value_BGNK: torch.Tensor) -> None:
        self.key_BGNK = key_BGNK
        self.value_BGNK = value_BGNK

    def update(self, key_BGTK: torch.Tensor, value_BGTK: torch.Tensor, start: int | torch.Tensor) -> KeyValue:
        """Write new keys and values behind the `start` old ones, and give all there are, or where `start` is a tensor all there is room
        for: its shapes are fixed."""
        if isinstance(start, torch.Tensor):
            place_T = torch.arange(key_BGTK.shape[2], device=key_BGTK.device) + start
            self.key_BGNK[:, :, place_T] = key_BGTK
            self.value_BGNK[:, :, place_T] = value_BGTK
            return self.key_BGNK, self.value_BGNK
        end = start + key_BGTK.shape[2]
        self.key_BGNK[:, :, start:end] = key_BGTK
        self.value_BGNK[:, :, start:end] = value_BGTK
        return self.key_BGNK[:, :, :end], self.value_BGNK[:, :, :end]

    def positions(self, start: int | torch.Tensor, length: int) -> torch.Tensor:
        """Where each key that `update` gives stands in the text (S), if there are `length` new ones."""
        count = self.key_BGNK.shape[2] if isinstance(start, torch.Tensor) else start + length
        return torch.arange(count, device=self.key_BGNK.device)

    def reorder(self, order_R: torch.Tensor, shared: int, length: int) -> None:
        """Put row `order_R[r]` in the place of row r, from token `shared` on, where `length` tokens are in it."""
        for tensor_RGNK in (self.key_BGNK, self.value_BGNK):
            new_RGTK = tensor_RGNK[:, :, shared:length]
            new_RGTK.copy_(new_RGTK[order_R])


class RollingCache(LayerCache):
    """The last keys and values of a layer with a window: token p is in place p modulo the size N ("rolling buffer cache", Mistral 7B,
    Jiang et al. 2023, section 2).

    ahead: room beyond the window: so many tokens can be read at once before the first of them misses a key, and so many taken back.
    """

    def __init__(self, key_BGNK: torch.Tensor, value_BGNK: torch.Tensor, ahead: int) -> None:
        super().__init__(key_BGNK, value_BGNK)
        self.size = key_BGNK.shape[2]
        self.ahead = ahead

    def update(self, key_BGTK: torch.Tensor, value_BGTK: torch.Tensor, start: int | torch.Tensor) -> KeyValue:
        """Write new keys and values over the oldest ones, and give all that the new tokens may see."""
        length, is_beside = key_BGTK.shape[2], self.is_beside(start, key_BGTK.shape[2])
        held = self.size if isinstance(start, torch.Tensor) else start if is_beside else start + length
        # Views: what is written below is seen through them.
        key_BGSK, value_BGSK = self.key_BGNK[:, :, :held], self.value_BGNK[:, :, :held]
        if is_beside:
            key_BGSK, value_BGSK = torch.cat([key_BGSK, key_BGTK], 2), torch.cat([value_BGSK, value_BGTK], 2)
        self.write(self.key_BGNK, key_BGTK, start, length)
        self.write(self.value_BGNK, value_BGTK, start, length)
        return key_BGSK, value_BGSK

    def write(self, old_BGNK: torch.Tensor, new_BGTK: torch.Tensor, start: int | torch.Tensor, length: int) -> None:
        place_T = (torch.arange(length, device=new_BGTK.device) + start) % self.size
        old_BGNK[:, :, place_T[-self.size :]] = new_BGTK[:, :, -self.size :]

    def positions(self, start: int | torch.Tensor, length: int) -> torch.Tensor:
        new_T = torch.arange(length, device=self.key_BGNK.device) + start
        return torch.cat([self.held(start), new_T]) if self.is_beside(start, length) else self.held(start + length)

    def is_beside(self, start: int | torch.Tensor, length: int) -> bool:
        """Whether new tokens are read beside what is held, because they would write over what the first of them may see."""
        return is_zero(start) or length > self.ahead

    def held(self, end: int | torch.Tensor) -> torch.Tensor:
        """The position in each place, once there are `end` tokens: the last that belongs there, negative where nothing does."""
        count = self.size if isinstance(end, torch.Tensor) else min(end, self.size)
        place_N = torch.arange(count, device=self.key_BGNK.device)
        return end - 1 - (end - 1 - place_N) % self.size

    def reorder(self, order_R: torch.Tensor, shared: int, length: int) -> None:
        super().reorder(order_R, shared if length <= self.size else 0, min(length, self.size))


def is_zero(start: int | torch.Tensor) -> bool:
    """Whether nothing was read before, as far as is known: in a graph, something was."""
    return isinstance(start, int) and start == 0


class Cache:
    """The caches of all layers of a decoder. It holds `length` tokens, has room for `max_length`, and forgets the last where `length` is
    lowered. In a compiled program `length` is a tensor, unless it `grows`.

    ahead: in layers with a window, how many tokens it may forget (beyond that, begin anew), and how many it reads at once without copies.
    grows: whether a compiled program reads no more of it than is filled: on a CPU, which has little else to do, and without windows.
    cross: the encoder's keys and values (B, G, S, K), layer by layer, once the decoder's first call has computed them.
    """

    def __init__(
        self, config: ModelConfig, batch_size: int, max_length: int, dtype: torch.dtype, device: torch.device, ahead: int = AHEAD
    ) -> None:
        self.max_length = max_length
        self.length: Any = 0
        self.layers: list[LayerCache] = []
        for index in range(config.layers_of("decoder")):
            window = config.window_of(index)
            size = max_length if window is None else min(max_length, window - 1 + ahead)
            shape = (batch_size, config.num_key_value_heads, size, config.head_size)
            key_BGNK, value_BGNK = (torch.zeros(shape, dtype=dtype, device=device) for _ in range(2))
            rolls = size < max_length
            self.layers.append(RollingCache(key_BGNK, value_BGNK, ahead) if rolls else LayerCache(key_BGNK, value_BGNK))
        self.grows = device.type == "cpu" and all(config.window_of(index) is None for index in range(len(self.layers)))
        self.cross: list[KeyValue] = []

    def repeat(self, times: int) -> None:
        """Repeat each row `times` times; the copies follow it."""
        for layer in self.layers:
            layer.key_BGNK = layer.key_BGNK.repeat_interleave(times, 0)
            layer.value_BGNK = layer.value_BGNK.repeat_interleave(times, 0)
        self.cross = [(key_BGSK.repeat_interleave(times, 0), value_BGSK.repeat_interleave(times, 0)) for key_BGSK, value_BGSK in self.cross]

    def reorder(self, order_R: torch.Tensor, shared: int) -> None:
        """Put row `order_R[r]` in the place of row r. Rows change places only with those that have the same first `shared` tokens and the
        same encoder's keys and values: neither is moved."""
        for layer in self.layers:
            layer.reorder(order_R, shared, self.length)
