"""Training. `text`, `tokenization`, `data`, `batches`, `schedule`, `metrics`, `plot` and `run_folder` know nothing of PyTorch."""
