"""What was exported is read again, and asked what the model is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from configs import ModelConfig, UserError
from transformer_tf.export.shapes import filled

# Of the largest value, in float32: other kernels add up in another order.
TOLERANCE = 1e-5
BATCH, LENGTH, NEW_TOKENS = 2, 8, 16


class Checked(NamedTuple):
    """A signature of an exported model, and how far its outputs are from the model's own.

    inputs: their types and shapes by name. differences: for each output the largest difference, as a share of the largest value; of tokens
    and lengths, the share of them that are others.
    """

    name: str
    inputs: dict[str, tf.TensorSpec]
    differences: dict[str, float]


def check(functions: dict[str, Any], path: Path, config: ModelConfig, is_float32: bool) -> list[Checked]:
    """Compare each output of each signature on made-up inputs. Raises UserError where float32 parts, but for tokens: of two that are as
    probable either may be chosen."""
    found = []
    for name, run in opened(path, list(functions)).items():
        specs = {spec.name: spec for spec in tf.nest.flatten(functions[name].structured_input_signature)}
        tokens = functions[name].structured_outputs.get("tokens")
        inputs = examples(specs, config, config.longest if tokens is None else tokens.shape[1])
        answers, expected = run(inputs), functions[name](**{key: tf.constant(value) for key, value in inputs.items()})
        differences = {output: apart(answers[output], value.numpy()) for output, value in sorted(expected.items())}
        for output, relative in differences.items():
            if is_float32 and expected[output].dtype.is_floating and not relative <= TOLERANCE:
                raise UserError(f"{output} of {name} is {relative:.1e} from the model's, where {TOLERANCE:.0e} is allowed; nothing is kept")
        found.append(Checked(name, specs, differences))
    return found


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The difference of one output, as in `Checked`."""
    if expected.dtype.kind == "i":
        return float((found != expected).mean())
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def opened(path: Path, names: list[str]) -> dict[str, Callable[[dict[str, np.ndarray]], Any]]:
    """The signatures of a SavedModel's folder or a LiteRT file, as functions of NumPy arrays."""
    if path.is_dir():
        saved = tf.saved_model.load(str(path))

        def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            tensors = saved.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
            return {key: value.numpy() for key, value in tensors.items()}

    else:
        model = interpreter()(str(path))

        def run(name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            answers: dict[str, np.ndarray] = model.get_signature_runner(name)(**inputs)
            return answers

    return {name: partial(run, name) for name in names}


def interpreter() -> Any:
    """LiteRT's own, which needs no TensorFlow, or TensorFlow's copy of it."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ModuleNotFoundError:
        return tf.lite.Interpreter
    return Interpreter


def examples(specs: dict[str, tf.TensorSpec], config: ModelConfig, longest: int | None) -> dict[str, np.ndarray]:
    """Made-up inputs: random ids, of which the first row's end or beginning is padding, or random images or spectra. longest: tokens of a
    text."""
    random = np.random.default_rng(0)
    found: dict[str, Any] = {}
    ids = specs.get("decoder_input_ids", specs.get("input_ids"))
    fixed = None if ids is None else ids.shape[1]
    limit = (fixed or LENGTH) + NEW_TOKENS
    limit = min(limit, longest or limit)
    for name, spec in sorted(specs.items()):
        shape = filled(spec.shape, BATCH, min(LENGTH, limit - 1))
        integer = spec.dtype.as_numpy_dtype
        if spec.dtype == tf.float32:
            found[name] = random.standard_normal(shape, np.float32)
        elif name == "attention_mask":
            found[name] = np.ones(shape, integer)
            found[name][0, slice(0, 2) if config.stacks == ("decoder",) else slice(-2, None)] = 0
        elif name == "limit":
            found[name] = np.int32(limit)
        elif name == "seed":
            found[name] = np.int32(0)
        else:
            many = config.embedding.token_types if name == "token_type_ids" else config.vocab_size
            found[name] = random.integers(0, many, shape, integer)
    return found
