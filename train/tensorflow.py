"""Train the TensorFlow model of a run: `python -m train.tensorflow configs/runs/NAME.yaml key=value ...`.

The same config, text, data order, schedule, optimizer and metrics as `accelerate launch -m train`, in one process, every step one
XLA program. It keeps no checkpoints: a run that was stopped starts again.

R rows of an accumulation step, T tokens of a sequence, V vocabulary or classes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from configs import RunConfig, UserError, load_run_config, run_command
from train.batches import Batch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.tensorflow", description="Train the TensorFlow model as a run's YAML says.")
    parser.add_argument("config", metavar="RUN.yaml", help="a run's config, such as configs/runs/gpt2_stdlib.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to change, by dotted keys: train.max_steps=100")
    arguments = parser.parse_args()
    return run(load_run_config(arguments.config, arguments.overrides))


def run(config: RunConfig) -> int:
    """The whole of a run. Its folder is NAME_tensorflow, and loads in both frameworks."""
    from train.objectives import prepare
    from train.run_folder import open_run

    unbuilt = {"train.precision=bf16": config.train.precision == "bf16", "train.trackers": bool(config.train.trackers)}
    unbuilt |= {"train.existing=resume": config.train.existing == "resume", "train.compile=true": config.train.compile}
    unbuilt |= {f"train.num_processes={config.train.num_processes}": config.train.num_processes not in (None, 1)}
    for name, asked in unbuilt.items():
        if asked:
            raise UserError(f"{name} is not built for TensorFlow yet; leave it out, or train with PyTorch")
    config = config.model_copy(update={"name": f"{config.name}_tensorflow"})
    if config.train.existing == "auto":
        config = config.model_copy(update={"train": config.train.model_copy(update={"existing": "new"})})
    corpus = prepare(config)
    folder = open_run(config)
    print("".join(f"{note}\n" for note in corpus.notes), end="")
    trainer = Trainer(config, corpus)
    seconds = trainer.train(folder.path)
    finish(trainer, folder.path, seconds)
    if config.train.cross_check:
        from train.cross_check import cross_check

        return cross_check(folder.path, config.train.sample_prompt)
    return 0


class Trainer:
    """The model, its optimizer, and its two programs: a training step and an evaluation step."""

    def __init__(self, config: RunConfig, corpus: Any, dtype: str = "float32") -> None:
        import tensorflow as tf

        from transformer_tf import Transformer, cross_entropy
        from transformer_tf.optimizer import build_optimizer

        tf.keras.utils.set_random_seed(config.seed)
        self.config, self.corpus = config, corpus
        self.model = model = Transformer(config.model, seed=config.seed, dtype=dtype)
        model.set_gradient_checkpointing(config.train.gradient_checkpointing)
        self.rate = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.optimizer = build_optimizer(config.optimizer, lambda: self.rate)
        self.optimizer.build(model.trainable_variables)
        clip, smoothing = config.optimizer.clip or math.inf, config.objective.label_smoothing

        def train_step(shares: list[dict[str, Any]], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss, gradients = tf.zeros((), dtype), [tf.zeros(variable.shape, dtype) for variable in model.trainable_variables]
            for share in shares:
                with tf.GradientTape() as tape:
                    logits_RTV = model(share["inputs"], training=True)
                    part_loss = cross_entropy(logits_RTV, share["labels"], smoothing) / tf.cast(targets, dtype)
                found = tape.gradient(part_loss, model.trainable_variables)
                gradients = [total + gradient for total, gradient in zip(gradients, found, strict=True)]
                loss += part_loss
            norm = tf.linalg.global_norm(gradients)
            # The formula of PyTorch's clip_grad_norm_, to the last digit.
            scale = tf.minimum(clip / (norm + 1e-6), 1.0)
            self.optimizer.apply([gradient * scale for gradient in gradients], model.trainable_variables)
            return loss, norm

        def evaluate_step(share: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
            logits_RTV = model(share["inputs"], training=False)
            right_RT = tf.argmax(logits_RTV, -1) == tf.cast(share["labels"], tf.int64)
            return cross_entropy(logits_RTV, share["labels"]), tf.math.count_nonzero(right_RT)

        # XLA compiles for one shape; where every batch has its own, a graph for all of them is faster.
        fixed = corpus.train.fixed
        self.train_step = tf.function(train_step, jit_compile=fixed, reduce_retracing=not fixed)
        self.evaluate_step = tf.function(evaluate_step, jit_compile=fixed, reduce_retracing=not fixed)

    def step(self, step: int) -> tuple[Any, Any, int]:
        """One optimizer step on one global batch: the mean loss before it, the norm of the gradient, and the batch's tokens."""
        import tensorflow as tf

        from train.schedule import learning_rate

        settings = self.config.train
        self.rate.assign(learning_rate(self.config.schedule, self.config.optimizer.learning_rate, step, settings.max_steps))
        batch, parts = self.corpus.train.batch(step), settings.accumulation_steps
        loss, norm = self.train_step([tensors(batch.share(part=part, parts=parts)) for part in range(parts)], tf.constant(batch.targets))
        return loss, norm, batch.tokens

    def evaluate(self) -> dict[str, float]:
        """Mean loss of all validation targets, in nats, and the share of them that the model takes for the most probable."""
        total, right, targets = 0.0, 0, self.corpus.validation.targets
        for batch in self.corpus.validation.batches():
            loss, hits = self.evaluate_step(tensors(batch))
            total, right = total + float(loss), right + int(hits)
        return {"validation_loss": total / targets, "validation_accuracy": right / targets}

    def train(self, folder: Path) -> float:
        """Run all steps, and write metrics.jsonl as the PyTorch loop does. Gives the seconds that it took."""
        from train.metrics import MetricsLog
        from train.progress import ProgressDisplay

        settings, log, began = self.config.train, MetricsLog(folder, 0), time.monotonic()
        tokens, logged, interval = 0, 0, began
        with ProgressDisplay(True, 0, settings.max_steps) as display:
            for step in range(1, settings.max_steps + 1):
                loss, norm, seen = self.step(step - 1)
                tokens += seen
                is_last = step == settings.max_steps
                display.advance(step)
                if step % settings.log_every == 0 or is_last or step == 1:
                    row = {"step": step, "tokens": tokens, "loss": float(loss), "gradient_norm": float(norm)}
                    now = time.monotonic()
                    row |= {"learning_rate": float(self.rate), "tokens_per_second": (tokens - logged) / (now - interval)}
                    row |= {"elapsed_seconds": now - began}
                    if not math.isfinite(row["loss"]):
                        raise UserError(f"the loss is {row['loss']} at step {step}; lower optimizer.learning_rate")
                    log.write(row)
                    display.training(row)
                    logged, interval = tokens, now
                if step % settings.evaluate_every == 0 or is_last:
                    pause = time.monotonic()
                    row = {"step": step, **self.evaluate(), "elapsed_seconds": time.monotonic() - began}
                    log.write(row)
                    display.validation(row)
                    interval += time.monotonic() - pause
        return time.monotonic() - began


def tensors(batch: Batch) -> dict[str, Any]:
    """A batch as TensorFlow takes it: numbers of a step must be tensors, or each would be a program of its own."""
    import tensorflow as tf

    inputs = {name: tf.constant(values) for name, values in batch.inputs.items()}
    return {"inputs": inputs if set(inputs) != {"input_ids"} else inputs["input_ids"], "labels": tf.constant(batch.labels)}


def finish(trainer: Trainer, folder: Path, seconds: float) -> None:
    """Make the run's folder complete, and say what is in it."""
    import tensorflow as tf

    from train.figures import figures
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
        "precision": "float32",
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "tensorflow": tf.__version__,
    }
    write_whole(folder, SUMMARY, lambda path: write_json(path, summary))
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run_command(main)
