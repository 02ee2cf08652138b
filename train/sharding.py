"""What FSDP2 must be told of our models."""

from __future__ import annotations

import warnings

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, register_fsdp_forward_method

from transformer_torch.layers import Layer


def sum_gradients_in_float32(accelerator: Accelerator) -> None:
    """Under bf16 the processes' gradients are summed in float32, where accelerate would sum them in bf16: the more processes, the worse.

    Nothing happens where nothing is sharded.
    """
    if accelerator.is_fsdp2 and accelerator.mixed_precision == "bf16":
        bf16 = torch.bfloat16
        accelerator.state.fsdp_plugin.mixed_precision_policy = MixedPrecisionPolicy(bf16, torch.float32, output_dtype=bf16)


def gather_for_cross_attention(model: nn.Module) -> None:
    """Let a decoder's sharded layers gather their weights when the encoder's keys and values are made, which is before the layers run.

    FSDP2 gathers a layer's weights where its `forward` is called. Nothing happens to a model that is not sharded.
    """
    # Keys and values are views, and nothing is done to them in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for layer in model.modules():
        if isinstance(layer, Layer) and isinstance(layer, FSDPModule) and layer.cross_attention is not None:
            layer.cross_key_value = layer.cross_attention.key_value
            register_fsdp_forward_method(layer, "cross_key_value")
            layer.cross_attention.key_value = layer.cross_key_value
