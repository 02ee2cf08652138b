"""Models that run without this package: as a SavedModel, which needs TensorFlow alone, as a LiteRT file, which needs not even that,
and as a web page."""

from transformer_tf.export.litert import export_litert
from transformer_tf.export.saved_model import export_saved_model
from transformer_tf.export.web import export_web

__all__ = ["export_litert", "export_saved_model", "export_web"]
