"""The model's weights by canonical name, as NumPy arrays, in and out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

from weight_mapping import canonical_tensors


def named_weights(model: keras.Model) -> dict[str, keras.Variable]:
    """Every tensor of a checkpoint by its canonical name: the attributes on the way to it, joined by dots."""
    weights: dict[str, keras.Variable] = {}
    for name, weight in _walk("", model):
        # What two parts share has the name of the first.
        if not any(weight is other for other in weights.values()):
            weights[name] = weight
    return weights


def reader(model: keras.Model) -> Callable[[str], np.ndarray]:
    """A function from a canonical name to that weight in canonical layout."""
    weights, kinds = named_weights(model), _kinds(model)
    return lambda name: to_canonical(keras.ops.convert_to_numpy(weights[name]), kinds[name])


def assign(model: keras.Model, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Fill every weight of the model, converted to its type. Raises KeyError for a name the model lacks or that is left unset."""
    weights, kinds = named_weights(model), _kinds(model)
    for name, array in tensors:
        weight = weights.pop(name)
        weight.assign(tf.cast(from_canonical(array, kinds[name]), weight.dtype))
    if weights:
        raise KeyError(f"left unset: {', '.join(weights)}")


def to_canonical(array: np.ndarray, kind: str) -> np.ndarray:
    """From TensorFlow's layout to the canonical one: a linear weight is transposed, a convolution's channels go in front."""
    if kind == "convolution":
        return np.moveaxis(array, (-1, -2), (0, 1))
    return array.T if kind == "linear" else array


def from_canonical(array: np.ndarray, kind: str) -> tf.Tensor:
    """The inverse of `to_canonical`."""
    if kind == "convolution":
        return tf.constant(np.moveaxis(array, (0, 1), (-1, -2)))
    if kind != "linear":
        return tf.constant(array)
    # TensorFlow transposes a matrix several times as fast as NumPy, where it does not lie transposed already, as GPT-2's do.
    is_transposed = array.strides[0] < array.strides[1]
    return tf.constant(array.T) if is_transposed else tf.transpose(tf.constant(array))


def _kinds(model: keras.Model) -> dict[str, str]:
    return {tensor.name: tensor.kind for tensor in canonical_tensors(model.config)}


def _walk(path: str, layer: keras.layers.Layer) -> Iterator[tuple[str, keras.Variable]]:
    for attribute, value in vars(layer).items():
        name = path + attribute.rstrip("_")
        if attribute.startswith("_"):
            continue
        if isinstance(value, keras.Variable):
            yield name, value
        elif isinstance(value, keras.layers.Layer):
            yield from _walk(f"{name}.", value)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from _walk(f"{name}.{index}.", item) if isinstance(item, keras.layers.Layer) else ()
