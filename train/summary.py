"""What a finished run leaves behind. `train.tensorflow_summary` does the same in TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from configs import RunConfig
from train.answers import test
from train.checkpoints import whole_weights
from train.evaluate import generate_of
from train.figures import figures
from train.hardware import processor
from train.objectives.corpus import Corpus
from train.plot import plot
from train.run_folder import SUMMARY, RunFolder, write_all_whole, write_whole
from train.saved import final_weights
from weight_mapping import write_json, write_run


def finish(config: RunConfig, accelerator: Accelerator, corpus: Corpus, run: RunFolder, model: nn.Module, seconds: float) -> None:
    """Make the run's folder complete: weights in canonical form, curves, and at last the summary. Every process calls this; the
    others than the first are done when the weights are gathered."""
    weights = whole_weights(accelerator, model)
    if accelerator.is_main_process:
        read = final_weights(config, run.path, lambda name: weights[name].numpy())
        write_all_whole(run.path, lambda folder: write_run(folder, config.model, read))
        tested = test(config, run.path, corpus, generate_of) if corpus.test else {}
        write_whole(run.path, "loss.png", lambda path: plot([run.path], path))
        summary = summarize(config, accelerator, run.path, seconds) | tested
        write_whole(run.path, SUMMARY, lambda path: write_json(path, summary))


def summarize(config: RunConfig, accelerator: Accelerator, folder: Path, seconds: float) -> dict[str, Any]:
    """The figures of the run, for people and for programs."""
    return figures(config, folder, seconds) | {
        "processes": accelerator.num_processes,
        "precision": precision(accelerator),
        "hardware": hardware(accelerator),
        "torch": torch.__version__,
    }


def precision(accelerator: Accelerator) -> str:
    """That of matrix products."""
    found = str(accelerator.mixed_precision)
    return {"no": "float32"}.get(found, found)


def hardware(accelerator: Accelerator) -> str:
    """The device in words: the GPU's name, or the processor's with the threads of each process."""
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return processor(torch.get_num_threads())
