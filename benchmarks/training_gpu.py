"""A training step of GPT-2 124M on a GPU: 64 x 1,024 tokens in bfloat16, compiled. `python -m benchmarks.training_gpu`

Beside it, plain code as nanoGPT writes it (Karpathy 2022): one file, one product for queries, keys and values. Both start from the same
weights and see the same batch; the losses of the first five steps must agree before anything is timed. Utilization: FLOPs of the model's
matrix products, attention counted whole, by what the vendor promises in bfloat16 (PaLM, Chowdhery et al. 2022, appendix B).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.harness import Builder, Built, gpu, main
from configs import ModelConfig, UserError, load_model_config, run_command
from configs.run import Optimizer
from train.loss import training_loss
from train.utilization import peak
from weight_mapping import initial_tensors

BATCH, LENGTH, STEPS = 64, 1024, 5
OPTIMIZER = Optimizer(learning_rate=6e-4, beta2=0.95, weight_decay=0.1)


def model_config() -> ModelConfig:
    # Rows that are a multiple of 64 suit the matrix units, as nanoGPT has them.
    return load_model_config("gpt2", ["dropout=0", "vocab_size=50304"])


def flops_per_token(config: ModelConfig) -> float:
    """6 for each weight of a product, and 12 for each layer, key and channel."""
    weights = config.num_layers * 12 * config.width**2 + config.vocab_size * config.width
    return 6 * weights + 12 * config.num_layers * LENGTH * config.width


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = np.random.default_rng(0).integers(0, model_config().vocab_size, (BATCH, LENGTH + 1))
    return torch.from_numpy(ids[:, :-1].copy()).cuda(), torch.from_numpy(ids[:, 1:].copy()).cuda()


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        batch, length, width = hidden.shape
        heads = [part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.ln_1(hidden)).split(width, dim=2)]
        mixed = F.scaled_dot_product_attention(*heads, is_causal=True)
        hidden = hidden + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return hidden + self.down(F.gelu(self.up(self.ln_2(hidden)), approximate="tanh"))


class PlainGPT(nn.Module):
    """GPT-2 without anything that one size does not need."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.token, self.place = nn.Embedding(config.vocab_size, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList([Block(width, config.attention.num_heads) for _ in range(config.num_layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        hidden = self.token(ids) + self.place.weight[: ids.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits = F.linear(self.norm(hidden), self.token.weight)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def fill(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over the weights of this project's model."""

        def put(module: nn.Module, *names: str) -> None:
            for kind in ("weight", "bias"):
                values = [torch.from_numpy(arrays[f"{name}.{kind}"]) for name in names if f"{name}.{kind}" in arrays]
                if values:
                    getattr(module, kind).data.copy_(torch.cat(values)[: len(getattr(module, kind))])

        put(self.token, "decoder.embeddings.token")
        put(self.place, "decoder.embeddings.position")
        put(self.norm, "decoder.norm")
        for index, block in enumerate(self.blocks):
            layer = f"decoder.layers.{index}"
            put(block.ln_1, f"{layer}.self_attention.norm")
            put(block.qkv, *(f"{layer}.self_attention.{name}" for name in ("query", "key", "value")))
            put(block.proj, f"{layer}.self_attention.output")
            put(block.ln_2, f"{layer}.feed_forward.norm")
            put(block.up, f"{layer}.feed_forward.up")
            put(block.down, f"{layer}.feed_forward.down")


def stepping(model: nn.Module, optimizer: torch.optim.Optimizer, mean_loss: Callable[[], torch.Tensor]) -> Built:
    def step() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            value = mean_loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    def timed() -> None:
        step()
        torch.cuda.synchronize()

    return timed, lambda: [float(step()) for _ in range(STEPS)]


def plain() -> Built:
    config = model_config()
    model = PlainGPT(config)
    model.fill(dict(initial_tensors(config, 0)))
    model.cuda()
    groups = [
        {"params": [weight for weight in model.parameters() if weight.ndim >= 2], "weight_decay": OPTIMIZER.weight_decay},
        {"params": [weight for weight in model.parameters() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=OPTIMIZER.learning_rate, betas=(OPTIMIZER.beta1, OPTIMIZER.beta2), fused=True)
    compiled: Any = torch.compile(model)
    ids, labels = batch()
    return stepping(model, adamw, lambda: compiled(ids, labels))


def ours() -> Built:
    from transformer_torch import Transformer
    from transformer_torch.optimizer import build_optimizer

    model = Transformer(model_config()).cuda()
    compiled: Any = torch.compile(training_loss)
    ids, labels = batch()
    return stepping(model, build_optimizer(model, OPTIMIZER), lambda: compiled(model, {"input_ids": ids}, labels, 0.0) / labels.numel())


BUILDERS: dict[str, Builder] = {"plain code compiled, bf16": plain, "PyTorch compiled, bf16": ours}


def utilizations(arguments: Sequence[str] | None = None) -> None:
    """Measure, and add to each row what share of the GPU's arithmetic it used. Raises UserError without a GPU."""
    if gpu() is None:
        raise UserError("this benchmark wants a GPU, and there is none here; python -m benchmarks.training measures on a CPU")
    title = f"Training step, GPT-2 124M, {BATCH} x {LENGTH:,} tokens on a GPU"
    main("benchmarks.training_gpu", title, BATCH * LENGTH, "tokens/s", 1e-4, arguments, gpu(), add_utilization)


def add_utilization(rows: list[dict[str, Any]]) -> None:
    """To each row, where this GPU's arithmetic is known."""
    limit = peak(gpu() or "", "bf16")
    for row in rows if limit is not None else []:
        row["utilization"] = row["per_second"] * flops_per_token(model_config()) / limit
        print(f"{row['implementation']}: {row['utilization']:.1%} of {limit / 1e12:,.1f} TFLOP/s")


if __name__ == "__main__":
    run_command(utilizations)
