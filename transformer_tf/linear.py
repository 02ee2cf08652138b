"""The parts with large weights: linear layers, tables of vectors, the projection of patches, and convolutions over time.

B batch, T query length, D model width, C channels, Y image height, X image width, P patches.
"""

from __future__ import annotations

import tensorflow as tf

from transformer_tf.module import Module


class Linear(Module):
    """y = x W + b. `weight` has shape (inputs, outputs): the transpose of PyTorch's."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(inputs, outputs))
        self.bias = self.add_weight(name="bias", shape=(outputs,)) if bias else None

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        hidden = tf.tensordot(hidden, self.weight, 1)
        return hidden if self.bias is None else hidden + self.bias


class Embedding(Module):
    """One vector for each id. `weight` has shape (ids, width)."""

    def __init__(self, size: int, width: int, is_trained: bool = True) -> None:
        super().__init__()
        self.weight = self.add_weight(name="weight", shape=(size, width), trainable=is_trained)

    def call(self, ids_BT: tf.Tensor) -> tf.Tensor:
        return tf.gather(tf.convert_to_tensor(self.weight), ids_BT)


class PatchProjection(Module):
    """Each square patch of an image to one vector (ViT, Dosovitskiy et al. 2021, equation 1).

    `weight` has shape (patch_size, patch_size, C, D).
    """

    def __init__(self, channels: int, width: int, patch_size: int, bias: bool) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.weight = self.add_weight(name="weight", shape=(patch_size, patch_size, channels, width))
        self.bias = self.add_weight(name="bias", shape=(width,)) if bias else None

    def call(self, pixel_values_BCYX: tf.Tensor) -> tf.Tensor:
        """Patches (B, P, D), row by row."""
        grid = tf.nn.conv2d(tf.transpose(pixel_values_BCYX, (0, 2, 3, 1)), self.weight, self.patch_size, "VALID")
        patches_BPD = tf.reshape(grid, (-1, grid.shape[1] * grid.shape[2], grid.shape[3]))
        return patches_BPD if self.bias is None else patches_BPD + self.bias


class Convolution(Module):
    """Each frame with its two neighbours to one vector, at every `stride`-th frame. `weight` has shape (3, inputs, outputs)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = self.add_weight(name="weight", shape=(3, inputs, outputs))
        self.bias = self.add_weight(name="bias", shape=(outputs,))

    def call(self, frames: tf.Tensor) -> tf.Tensor:
        """From frames (B, frames, inputs) to (B, T, D); beyond both ends there are zeros."""
        padded = tf.pad(frames, ((0, 0), (1, 1), (0, 0)))
        return tf.nn.conv1d(padded, self.weight, self.stride, "VALID") + self.bias
