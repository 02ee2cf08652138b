"""Compares implementations tensor by tensor: Hugging Face, PyTorch, TensorFlow."""
