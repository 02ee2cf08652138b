"""What training makes small. B batch, T length, N rows, V vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

IGNORED = -100
# Rows whose logits are worked on at a time, so that they stay in the processor's cache.
ROWS = 256


def cross_entropy(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    label_smoothing: this share of each target is spread over the whole vocabulary ("Attention Is All You Need", 5.4).
    A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    """
    return CrossEntropy.apply(logits_BTV.flatten(0, -2), labels_BT.flatten().long(), label_smoothing)


class CrossEntropy(torch.autograd.Function):
    """The loss, and with it its gradient, softmax(logits) - target, in the logits' type: nothing else of their size is kept."""

    @staticmethod
    def forward(ctx: Any, logits_NV: torch.Tensor, labels_N: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        gradient_NV = torch.empty_like(logits_NV) if ctx.needs_input_grad[0] else None
        dtype = torch.promote_types(logits_NV.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=logits_NV.device)
        for part in parts(logits_NV):
            label_N1 = labels_N[part, None]
            counted_N1 = label_N1 != IGNORED
            label_N1 = label_N1.where(counted_N1, 0)
            log_probs_NV = logits_NV[part].log_softmax(-1, dtype=dtype)
            loss_N1 = (label_smoothing - 1.0) * log_probs_NV.gather(-1, label_N1)
            if label_smoothing:
                loss_N1 -= label_smoothing * log_probs_NV.mean(-1, keepdim=True)
            total += loss_N1.where(counted_N1, 0.0).sum()
            if gradient_NV is not None:
                part_NV = log_probs_NV.exp_()
                if label_smoothing:
                    part_NV -= label_smoothing / part_NV.shape[1]
                part_NV.scatter_add_(-1, label_N1, torch.full_like(loss_N1, label_smoothing - 1.0))
                gradient_NV[part] = part_NV.mul_(counted_N1)
        if gradient_NV is not None:
            ctx.save_for_backward(gradient_NV)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient_NV,) = ctx.saved_tensors
        scaled_NV = torch.empty_like(gradient_NV)
        for part in parts(gradient_NV):
            # A factor without axes would be rounded to bfloat16 first.
            scaled_NV[part] = gradient_NV[part] * gradients[0].view(1, 1)
        return scaled_NV, None, None


def parts(rows_NV: torch.Tensor) -> list[slice]:
    """ROWS rows at a time on a CPU, elsewhere all of them."""
    size = ROWS if rows_NV.device.type == "cpu" else max(len(rows_NV), 1)
    return [slice(start, start + size) for start in range(0, len(rows_NV), size)]
