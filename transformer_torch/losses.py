"""The losses of training: cross-entropy, and how much two readings disagree.

B batch, T query length, V vocabulary, I axes joined into one (batch and length).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from configs.errors import UserError
from configs.inputs import check_labels
from transformer_torch.products import is_transformed

IGNORED = -100
# Rows whose logits are worked on at a time, so that they stay in the processor's cache.
ROWS = 256


def cross_entropy(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    label_smoothing: this share of each target is spread over the whole vocabulary (Szegedy et al. 2016, 7; "Attention Is All You Need",
    5.4). A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    Raises UserError where the labels have another shape than the logits' first axes, and where a second derivative is asked for.
    """
    check_labels(logits_BTV, labels_BT)
    if is_seen_through():
        # The compiler keeps nothing of the logits' size either.
        wide = torch.promote_types(logits_BTV.dtype, torch.float32)
        settings: dict[str, Any] = {"ignore_index": IGNORED, "reduction": "sum", "label_smoothing": label_smoothing}
        return F.cross_entropy(logits_BTV.flatten(0, -2).to(wide), labels_BT.flatten().long(), **settings)
    return CrossEntropy.apply(logits_BTV.flatten(0, -2), labels_BT.flatten().long(), label_smoothing)


def disagreement(first_BTV: torch.Tensor, second_BTV: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    """Sum over all targets of the mean of KL(p || q) and KL(q || p), p and q being the softmax of two readings' logits (R-Drop, Liang et
    al. 2021, 2.1), in float32 or better; labels of -100 count for nothing. In nats."""
    if is_seen_through():
        wide = torch.promote_types(first_BTV.dtype, torch.float32)
        first_BTV, second_BTV = (logits_BTV.log_softmax(-1, dtype=wide) for logits_BTV in (first_BTV, second_BTV))
        return ((first_BTV.exp() - second_BTV.exp()) * (first_BTV - second_BTV)).sum(-1).where(labels_BT != IGNORED, 0.0).sum() / 2
    return Disagreement.apply(first_BTV.flatten(0, -2), second_BTV.flatten(0, -2), labels_BT.flatten())


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
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return scaled(ctx.saved_tensors[0], gradients[0]), None, None


class Disagreement(torch.autograd.Function):
    """Half of sum (p - q) (log p - log q), and with it its gradient, half of p (log p - log q - KL(p || q)) + p - q in the first logits."""

    @staticmethod
    def forward(ctx: Any, first_IV: torch.Tensor, second_IV: torch.Tensor, labels_I: torch.Tensor) -> torch.Tensor:
        gradients = [torch.empty_like(logits_IV) for logits_IV in (first_IV, second_IV)]
        dtype = torch.promote_types(first_IV.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=first_IV.device)
        for part in parts(first_IV):
            counted_I1 = labels_I[part, None] != IGNORED
            log_p_IV, log_q_IV = first_IV[part].log_softmax(-1, dtype=dtype), second_IV[part].log_softmax(-1, dtype=dtype)
            p_IV, q_IV = log_p_IV.exp(), log_q_IV.exp()
            ratio_IV, excess_IV = log_p_IV - log_q_IV, p_IV - q_IV
            for gradient_IV, probs_IV, sign in zip(gradients, (p_IV, q_IV), (1, -1), strict=True):
                weighted_IV = probs_IV * ratio_IV
                divergence_I1 = weighted_IV.sum(-1, keepdim=True)
                total += sign / 2 * divergence_I1.where(counted_I1, 0.0).sum()
                gradient_IV[part] = sign / 2 * counted_I1 * (weighted_IV - probs_IV * divergence_I1 + excess_IV)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        first_IV, second_IV = (scaled(gradient_IV, gradients[0]) for gradient_IV in ctx.saved_tensors)
        return first_IV, second_IV, None


def is_seen_through() -> bool:
    """Whether a compiler or `torch.func` is at work, which take PyTorch's own operators apart."""
    return torch.compiler.is_compiling() or is_transformed()


def scaled(gradient_IV: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """A gradient times a number."""
    if torch.is_grad_enabled():
        # As for a second derivative, in which what was kept would pass for a constant.
        raise UserError("the losses have no second derivative (create_graph=True); take torch.nn.functional.cross_entropy for it")
    scaled_IV = torch.empty_like(gradient_IV)
    for part in parts(gradient_IV):
        # A factor without axes would be rounded to bfloat16 first.
        scaled_IV[part] = gradient_IV[part] * factor.view(1, 1)
    return scaled_IV


def parts(rows_IV: torch.Tensor) -> list[slice]:
    """ROWS rows at a time on a CPU, elsewhere all of them."""
    size = ROWS if rows_IV.device.type == "cpu" else max(len(rows_IV), 1)
    return [slice(start, start + size) for start in range(0, len(rows_IV), size)]
