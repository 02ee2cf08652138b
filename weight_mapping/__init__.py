"""Names, shapes and layouts of every tensor, and the way between Hugging Face and this project. NumPy and safetensors only."""

from weight_mapping.checkpoint import Checkpoint, convert, save, write_hugging_face, write_run
from weight_mapping.families import families, get_family
from weight_mapping.files import whole_folder, write_json
from weight_mapping.initialization import initial_tensors
from weight_mapping.names import Tensor, canonical_tensors, tied_tensors

__all__ = [
    "Checkpoint",
    "Tensor",
    "canonical_tensors",
    "convert",
    "families",
    "get_family",
    "initial_tensors",
    "save",
    "tied_tensors",
    "whole_folder",
    "write_hugging_face",
    "write_json",
    "write_run",
]
