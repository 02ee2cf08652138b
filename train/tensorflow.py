"""Train the TensorFlow model of a run: `python -m train.tensorflow configs/runs/NAME.yaml key=value ...`.

The same config, text, data order, schedule, optimizer, metrics and checkpoints as `accelerate launch -m train`, in one process, every
step one program. train.num_processes is the number of devices, default all GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from configs import RunConfig, UserError, load_run_config, run_command

if TYPE_CHECKING:
    from train.tensorflow_loop import Trainer

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.tensorflow", description="Train the TensorFlow model as a run's YAML says.")
    parser.add_argument("config", metavar="RUN.yaml", help="a run's config, such as configs/runs/gpt2_stdlib.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, by dotted keys: train.max_steps=100")
    arguments = parser.parse_intermixed_args()
    return run(load_run_config(arguments.config, arguments.overrides))


def run(config: RunConfig) -> int:
    """The whole of a run. Its folder is NAME_tensorflow, and loads in both frameworks. 0, or the exit code of a signal."""
    from train.cross_check import check_exportable
    from train.initial import told
    from train.objectives import prepare
    from train.objectives.corpus import with_labels
    from train.run_folder import open_run

    for name, asked in {"train.trackers": bool(config.train.trackers), "train.compile=true": config.train.compile}.items():
        if asked:
            raise UserError(f"{name} is not built for TensorFlow yet; leave it out, or train with PyTorch")
    check_exportable(config)
    config = config.model_copy(update={"name": f"{config.name}_tensorflow"})
    corpus = prepare(config)
    config = with_labels(config, corpus)
    beginning = told(config)
    # TensorFlow takes seconds to import, and a mistake in the data is told before that.
    from train.tensorflow_devices import strategy
    from train.tensorflow_loop import Stop, Trainer

    strategy(config)
    folder = open_run(config)
    print("".join(f"{note}\n" for note in (*corpus.notes, *beginning, *folder.notes)), end="")
    trainer = Trainer(config, corpus, folder)
    stop = Stop()
    code = trainer.train(stop)
    stop.end()
    if code:
        return code
    finish(trainer, folder.path, trainer.state["seconds"])
    if config.train.cross_check:
        from train.cross_check import cross_check

        return cross_check(folder.path, config.train.sample_prompt)
    return 0


def finish(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Make the run's folder complete, and say what is in it."""
    import tensorflow as tf

    from train.figures import figures, goals_in_words
    from train.plot import plot
    from train.run_folder import SUMMARY, write_all_whole, write_whole
    from transformer_tf.weights import reader
    from weight_mapping import write_json, write_run

    config = trainer.config
    write_all_whole(folder, lambda path: write_run(path, config.model, reader(trainer.model)))
    if trainer.corpus.tokenizer is not None:
        write_all_whole(folder, trainer.corpus.tokenizer.save)
    write_whole(folder, "loss.png", lambda path: plot([folder], path))
    summary = figures(config, folder, seconds) | {
        "precision": "bf16" if config.train.precision == "bf16" else "float32",
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "tensorflow": tf.__version__,
    }
    write_whole(folder, SUMMARY, lambda path: write_json(path, summary))
    print(json.dumps(summary, indent=2))
    print("".join(f"goal {line}\n" for line in goals_in_words(summary)), end="")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_command(main)
