"""A training step of GPT-2 with 6 layers of width 384 on 12 x 256 characters: forward, backward, AdamW. `python -m benchmarks.training`

Everyone starts from the same weights and sees the same batch; the losses of the first five steps must agree before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Builder, Built, main
from configs import ModelConfig, load_model_config
from configs.run import Optimizer
from weight_mapping import initial_tensors
from weight_mapping.mapping import from_canonical

BATCH, LENGTH, STEPS = 12, 256, 5
OPTIMIZER = Optimizer(learning_rate=1e-3, beta2=0.99, weight_decay=0.1)


def model_config() -> ModelConfig:
    sizes = ["width=384", "num_layers=6", f"max_length={LENGTH}", "attention.num_heads=6", "feed_forward.width=1536"]
    return load_model_config("gpt2-character", sizes)


def batch() -> tuple[np.ndarray, np.ndarray]:
    ids = np.random.default_rng(0).integers(0, model_config().vocab_size, (BATCH, LENGTH + 1))
    return ids[:, :-1].copy(), ids[:, 1:].copy()


def checked(step: Callable[[], Any]) -> Built:
    return step, lambda: [float(step()) for _ in range(STEPS)]


def hugging_face() -> Built:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from weight_mapping import get_family

    config = model_config()
    arrays = dict(initial_tensors(config, 0))
    model = GPT2LMHeadModel(GPT2Config(**get_family("gpt2").write_config(config)))
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in from_canonical(config, arrays.__getitem__)}
    model.load_state_dict(tensors | {"lm_head.weight": tensors["transformer.wte.weight"]})
    groups = [
        {"params": [weight for weight in model.parameters() if weight.ndim >= 2], "weight_decay": OPTIMIZER.weight_decay},
        {"params": [weight for weight in model.parameters() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=OPTIMIZER.learning_rate, betas=(OPTIMIZER.beta1, OPTIMIZER.beta2))
    inputs, labels = map(torch.from_numpy, batch())

    def step() -> torch.Tensor:
        logits = model(inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        loss.backward()
        adamw.step()
        adamw.zero_grad()
        return loss.detach()

    return checked(step)


def hugging_face_with_kept_memory() -> Built:
    from train.memory import keep_freed_memory

    keep_freed_memory()
    return hugging_face()


def pytorch(compiled: bool = False, bf16: bool = False) -> Builder:
    def build() -> Built:
        import torch

        from train.memory import keep_freed_memory
        from transformer_torch import Transformer, cross_entropy
        from transformer_torch.optimizer import build_optimizer, make_moments

        keep_freed_memory()
        model = Transformer(model_config())
        if compiled:
            model.compile()
        adamw = build_optimizer(model, OPTIMIZER)
        make_moments(adamw)
        inputs, labels = map(torch.from_numpy, batch())

        def step() -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(inputs)
            loss = cross_entropy(logits, labels) / labels.numel()
            loss.backward()
            adamw.step()
            adamw.zero_grad()
            return loss.detach()

        return checked(step)

    return build


def tensorflow() -> Built:
    import tensorflow as tf

    from transformer_tf import Transformer, cross_entropy
    from transformer_tf.optimizer import build_optimizer

    model = Transformer(model_config())
    adamw = build_optimizer(OPTIMIZER)
    adamw.build(model.trainable_variables)
    inputs, labels = map(tf.constant, batch())

    @tf.function(jit_compile=True)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = cross_entropy(model(inputs, training=True), labels) / (BATCH * LENGTH)
        adamw.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return checked(lambda: step().numpy())


BUILDERS: dict[str, Builder] = {
    "Hugging Face": hugging_face,
    "Hugging Face, memory kept": hugging_face_with_kept_memory,
    "PyTorch": pytorch(),
    "PyTorch compiled": pytorch(compiled=True),
    "PyTorch bf16": pytorch(bf16=True),
    "PyTorch bf16 compiled": pytorch(compiled=True, bf16=True),
    "TensorFlow XLA": tensorflow,
}

if __name__ == "__main__":
    main("benchmarks.training", "Training step, GPT-2 6 x 384, 12 x 256 characters", BATCH * LENGTH, "tokens/s", 1e-4)
