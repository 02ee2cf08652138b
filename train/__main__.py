"""Train a model: `accelerate launch -m train configs/runs/NAME.yaml key=value ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from configs import RunConfig, UserError, load_run_config, run_command

DESCRIPTION = """\
Train a model as a run's YAML says. Any of its values can be changed by key=value.

  accelerate launch -m train configs/runs/gpt2_stdlib.yaml
  accelerate launch -m train configs/runs/gpt2_stdlib.yaml model.num_layers=2 train.max_steps=100 name=tiny
  accelerate launch -m train configs/runs/gpt2_stdlib.yaml train.existing=resume
  accelerate launch -m train configs/runs/gpt2_stdlib.yaml --dry-run
  accelerate launch -m train configs/runs/dates.yaml "train.trackers=[tensorboard]"
  accelerate launch -m train configs/runs/docstrings_minilm.yaml initial=path/to/a/checkpoint
  accelerate launch -m train configs/runs/gpt2_shakespeare.yaml data.path=input.txt
  accelerate launch --config_file configs/accelerate/eight_gpus.yaml -m train configs/runs/gpt2_stdlib.yaml train.batch_size=16
  ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m train configs/runs/gpt2_stdlib.yaml

Objectives: causal_lm, masked_lm, span_corruption, seq2seq, sequence_classification, image_classification; docs/training.md has them,
their data, and what a run promises. configs/runs/ has a run of each that needs no download, configs/runs/hub/ one for a dataset of the
hub, and configs/runs/gpu/ some that want a GPU.

Without a launcher, `python -m train ...` runs one process. The run's folder is train.output/name (runs/gpt2_stdlib):
config, tokenizer, weights, metrics, curves and summary. It loads with transformer_torch.load and transformer_tf.load.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="accelerate launch -m train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="RUN.yaml", help="a run's config, such as configs/runs/gpt2_stdlib.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, by dotted keys: train.max_steps=100")
    parser.add_argument("--dry-run", action="store_true", help="check all, print config, size, memory and FLOPs of a step, and stop")
    arguments = parser.parse_intermixed_args()
    config = load_run_config(arguments.config, arguments.overrides)
    from train.cross_check import check_exportable

    check_exportable(config)
    return preview(config) if arguments.dry_run else run(config)


def once_a_machine() -> int:
    """`main`, but a mistake that all processes of a machine find is told by the first of them."""
    try:
        return main()
    except UserError:
        if os.environ.get("LOCAL_RANK", "0") == "0":
            raise
        # A launcher ends all processes when the first one fails, and the line must be out by then.
        time.sleep(2)
        return 2


def preview(config: RunConfig) -> int:
    """What a run would be, told by the first process after the checks that the run would make."""
    from train.dry_run import dry_run, folder_in_words
    from train.launch import check_launch
    from train.ready import ready
    from train.trackers import check_trackers

    if os.environ.get("RANK", "0") == "0":
        check_trackers(config)
        _, precision = check_launch(config)
        config, corpus, beginning = ready(config)
        dry_run(config, corpus, int(os.environ.get("WORLD_SIZE", "1")), precision)
        print("".join(f"{note}\n" for note in (*beginning, folder_in_words(config, corpus, precision))), end="")
    return 0


def run(config: RunConfig) -> int:
    """The whole of a run, from the checks to the cross-check. 0, or the exit code of a signal or of a failed cross-check."""
    from train.memory import ask_for_huge_pages

    # Their batches differ in shape: freed memory cannot be kept for the next one (`train.loop` does, where it can).
    if config.objective.kind in ("seq2seq", "sequence_classification"):
        ask_for_huge_pages()
    # torch takes seconds to import, and a mistake in the config is told before that.
    import torch
    from accelerate.utils import broadcast_object_list

    from train import launch, summary
    from train.evaluate import generate_of
    from train.loop import Trainer
    from train.ready import ready
    from train.report import tell
    from train.run_folder import SUMMARY, RunFolder, open_run
    from train.sample import sample
    from train.stop_together import StopTogether
    from train.trackers import check_trackers

    check_trackers(config)
    accelerator, launcher = launch.start(config)
    config, corpus, beginning = ready(config)
    launch.check_same_text(accelerator, corpus.fingerprint)
    folder: RunFolder | None = None
    decision: list[object] = [None, False, None]
    if accelerator.is_main_process:
        try:
            folder = open_run(config)
            decision = [str(folder.path), folder.resumed, None]
        except UserError as error:
            decision = [None, False, str(error)]
    if accelerator.num_processes > 1:
        broadcast_object_list(decision)
    if decision[2] is not None:
        raise UserError(str(decision[2]))
    folder = folder or RunFolder(Path(str(decision[0])), bool(decision[1]))

    if accelerator.is_main_process:
        where = f"on {summary.hardware(accelerator)}; {accelerator.num_processes} process(es), {summary.precision(accelerator)}"
        print("".join(f"{note}\n" for note in (*corpus.notes, *beginning, *folder.notes, where)), end="")
    trainer = Trainer(config, accelerator, corpus, folder)
    stop = StopTogether(launcher.pid)
    code = trainer.train(stop)
    stop.end()
    if code == 0:
        summary.finish(config, accelerator, corpus, folder, trainer.plain, trainer.progress.seconds)
    is_main = accelerator.is_main_process
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if code or not is_main:
        return code
    text = sample(generate_of(folder.path), config.model, corpus, config.train.sample_prompt)
    tell(json.loads((folder.path / SUMMARY).read_text(encoding="utf-8")), text, folder.path)
    if config.train.cross_check:
        from train.cross_check import cross_check

        return cross_check(folder.path, config.train.sample_prompt)
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_command(once_a_machine)
