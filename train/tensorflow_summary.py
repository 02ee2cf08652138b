"""What a finished TensorFlow run leaves behind: the files and the figures of `train.summary`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import tensorflow as tf

from configs import RunConfig
from train.answers import Generate, test
from train.figures import figures
from train.hardware import processor
from train.objectives.corpus import Corpus
from train.plot import plot
from train.run_folder import SUMMARY, write_all_whole, write_whole
from train.saved import final_weights
from transformer_tf import Transformer, load
from transformer_tf.weights import reader
from weight_mapping import write_json, write_run


def finish(config: RunConfig, corpus: Corpus, folder: Path, model: Transformer, state: Mapping[str, Any]) -> None:
    """Make the run's folder complete: weights in canonical form, curves, and at last the summary.

    state: as `train.tensorflow_checkpoints` saves it.
    """
    write_all_whole(folder, lambda path: write_run(path, config.model, final_weights(config, folder, reader(model))))
    tested = test(config, folder, corpus, generate_of) if corpus.test else {}
    write_whole(folder, "loss.png", lambda path: plot([folder], path))
    summary = summarize(config, folder, state) | tested
    write_whole(folder, SUMMARY, lambda path: write_json(path, summary))


def summarize(config: RunConfig, folder: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the run, for people and for programs. processes: those that share a step, which are devices here."""
    return figures(config, folder, state["seconds"]) | {
        "processes": state["processes"],
        "precision": state["conditions"]["precision"],
        "hardware": hardware(),
        "tensorflow": tf.__version__,
    }


def hardware() -> str:
    """The device in words: the GPU's name, or the processor's with the threads of the process."""
    if gpus := tf.config.list_physical_devices("GPU"):
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    return processor(threads())


def threads() -> int:
    """What TensorFlow computes with on a CPU: all cores that it may use, unless it was told."""
    allowed = len(psutil.Process().cpu_affinity() or []) if hasattr(psutil.Process, "cpu_affinity") else psutil.cpu_count() or 1
    return tf.config.threading.get_intra_op_parallelism_threads() or allowed


def generate_of(folder: Path) -> Generate:
    """`generate` of a folder's model, for `train.answers` and `train.sample`."""
    model = load(folder)
    return lambda *ids, **settings: model.generate(*ids, **settings).numpy().tolist()
