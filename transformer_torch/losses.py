"""The loss of training: cross-entropy. B batch, T query length, V vocabulary, I axes joined into one (batch and length)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from configs.inputs import check_labels

IGNORED = -100
# Rows whose logits are worked on at a time, so that they stay in the processor's cache.
ROWS = 256


def cross_entropy(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    label_smoothing: this share of each target is spread over the whole vocabulary (Szegedy et al. 2016, 7; "Attention Is All You Need",
    5.4). A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    Raises UserError where the labels have another shape than the logits' first axes.
    """
    check_labels(logits_BTV, labels_BT)
    if torch.compiler.is_compiling():
        # The compiler keeps nothing of their size either.
        wide = torch.promote_types(logits_BTV.dtype, torch.float32)
        settings: dict[str, Any] = {"ignore_index": IGNORED, "reduction": "sum", "label_smoothing": label_smoothing}
        return F.cross_entropy(logits_BTV.flatten(0, -2).to(wide), labels_BT.flatten().long(), **settings)
    return CrossEntropy.apply(logits_BTV.flatten(0, -2), labels_BT.flatten().long(), label_smoothing)


class CrossEntropy(torch.autograd.Function):
    """The loss, and with it its gradient, softmax(logits) - target, in the logits' type: nothing else of their size is kept."""

    @staticmethod
    def forward(ctx: Any, logits_IV: torch.Tensor, labels_I: torch.Tensor, label_smoothing: float) -> torch.Tensor:
        gradient_IV = torch.empty_like(logits_IV) if ctx.needs_input_grad[0] else None
        dtype = torch.promote_types(logits_IV.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=logits_IV.device)
        for part in parts(logits_IV):
            label_I1 = labels_I[part, None]
            counted_I1 = label_I1 != IGNORED
            label_I1 = label_I1.where(counted_I1, 0)
            log_probs_IV = logits_IV[part].log_softmax(-1, dtype=dtype)
            loss_I1 = (label_smoothing - 1.0) * log_probs_IV.gather(-1, label_I1)
            if label_smoothing:
                loss_I1 -= label_smoothing * log_probs_IV.mean(-1, keepdim=True)
            total += loss_I1.where(counted_I1, 0.0).sum()
            if gradient_IV is not None:
                part_IV = log_probs_IV.exp_()
                if label_smoothing:
                    part_IV -= label_smoothing / part_IV.shape[1]
                part_IV.scatter_add_(-1, label_I1, torch.full_like(loss_I1, label_smoothing - 1.0))
                gradient_IV[part] = part_IV.mul_(counted_I1)
        if gradient_IV is not None:
            ctx.save_for_backward(gradient_IV)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (gradient_IV,) = ctx.saved_tensors
        scaled_IV = torch.empty_like(gradient_IV)
        for part in parts(gradient_IV):
            # A factor without axes would be rounded to bfloat16 first.
            scaled_IV[part] = gradient_IV[part] * gradients[0].view(1, 1)
        return scaled_IV, None, None


def parts(rows_IV: torch.Tensor) -> list[slice]:
    """ROWS rows at a time on a CPU, elsewhere all of them."""
    size = ROWS if rows_IV.device.type == "cpu" else max(len(rows_IV), 1)
    return [slice(start, start + size) for start in range(0, len(rows_IV), size)]
