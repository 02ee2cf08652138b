"""An encoder as a SavedModel with a signature, as docs/generation.md saves it; `generation_graph` saves what generates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from configs import load_model_config
from transformer_tf import Transformer


def test_an_encoder_is_saved_by_what_it_is_called_with(tmp_path: Path) -> None:
    bert = Transformer(load_model_config("minilm-l6", ["num_layers=1", "vocab_size=50", "special_tokens={pad: 0}"]))
    spec = {name: tf.TensorSpec((None, None), tf.int64, name) for name in ("input_ids", "attention_mask")}
    module = tf.Module()
    module.model = bert
    module.serve = tf.function(lambda input_ids, attention_mask: {"output": bert(input_ids=input_ids, attention_mask=attention_mask)})
    tf.saved_model.save(module, str(tmp_path), signatures=module.serve.get_concrete_function(**spec))
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for shape in ((1, 5), (3, 8)):
        ids = tf.constant(np.random.default_rng(0).integers(0, 50, shape))
        mask = tf.constant(np.arange(shape[1]) < np.arange(2, 2 + shape[0])[:, None], tf.int64)
        found, expected = serve(input_ids=ids, attention_mask=mask)["output"], bert(input_ids=ids, attention_mask=mask)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
