"""From ids, images and audio to vectors ("Attention Is All You Need", 3.4 and 3.5; ViT, Dosovitskiy et al. 2021, 3.1;
Whisper, Radford et al. 2022, 2.2).

B batch, T query length, S key length, D model width, E embedding width, P patches,
C channels (of audio: mel bins), Y image height, X image width (of audio: frames).
"""

from __future__ import annotations

import keras
import tensorflow as tf

from configs import ModelConfig, UserError
from configs.parts import AudioInputs, PatchInputs
from configs.positions import LearnedPositions
from transformer_tf.dropout import Dropout
from transformer_tf.feed_forward import gelu
from transformer_tf.linear import Convolution, Embedding, Linear, PatchProjection
from transformer_tf.module import Module, shape_of
from transformer_tf.normalization import build_norm
from transformer_tf.positions import SinusoidalPositions


class TokenEmbeddings(Module):
    """The sum of token, position and segment vectors, as far as the config has them, normalized and projected where it says so.

    token: the table of another stack, when it is shared.
    """

    def __init__(self, config: ModelConfig, token: Embedding | None = None) -> None:
        super().__init__()
        width = config.embedding.width or config.width
        self.scale = width**0.5 if config.embedding.scale else 1.0
        self.token = Embedding(config.vocab_size, width) if token is None else token
        self.position: keras.layers.Layer | None = None
        self.offset, self.counted, self.padding = 0, "all", config.special_tokens.pad or 0
        if isinstance(config.positions, LearnedPositions):
            self.offset, self.counted = config.positions.offset, config.positions.counted
            self.position = Embedding(config.max_length + self.offset, width)
        elif config.positions.kind == "sinusoidal":
            self.position = SinusoidalPositions(config)
        self.token_type = Embedding(config.embedding.token_types, width) if config.embedding.token_types else None
        self.norm = build_norm(config, width) if config.embedding.norm else None
        self.dropout = Dropout(config.dropout.embedding)
        self.projection = Linear(width, config.width, True) if width != config.width else None

    def call(self, input_ids_BT: tf.Tensor, position_ids_BT: tf.Tensor, token_type_ids_BT: tf.Tensor | None = None) -> tf.Tensor:
        hidden_BTE = self.token(input_ids_BT)
        if self.scale != 1.0:
            hidden_BTE = hidden_BTE * self.scale
        if self.position is not None:
            hidden_BTE = hidden_BTE + self.position(position_ids_BT + self.offset)
        if self.token_type is not None:
            hidden_BTE = hidden_BTE + self.token_type(tf.zeros_like(input_ids_BT) if token_type_ids_BT is None else token_type_ids_BT)
        if self.norm is not None:
            hidden_BTE = self.norm(hidden_BTE)
        hidden_BTE = self.dropout(hidden_BTE)
        return hidden_BTE if self.projection is None else self.projection(hidden_BTE)

    def length(self, input_ids_BT: tf.Tensor) -> int | tf.Tensor:
        """Tokens in each sequence."""
        return shape_of(input_ids_BT)[1]

    def positions(self, input_ids_BT: tf.Tensor, start: int | tf.Tensor, attention_mask_BS: tf.Tensor | None) -> tf.Tensor:
        """The position of each token behind `start` others: start, start + 1, ...; or, counting real tokens only, with -1 for padding."""
        length = shape_of(input_ids_BT)[1]
        counts_BS = None
        if self.counted == "attended" and attention_mask_BS is not None:
            counts_BS = tf.cast(attention_mask_BS[:, : start + length], tf.int32)
        elif self.counted == "not_padding":
            counts_BS = tf.cast(input_ids_BT != self.padding, tf.int32)
        if counts_BS is None:
            return (start + tf.range(length))[None]
        return (tf.cumsum(counts_BS, 1) * counts_BS - 1)[:, -length:]


