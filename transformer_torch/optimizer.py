"""AdamW (Loshchilov and Hutter 2019, algorithm 2), with weight decay on matrices and tables only, and by the whole learning rate, as in
PyTorch; in the paper by its schedule alone."""

from __future__ import annotations

import torch
from torch import nn

from configs.run import Optimizer


def build_optimizer(model: nn.Module, optimizer: Optimizer) -> torch.optim.AdamW:
    """PyTorch's AdamW in one fused kernel; tables and matrices decay, norms and biases do not.

    w <- w - rate * (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * w), m and v the moving means of g and g^2.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": optimizer.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        fused=fused,
    )


def make_moments(adamw: torch.optim.Optimizer) -> None:
    """Make the moving means now, when the optimizer has its final parameters, and not at its first step.

    Made now they lie together; made later they lie between activations, and break up the memory.
    """
    for group in adamw.param_groups:
        for parameter in group["params"] if group["fused"] else ():
            step = torch.zeros((), dtype=torch.float32, device=parameter.device)
            adamw.state[parameter] = {"step": step, "exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
