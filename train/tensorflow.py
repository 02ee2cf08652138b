"""Train the TensorFlow model of a run: `python -m train.tensorflow configs/runs/NAME.yaml key=value ...`.

The same config, text, data order, schedule, optimizer, metrics and checkpoints as `accelerate launch -m train`, in one process, every
step one program. train.num_processes is the number of devices, default all GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from configs import RunConfig, UserError, load_run_config, run_command

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
    from train.report import tell
    from train.run_folder import SUMMARY, open_run
    from train.sample import sample

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
    from train.tensorflow_summary import finish, generate_of

    strategy(config)
    folder = open_run(config)
    print("".join(f"{note}\n" for note in (*corpus.notes, *beginning, *folder.notes)), end="")
    trainer = Trainer(config, corpus, folder)
    stop = Stop()
    code = trainer.train(stop)
    stop.end()
    if code:
        return code
    finish(config, corpus, folder.path, trainer.model, trainer.state)
    text = sample(generate_of(folder.path), config.model, corpus, config.train.sample_prompt)
    tell(json.loads((folder.path / SUMMARY).read_text(encoding="utf-8")), text, folder.path)
    if config.train.cross_check:
        from train.cross_check import cross_check

        return cross_check(folder.path, config.train.sample_prompt)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_command(main)
