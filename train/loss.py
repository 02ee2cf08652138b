"""What a training step makes smaller. R rows of one process in one accumulation step, T tokens of a sequence, V vocabulary or classes."""

from __future__ import annotations

import torch
from torch import nn

from transformer_torch import cross_entropy
from transformer_torch.losses import disagreement


def training_loss(
    model: nn.Module, inputs: dict[str, torch.Tensor], labels_RT: torch.Tensor, label_smoothing: float = 0.0, r_drop: float = 0.0
) -> torch.Tensor:
    """The model's loss, a sum over targets: one function, so that it can be compiled whole.

    With R-Drop each row is read twice, in one batch, and the loss is the mean of both readings' and r_drop / 2 times their disagreement.
    """
    if not r_drop:
        return cross_entropy(model(**inputs), labels_RT, label_smoothing)
    first_RTV, second_RTV = model(**{name: torch.cat([values, values]) for name, values in inputs.items()}).chunk(2)
    both = cross_entropy(first_RTV, labels_RT, label_smoothing) + cross_entropy(second_RTV, labels_RT, label_smoothing)
    return (both + r_drop * disagreement(first_RTV, second_RTV, labels_RT)) / 2
