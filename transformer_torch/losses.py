"""What training makes small. B batch, T length, V vocabulary."""

from __future__ import annotations

import torch
from torch.nn import functional as F

IGNORED = -100


def cross_entropy(logits_BTV: torch.Tensor, labels_BT: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Sum over all targets of -log softmax(logits)[label], in float32 or better; labels of -100 count for nothing. In nats.

    label_smoothing: this share of each target is spread over the whole vocabulary ("Attention Is All You Need", 5.4).
    A sum and not a mean: who trains on several batches or processes divides by the number of targets of them all.
    """
    if logits_BTV.dtype in (torch.float16, torch.bfloat16):
        logits_BTV = logits_BTV.float()
    return F.cross_entropy(
        logits_BTV.flatten(0, -2), labels_BT.flatten().long(), ignore_index=IGNORED, reduction="sum", label_smoothing=label_smoothing
    )
