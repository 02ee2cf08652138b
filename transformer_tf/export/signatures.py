"""What an exported model is called with and what it gives, by Hugging Face's names. Nothing is checked any more: ids must be in the
vocabulary, and sequences not longer than the model knows.

B batch, T query length, V vocabulary, N longest length.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable
from inspect import signature
from typing import Any

import tensorflow as tf

from configs import GenerationConfig, ModelConfig, UserError, build
from configs.parts import AudioInputs, PatchInputs
from transformer_tf.export.shapes import concrete, static_length
from transformer_tf.generation_graph import generation_graph
from transformer_tf.model import Transformer

FORWARD, GENERATE = "serving_default", "generate"
# Of texts that nobody has named a length for.
MAX_LENGTH = 256


def signatures(
    model: Transformer, batch_size: int, settings: dict[str, Any], static: bool = False, length: int | None = None
) -> dict[str, Any]:
    """The functions of a model, each for one set of shapes: `serving_default`, one pass through it, and where it generates `generate`.

    batch_size: prompts that `generate` takes at once; a pass takes any number. settings: of `generate`, as in `generation_graph`.
    static: every shape is fixed, `batch_size` rows of `length` ids (default: for a decoder's prompt half of what `generate` makes room for,
        else at most 128), and integers have 32 bits: runtimes of browsers and accelerators take nothing else.
    Raises UserError for a model that is not float32, for settings that a graph has not, and for lengths that the model has not.
    """
    if model.variable_dtype != "float32" or model.compute_dtype != "float32":
        raise UserError(f"the model is {model.dtype_policy.name}, and exported models are float32; load it with dtype='float32'")
    if length is not None and not static:
        raise UserError(f"length={length} is for fixed shapes; leave it out, or set static")
    generates = model.config.head.kind == "language_model"
    if settings and not generates:
        raise UserError(f"{next(iter(settings))} is for models that generate, and this one has head.kind={model.config.head.kind!r}")
    if batch_size < 1:
        raise UserError(f"batch_size={batch_size}; expected at least 1")
    if batch_size > 1 and not generates and not static:
        raise UserError(f"batch_size={batch_size} is for generate and for fixed shapes, and a pass takes any number of rows; leave it out")
    found = {FORWARD: forward(model)}
    room = None
    if generates:
        settings = with_length(model, settings)
        room = settings["max_length"]
        graph = generation_graph(model, batch_size, **settings)
        found[GENERATE] = graph.python_function, dict(zip(signature(graph.python_function).parameters, graph.input_signature, strict=True))
    size = static_length(model.config, length, room) if static else None
    return {name: concrete(run, specs, batch_size, size) for name, (run, specs) in found.items()}


def with_length(model: Transformer, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with `max_length`, of prompt and answer together: a graph makes room for as many tokens at once."""
    if settings.get("max_new_tokens"):
        raise UserError("max_new_tokens: an exported model has room for max_length tokens, those of the prompt included; set max_length")
    own = build(GenerationConfig, GenerationConfig.merged(model.generation_config, {}), "generation_config.json").max_length
    longest = model.config.longest or MAX_LENGTH
    return {"max_length": min(own or MAX_LENGTH, longest), **settings}


def forward(model: Transformer) -> tuple[Callable[..., Any], dict[str, tf.TensorSpec]]:
    """One pass, and what it takes: any batch and length."""

    def run(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        # Keras would hand a copy of a plain dict to the model.
        hidden_states: UserDict[str, tf.Tensor] = UserDict()
        output = model(**inputs, hidden_states=hidden_states)
        *_, last_BTD = hidden_states.values()
        return outputs(model.config, output, last_BTD)

    return run, inputs_of(model.config)


def inputs_of(config: ModelConfig) -> dict[str, tf.TensorSpec]:
    """The inputs of a pass: ids and masks of any (B, T), or images or spectra."""
    if isinstance(config.inputs, PatchInputs):
        size = config.inputs.image_size
        return {"pixel_values": tf.TensorSpec((None, config.inputs.num_channels, size, size), tf.float32, "pixel_values")}
    names = ["input_ids", "attention_mask"]
    found = {}
    if isinstance(config.inputs, AudioInputs):
        names = []
        shape = (None, config.inputs.num_mel_bins, config.inputs.num_frames)
        found["input_features"] = tf.TensorSpec(shape, tf.float32, "input_features")
    names += ["token_type_ids"] if config.embedding.token_types > 1 else []
    names += ["decoder_input_ids"] if config.architecture == "encoder_decoder" else []
    return found | {name: tf.TensorSpec((None, None), tf.int64, name) for name in names}


def outputs(config: ModelConfig, output: tf.Tensor, last_BTD: tf.Tensor) -> dict[str, tf.Tensor]:
    """What the model gives, and without a head its last hidden states, behind the final norm, too."""
    if config.head.kind == "projection":
        return {"image_embeds" if config.inputs.kind == "patches" else "text_embeds": output}
    if config.head.kind != "none":
        return {"logits": output}
    return {"last_hidden_state": last_BTD} | ({"pooler_output": output} if config.pooler is not None else {})