class PatchEmbeddings(Module):
    """Square patches of an image as vectors, with a class token in front and learned positions where the config has them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert isinstance(config.inputs, PatchInputs)
        self.inputs = config.inputs
        self.patch = PatchProjection(self.inputs.num_channels, config.width, self.inputs.patch_size, self.inputs.bias)
        has_class = self.inputs.class_token
        self.class_token = self.add_weight(name="class_token", shape=(config.width,)) if has_class else None
        self.position = Embedding(config.max_length, config.width) if config.positions.kind == "learned" else None
        self.norm = build_norm(config) if config.embedding.norm else None
        self.dropout = Dropout(config.dropout.embedding)

    def call(self, pixel_values_BCYX: tf.Tensor, position_ids_BT: tf.Tensor, token_type_ids_BT: tf.Tensor | None = None) -> tf.Tensor:
        patches_BPD = self.patch(pixel_values_BCYX)
        if self.class_token is None:
            hidden_BTD = patches_BPD
        else:
            class_B1D = tf.tile(tf.convert_to_tensor(self.class_token)[None, None], (tf.shape(patches_BPD)[0], 1, 1))
            hidden_BTD = tf.concat([class_B1D, patches_BPD], axis=1)
        if self.position is not None:
            hidden_BTD = hidden_BTD + self.position(position_ids_BT)
        if self.norm is not None:
            hidden_BTD = self.norm(hidden_BTD)
        return self.dropout(hidden_BTD)

    def length(self, pixel_values_BCYX: tf.Tensor) -> int:
        """Patches and class token. Raises UserError for images of another size than the model's."""
        expected = (self.inputs.num_channels, self.inputs.image_size, self.inputs.image_size)
        if pixel_values_BCYX.shape.rank != 4 or tuple(pixel_values_BCYX.shape[1:]) != expected:
            raise UserError(f"pixel_values has shape {list(pixel_values_BCYX.shape)}; expected (batch, {', '.join(map(str, expected))})")
        return self.inputs.length

    def positions(self, pixel_values_BCYX: tf.Tensor, start: int | tf.Tensor, attention_mask_BS: tf.Tensor | None) -> tf.Tensor:
        """0 for the class token, then the patches row by row."""
        return tf.range(self.inputs.length)[None]


class AudioEmbeddings(Module):
    """Log-mel frames through two convolutions, of which the second halves their number, plus positions (Whisper, 2.2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert isinstance(config.inputs, AudioInputs)
        self.inputs = config.inputs
        self.convolution1 = Convolution(self.inputs.num_mel_bins, config.width, stride=1)
        self.convolution2 = Convolution(config.width, config.width, stride=2)
        # Sines, which stand in the file, and stay as they are.
        self.position = Embedding(self.inputs.length, config.width, is_trained=False)
        self.dropout = Dropout(config.dropout.embedding)

    def call(self, input_features_BCX: tf.Tensor, position_ids_BT: tf.Tensor, token_type_ids_BT: tf.Tensor | None = None) -> tf.Tensor:
        features_BXC = tf.transpose(input_features_BCX, (0, 2, 1))
        hidden_BXD = gelu(self.convolution1(features_BXC))
        hidden_BTD = gelu(self.convolution2(hidden_BXD))
        return self.dropout(hidden_BTD + self.position(position_ids_BT))

    def length(self, input_features_BCX: tf.Tensor) -> int:
        """Half as many as there are frames. Raises UserError for another number of them than the model's."""
        expected = (self.inputs.num_mel_bins, self.inputs.num_frames)
        if input_features_BCX.shape.rank != 3 or tuple(input_features_BCX.shape[1:]) != expected:
            raise UserError(f"input_features has shape {list(input_features_BCX.shape)}; expected (batch, {', '.join(map(str, expected))})")
        return self.inputs.length

    def positions(self, input_features_BCX: tf.Tensor, start: int | tf.Tensor, attention_mask_BS: tf.Tensor | None) -> tf.Tensor:
        """0, 1, 2, ...: silence at the end is heard too."""
        return tf.range(self.inputs.length)[None]


def build_embeddings(config: ModelConfig, stack: str, token: Embedding | None = None) -> keras.layers.Layer:
    """The embeddings of what goes into a stack: an image's patches, audio, or tokens."""
    kind = config.inputs_of(stack).kind
    if kind == "tokens":
        return TokenEmbeddings(config, token)
    return PatchEmbeddings(config) if kind == "patches" else AudioEmbeddings(config)
