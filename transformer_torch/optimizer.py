"""AdamW (Loshchilov and Hutter 2019), with decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from configs.run import Optimizer


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> torch.optim.AdamW:
    """PyTorch's AdamW in one fused kernel; tables and matrices decay, norms and biases do not.

    w <- w - rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * w), m and v the moving means of g and g^2.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2], "weight_decay": optimizer.weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    betas = (optimizer.beta1, optimizer.beta2)
    return torch.optim.AdamW(groups, lr=optimizer.learning_rate, betas=betas, eps=optimizer.epsilon, fused=True)
