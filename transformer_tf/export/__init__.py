"""Models that run without this package: as a SavedModel, which needs TensorFlow alone, and as a LiteRT file, which needs not even that."""

from transformer_tf.export.litert import export_litert
from transformer_tf.export.saved_model import export_saved_model

__all__ = ["export_litert", "export_saved_model"]
