"""The Transformer in PyTorch. Nearly every file here has a twin in transformer_tf."""

from transformer_torch.inference import for_inference
from transformer_torch.loading import load, save
from transformer_torch.losses import cross_entropy
from transformer_torch.model import Transformer

__all__ = ["Transformer", "cross_entropy", "for_inference", "load", "save"]
