"""A SavedModel: what TensorFlow, TensorFlow Serving and the converters to other formats read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from transformer_tf.export.check import Checked, check
from transformer_tf.export.signatures import signatures
from transformer_tf.model import Transformer
from weight_mapping import whole_folder


def export_saved_model(model: Transformer, destination: str | os.PathLike[str], batch_size: int = 1, **settings: Any) -> list[Checked]:
    """Write a model into a new folder, with the signatures that `signatures` names; it appears when it has been read again and gives what
    the model gives.

    batch_size, settings: those of `generate`; see `generation_graph`. Its `max_length`, of prompt and answer together, is 256 unless it
    is given, or less where the model knows shorter texts.

    Returns its signatures, and how far they are from the model. Raises UserError for what `signatures` refuses, and for a folder that is
    not empty.
    """
    functions = signatures(model, batch_size, settings)
    with whole_folder(destination) as folder:
        write(model, functions, folder)
        return check(functions, folder, model.config, is_float32=True)


def write(model: Transformer, functions: dict[str, Any], folder: Path) -> None:
    """Signatures, and the variables that they read."""
    module = tf.Module()
    # As TensorFlow's own: LiteRT's converter finds no Keras variable, and would leave the weights out without a word.
    module.weights = [weight.value for weight in model.weights]
    tf.saved_model.save(module, str(folder), signatures=functions)
