"""The forward pass of GPT-2 124M over 4 x 256 tokens, float32. `python -m benchmarks.forward`

KerasHub is measured where it is installed: `pip install keras-hub`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.harness import Builder, Built, main
from configs import load_model_config
from weight_mapping import get_family, initial_tensors
from weight_mapping.mapping import from_canonical

BATCH, LENGTH = 4, 256


def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50257, (BATCH, LENGTH))


def checked(forward: Callable[[], Any]) -> Built:
    """Timed is the whole pass with all logits; checked are some of them."""
    return forward, lambda: [float(value) for value in np.asarray(forward())[:, ::37, ::5003].ravel()]


def hugging_face(compiled: bool = False) -> Builder:
    def build() -> Built:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        config = load_model_config("gpt2")
        arrays = dict(initial_tensors(config, 0))
        model = GPT2LMHeadModel(GPT2Config(**get_family("gpt2").write_config(config))).eval()
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in from_canonical(config, arrays.__getitem__)}
        model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
        input_ids = torch.from_numpy(ids())
        run = torch.compile(model) if compiled else model

        @torch.inference_mode()
        def forward() -> torch.Tensor:
            return run(input_ids, use_cache=False).logits

        return checked(forward)

    return build


def pytorch(compiled: bool = False) -> Builder:
    def build() -> Built:
        import torch

        from transformer_torch import Transformer

        model = Transformer(load_model_config("gpt2")).eval()
        input_ids = torch.from_numpy(ids())
        if compiled:
            model.compile()

        @torch.inference_mode()
        def forward() -> torch.Tensor:
            return model(input_ids)

        return checked(forward)

    return build


def tensorflow() -> Built:
    import tensorflow as tf

    from transformer_tf import Transformer

    model = Transformer(load_model_config("gpt2"))
    input_ids = tf.constant(ids())
    run = tf.function(model, jit_compile=True)
    return checked(lambda: run(input_ids).numpy())


def keras_hub() -> Built:
    import keras_hub
    import tensorflow as tf

    config = load_model_config("gpt2")
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=config.vocab_size,
        num_layers=config.num_layers,
        num_heads=config.attention.num_heads,
        hidden_dim=config.width,
        intermediate_dim=config.feed_forward.width,
        max_sequence_length=config.max_length,
    )
    arrays = dict(initial_tensors(config, 0))
    fill_keras_hub(backbone, arrays, config.num_layers, config.attention.num_heads)
    inputs = {"token_ids": tf.constant(ids()), "padding_mask": tf.ones((BATCH, LENGTH), tf.int32)}

    @tf.function(jit_compile=True)
    def forward() -> tf.Tensor:
        return backbone.token_embedding(backbone(inputs), reverse=True)

    return checked(lambda: forward().numpy())


def fill_keras_hub(backbone: Any, arrays: dict[str, np.ndarray], layers: int, heads: int) -> None:
    """The same weights by KerasHub's attributes; its attention keeps heads as an axis."""
    backbone.token_embedding.embeddings.assign(arrays["decoder.embeddings.token.weight"])
    backbone.position_embedding.position_embeddings.assign(arrays["decoder.embeddings.position.weight"])
    for index in range(layers):
        layer, name = backbone.transformer_layers[index], f"decoder.layers.{index}"
        attention = layer._self_attention_layer
        for ours, theirs in (("query", attention._query_dense), ("key", attention._key_dense), ("value", attention._value_dense)):
            weight = arrays[f"{name}.self_attention.{ours}.weight"]
            theirs.kernel.assign(weight.T.reshape(weight.shape[1], heads, -1))
            theirs.bias.assign(arrays[f"{name}.self_attention.{ours}.bias"].reshape(heads, -1))
        output = arrays[f"{name}.self_attention.output.weight"]
        attention._output_dense.kernel.assign(output.T.reshape(heads, -1, output.shape[0]))
        attention._output_dense.bias.assign(arrays[f"{name}.self_attention.output.bias"])
        for ours, theirs in (("up", layer._feedforward_intermediate_dense), ("down", layer._feedforward_output_dense)):
            theirs.kernel.assign(arrays[f"{name}.feed_forward.{ours}.weight"].T)
            theirs.bias.assign(arrays[f"{name}.feed_forward.{ours}.bias"])
        norms = (("self_attention", layer._self_attention_layer_norm), ("feed_forward", layer._feedforward_layer_norm))
        for ours, theirs in norms:
            theirs.gamma.assign(arrays[f"{name}.{ours}.norm.weight"])
            theirs.beta.assign(arrays[f"{name}.{ours}.norm.bias"])
    backbone.layer_norm.gamma.assign(arrays["decoder.norm.weight"])
    backbone.layer_norm.beta.assign(arrays["decoder.norm.bias"])


def memory_kept(build: Builder) -> Builder:
    """The same, with glibc told to keep freed arrays for the next pass, as the training loop does."""

    def build_with_memory_kept() -> Built:
        from train.memory import keep_freed_memory

        keep_freed_memory()
        return build()

    return build_with_memory_kept


BUILDERS: dict[str, Builder] = {
    "Hugging Face": hugging_face(),
    "Hugging Face compiled": hugging_face(compiled=True),
    "Hugging Face compiled, memory kept": memory_kept(hugging_face(compiled=True)),
    "PyTorch": pytorch(),
    "PyTorch, memory kept": memory_kept(pytorch()),
    "PyTorch compiled": pytorch(compiled=True),
    "TensorFlow XLA": tensorflow,
}
if find_spec("keras_hub"):
    BUILDERS["KerasHub XLA"] = keras_hub

if __name__ == "__main__":
    main("benchmarks.forward", "Forward pass, GPT-2 124M, 4 x 256 tokens, float32", BATCH * LENGTH, "tokens/s", 1e-4)
