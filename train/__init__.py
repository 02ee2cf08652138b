"""Training. `sources`, `tokenization`, `objectives`, `batches`, `schedule`, `metrics`, `plot` and `run_folder` know nothing of PyTorch."""
