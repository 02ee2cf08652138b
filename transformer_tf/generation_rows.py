"""Texts that grow token by token, and the loop that makes them grow.

B batch, R rows (a row for each text of each prompt), N longest length, T query length (of a prompt), S key length (of an encoder),
D model width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from configs import Prompts
from transformer_tf.cache import Cache
from transformer_tf.module import shape_of

if TYPE_CHECKING:
    from transformer_tf.model import Transformer

# Every new length would be compiled anew: room for texts, and for what an encoder has made, grows in steps.
BUCKET, SOURCE_BUCKET = 64, 32


class Rows:
    """Texts that a model has read, one for each row: its cache of them, and which of their tokens are padding.

    mask_RN: 1 for tokens and 0 for padding on the left, None without any. encoder_mask_RS: the same of an encoder's input.
    """

    def __init__(self, model: Transformer, cache: Cache, mask_RN: tf.Tensor | None, encoder_mask_RS: tf.Tensor | None) -> None:
        self.model = model
        self.cache = cache
        self.mask_RN = mask_RN
        self.pads_R1 = None if mask_RN is None else tf.reduce_sum(1 - mask_RN, -1, keepdims=True)
        self.encoder_mask_RS = encoder_mask_RS
        # All texts of a prompt have it in common.
        self.shared = 0

    def first(self, prompt_BT: tf.Tensor, encoded_BSD: tf.Tensor | None) -> tf.Tensor:
        """Logits (B, V) of the token that follows each prompt."""
        self.shared = shape_of(prompt_BT)[1]
        positions_BT = None if self.mask_RN is None else tf.maximum(tf.cumsum(self.mask_RN[:, : self.shared], -1) - 1, 0)
        return self.logits(self.read(prompt_BT, positions_BT, encoded_BSD)[:, -1:])[:, 0]

    def repeat(self, times: int) -> None:
        """Make `times` rows of each, so that a prompt of several texts is read once."""
        if times == 1:
            return
        self.cache.repeat(times)
        self.mask_RN, self.pads_R1, self.encoder_mask_RS = (
            None if tensor is None else tf.repeat(tensor, times, 0) for tensor in (self.mask_RN, self.pads_R1, self.encoder_mask_RS)
        )

    def next(self, tokens_R: tf.Tensor, order_R: tf.Tensor | None = None) -> tf.Tensor:
        """Read one more token of each row: logits (R, V) of the token after it. order_R: which row each row continues, default itself."""
        if order_R is not None:
            self.cache.reorder(order_R, self.shared)
        return self.extend(tokens_R[:, None])[:, 0]

    def extend(self, tokens_RT: tf.Tensor) -> tf.Tensor:
        """Read T more tokens of each row: logits (R, T, V) of the token after each of them."""
        place_T = tf.range(tokens_RT.shape[1]) + self.cache.length
        positions_RT = None if self.pads_R1 is None else tf.cast(place_T, self.pads_R1.dtype) - self.pads_R1
        return self.logits(self.read(tokens_RT, positions_RT, None))

    def read(self, ids_BT: tf.Tensor, positions_BT: tf.Tensor | None, encoded_BSD: tf.Tensor | None) -> tf.Tensor:
        return self.model.decoder(
            ids_BT, self.mask_RN, positions_BT, cache=self.cache, encoded_BSD=encoded_BSD, encoder_mask_BS=self.encoder_mask_RS
        )

    def logits(self, hidden_BTD: tf.Tensor) -> tf.Tensor:
        return self.model.head(hidden_BTD, self.model.token_table())


class Strategy(Protocol):
    """A way to choose tokens: greedy, by sampling or by beams. `begin` makes its state, and `advance` takes one state to the next."""

    def begin(self) -> Any:
        """The state in which there are only prompts."""

    def advance(self, state: Any, logits_RV: tf.Tensor, length: int | tf.Tensor) -> tuple[Any, tuple[tf.Tensor, ...]]:
        """Choose the token behind the first `length`: the state with it, and the arguments for `Rows.next`."""

    def goes_on(self, state: Any, length: int | tf.Tensor) -> bool | tf.Tensor:
        """Whether another token is to follow the one behind the first `length`."""


def begin(model: Transformer, prompts: Prompts, room: int, pad_id: int, ahead: int) -> tuple[Rows, tf.Tensor, tf.Tensor]:
    """Read the prompts: the rows, their tokens (B, N) with room for more, and the logits (B, V) of what follows."""
    config, (batch, start), attended_BS = model.config, prompts.prompt_BT.shape, prompts.attended_BS
    inputs: dict[str, tf.Tensor] = {}
    if config.inputs.kind != "tokens":
        inputs["source"] = tf.constant(prompts.source)
    elif prompts.source is not None:
        length = rounded_up(prompts.source.shape[1], SOURCE_BUCKET)
        padding = (0, 0), (0, min(length, config.longest or length) - prompts.source.shape[1])
        attended_BS = np.ones_like(prompts.source) if attended_BS is None else attended_BS
        inputs |= {"source": tf.constant(np.pad(prompts.source, padding)), "encoder_mask": tf.constant(np.pad(attended_BS, padding))}
    elif attended_BS is not None and not attended_BS.all():
        inputs["mask"] = tf.pad(tf.constant(attended_BS), ((0, 0), (0, room - start)), constant_values=1)
    tokens_BN = tf.pad(tf.constant(prompts.prompt_BT), ((0, 0), (0, room - start)), constant_values=pad_id)
    inputs["prompt"] = tokens_BN[:, :start]
    cache = Cache(config, batch, room, tf.as_dtype(model.compute_dtype), ahead)
    rows = Rows(model, cache, inputs.get("mask"), inputs.get("encoder_mask"))
    tensors, logits_BV = reader(model, inputs, room, ahead)(inputs)
    cache.set_tensors(tensors)
    cache.length = rows.shared = start
    return rows, tokens_BN, logits_BV


def reader(model: Transformer, inputs: dict[str, tf.Tensor], room: int, ahead: int) -> Any:
    """The program of `read_prompts`, kept with the model: a graph for all lengths. XLA would be no faster, and compile each anew."""

    def read(inputs: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor]:
        rows, logits_BV = read_prompts(model, inputs, room, ahead)
        return rows.cache.tensors(), logits_BV

    programs, key = kept_programs(model), ("read", *inputs, room, ahead)
    if key not in programs:
        specs = {
            name: tf.TensorSpec((None, *(tensor.shape[1:] if tensor.shape.rank > 2 else (None,))), tensor.dtype)
            for name, tensor in inputs.items()
        }
        programs[key] = tf.function(read, input_signature=[specs], autograph=False)
    return programs[key]


def read_prompts(model: Transformer, inputs: dict[str, tf.Tensor], room: int, ahead: int) -> tuple[Rows, tf.Tensor]:
    """Read `prompt` (B, T) into an empty cache: what is remembered of it, and the logits (B, V) of what follows.

    inputs: beside it `mask` (B, N), and of an encoder-decoder `source` and `encoder_mask` (B, S), of audio `source` alone.
    """
    encoded_BSD = model.encoder(inputs["source"], inputs.get("encoder_mask")) if "source" in inputs else None
    cache = Cache(model.config, shape_of(inputs["prompt"])[0], room, tf.as_dtype(model.compute_dtype), ahead)
    rows = Rows(model, cache, inputs.get("mask"), inputs.get("encoder_mask"))
    return rows, rows.first(inputs["prompt"], encoded_BSD)


def kept_programs(model: Transformer) -> dict[Any, Any]:
    """The graphs that were made for a model, which live as long as it."""
    # Past Keras, which keeps track of what is in a model's dicts.
    programs: dict[Any, Any] = model.__dict__.setdefault("_programs", {})
    return programs


def rounded_up(length: int, step: int) -> int:
    """Room for so many tokens."""
    return -(-length // step) * step


def decode(strategy: Strategy, rows: Rows, state: Any, chosen: Any, until: tf.Tensor) -> tuple[Any, Any]:
    """Token after token, in a loop of the graph's, until the texts are `until` long or the strategy has enough: its state, and what
    `Rows.next` is to read."""

    def goes_on(state: Any, chosen: Any, length: tf.Tensor, tensors: list[tf.Tensor]) -> tf.Tensor:
        return strategy.goes_on(state, length) & (length + 1 < until)

    def advance(state: Any, chosen: Any, length: tf.Tensor, tensors: list[tf.Tensor]) -> tuple[Any, ...]:
        rows.cache.length = length
        rows.cache.set_tensors(tensors)
        logits_RV = rows.next(*chosen)
        state, chosen = strategy.advance(state, logits_RV, rows.cache.length)
        return state, chosen, rows.cache.length, rows.cache.tensors()

    now = (state, chosen, tf.convert_to_tensor(rows.cache.length), rows.cache.tensors())
    state, chosen, rows.cache.length, tensors = tf.while_loop(goes_on, advance, now)
    rows.cache.set_tensors(tensors)
    return state, chosen
