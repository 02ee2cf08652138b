"""Train the TensorFlow model of a run: `python -m train.tensorflow configs/runs/NAME.yaml key=value ...`."""

from __future__ import annotations

import argparse
import json
import sys

from configs import RunConfig, load_run_config, run_command
from configs.quiet import quiet

DESCRIPTION = """\
Train the TensorFlow model of a run as its YAML says. Any of its values can be changed by key=value.

  python -m train.tensorflow configs/runs/gpt2_stdlib.yaml
  python -m train.tensorflow configs/runs/gpt2_stdlib.yaml model.num_layers=2 train.max_steps=100 name=tiny
  python -m train.tensorflow configs/runs/gpt2_stdlib.yaml train.existing=resume
  python -m train.tensorflow configs/runs/gpt2_stdlib.yaml --dry-run
  python -m train.tensorflow configs/runs/dates.yaml "train.trackers=[tensorboard]"
  python -m train.tensorflow configs/runs/docstrings_minilm.yaml initial=path/to/a/checkpoint
  python -m train.tensorflow configs/runs/gpt2_shakespeare.yaml data.path=input.txt
  python -m train.tensorflow configs/runs/gpt2_stdlib.yaml train.precision=bf16
  python -m train.tensorflow configs/runs/llama_shakespeare.yaml data.path=input.txt train.num_processes=2

The same objectives, text, data order, schedule, optimizer, metrics and test as `accelerate launch -m train`, and no PyTorch is needed:
`pip install -e .[tensorflow]`. docs/training.md says what a run promises.

One process trains, and every step is one program. train.num_processes is the number of its devices: default all GPUs, without a GPU one
CPU, which more than one divide. The run's folder is train.output/name_tensorflow (runs/gpt2_stdlib_tensorflow): config, tokenizer,
weights, metrics, curves and summary. It loads with transformer_tf.load and transformer_torch.load.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m train.tensorflow", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="RUN.yaml", help="a run's config, such as configs/runs/gpt2_stdlib.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, by dotted keys: train.max_steps=100")
    parser.add_argument("--dry-run", action="store_true", help="check all, print config, size, memory and FLOPs of a step, and stop")
    arguments = parser.parse_intermixed_args()
    config = load_run_config(arguments.config, arguments.overrides)
    from train.cross_check import check_exportable

    check_exportable(config)
    return preview(config) if arguments.dry_run else run(config)


def preview(config: RunConfig) -> int:
    """What a run would be, after the checks that the run would make."""
    from train.ready import ready
    from train.trackers import check_trackers

    check_trackers(config)
    config, corpus, beginning = ready(named(config))
    with quiet():
        from train.tensorflow_dry_run import dry_run
    dry_run(config, corpus)
    print("".join(f"{note}\n" for note in beginning), end="")
    return 0


def named(config: RunConfig) -> RunConfig:
    """The run's config, whose folder lies beside that of PyTorch."""
    return config.model_copy(update={"name": f"{config.name}_tensorflow"})


def run(config: RunConfig) -> int:
    """The whole of a run, whose folder is NAME_tensorflow. 0, or the exit code of a signal or of a failed cross-check."""
    from train.ready import ready
    from train.report import tell
    from train.run_folder import SUMMARY, open_run
    from train.sample import sample
    from train.trackers import check_trackers

    check_trackers(config)
    config, corpus, beginning = ready(named(config))
    # TensorFlow takes seconds to import, and a mistake in the data is told before that.
    with quiet():
        from train.stop import Stop
        from train.tensorflow_devices import strategy, use_threads
        from train.tensorflow_loop import Trainer
        from train.tensorflow_summary import finish, generate_of, hardware
    use_threads(config)
    strategy(config)
    folder = open_run(config)
    print("".join(f"{note}\n" for note in (*corpus.notes, *beginning, *folder.notes)), end="")
    trainer = Trainer(config, corpus, folder)
    where = f"on {hardware()}; {trainer.devices} device(s), {trainer.state['conditions']['precision']}"
    print("".join(f"{note}\n" for note in (*trainer.notes, where)), end="")
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
