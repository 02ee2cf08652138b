"""The Transformer in TensorFlow (Keras 3). Nearly every file here has a twin in transformer_torch."""

import os

# Keras chooses its framework when it is first imported.
if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
    raise ImportError(f"KERAS_BACKEND is {os.environ['KERAS_BACKEND']!r}, and transformer_tf is for TensorFlow; unset it")

from transformer_tf.generation_graph import generation_graph
from transformer_tf.loading import load, save
from transformer_tf.losses import cross_entropy
from transformer_tf.model import Transformer

__all__ = ["Transformer", "cross_entropy", "generation_graph", "load", "save"]
