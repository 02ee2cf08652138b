"""The training loop in TensorFlow: `train.loop` for one process with one device or several.

R rows of a device in an accumulation step, T tokens of a sequence, V vocabulary or classes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from configs import RunConfig
from train import tensorflow_checkpoints as checkpoints
from train.ahead import BatchesAhead
from train.batches import Batch
from train.diverged import Watch
from train.initial import starting_tensors
from train.metrics import MetricsLog
from train.objectives.corpus import Corpus
from train.progress import ProgressDisplay
from train.run_folder import RunFolder, saved, write_all_whole
from train.saved import drop_old, shared_by_others
from train.schedule import learning_rate
from train.stop import Stop
from train.tensorflow_devices import strategy
from train.tensorflow_loss import training_loss
from train.tensorflow_trackers import Trackers
from transformer_tf import Transformer, cross_entropy
from transformer_tf.optimizer import build_optimizer
from transformer_tf.weights import assign


class Trainer:
    """One run: the model, its optimizer, its two programs (a training step, an evaluation step), and how far it is.

    notes: lines to be told before the first step.
    dtype: of weights and arithmetic; with train.precision=bf16 Keras's mixed policy: products in bfloat16, weights in float32.
    """

    def __init__(self, config: RunConfig, corpus: Corpus, run: RunFolder | None = None, dtype: str = "float32") -> None:
        self.config, self.corpus, self.run = config, corpus, run
        self.batches = BatchesAhead(corpus.train)
        self.strategy = strategy(config)
        self.devices = devices = self.strategy.num_replicas_in_sync
        tf.keras.utils.set_random_seed(config.seed)
        with self.strategy.scope():
            is_mixed = config.train.precision == "bf16"
            self.model = model = Transformer(config.model, seed=None, dtype="mixed_bfloat16" if is_mixed else dtype)
            assign(model, starting_tensors(config, run is not None and bool(saved(run.checkpoints))))
            model.set_gradient_checkpointing(config.train.gradient_checkpointing)
            self.rate = tf.Variable(0.0, dtype=tf.float64, trainable=False)
            self.optimizer = build_optimizer(config.optimizer, lambda: self.rate)
            self.optimizer.build(model.trainable_variables)
        clip, smoothing, r_drop = config.optimizer.clip or math.inf, config.objective.label_smoothing, config.objective.r_drop

        def replica_step(shares: list[dict[str, Any]], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss, gradients = tf.zeros((), dtype), [tf.zeros(variable.shape, dtype) for variable in model.trainable_variables]
            for share in shares:
                with tf.GradientTape() as tape:
                    part_loss = training_loss(model, share["inputs"], share["labels"], smoothing, r_drop) / tf.cast(targets, dtype)
                found = tape.gradient(part_loss, model.trainable_variables)
                gradients = [total + gradient for total, gradient in zip(gradients, found, strict=True)]
                loss += part_loss
            if devices > 1:
                context = tf.distribute.get_replica_context()
                loss, gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, [loss, gradients])
            norm = tf.linalg.global_norm(gradients)
            # The formula of PyTorch's clip_grad_norm_, to the last digit. Keras sums the devices' gradients once more.
            scale = tf.minimum(clip / (norm + 1e-6), 1.0) / devices
            self.optimizer.apply([gradient * scale for gradient in gradients], model.trainable_variables)
            return loss, norm

        def replica_evaluation(share: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
            logits_RTV = model(share["inputs"], training=False)
            right_RT = tf.argmax(logits_RTV, -1) == tf.cast(share["labels"], tf.int64)
            return cross_entropy(logits_RTV, share["labels"]), tf.math.count_nonzero(right_RT)

        def train_step(shares: list[dict[str, Any]], targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            loss, norm = self.strategy.run(replica_step, (shares, targets))
            return self.strategy.experimental_local_results(loss)[0], self.strategy.experimental_local_results(norm)[0]

        def evaluate_step(share: dict[str, Any]) -> list[tf.Tensor]:
            found = self.strategy.run(replica_evaluation, (share,))
            return [self.strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for value in found]

        # XLA compiles for one shape, and on one device; where every batch has its own, a graph for all of them is faster.
        xla = corpus.train.fixed and devices == 1
        self.train_step = tf.function(train_step, jit_compile=xla, reduce_retracing=not xla)
        self.evaluate_step = tf.function(evaluate_step, jit_compile=xla, reduce_retracing=not xla)

        now = conditions(config, corpus.fingerprint, dtype)
        self.state: dict[str, Any] = {"step": 0, "tokens": 0, "seconds": 0.0, "processes": devices, "conditions": now}
        self.notes = [program_note(xla)] if config.train.compile else []
        if run is not None and run.resumed:
            found, before = checkpoints.load(run.checkpoints, model, self.optimizer, now)
            self.state |= found
            if note := shared_by_others(before, devices, "device"):
                self.notes.append(note)

    def step(self, step: int) -> tuple[tf.Tensor, tf.Tensor, int]:
        """One optimizer step on one global batch: the mean loss before it, the norm of the gradient, and the batch's tokens."""
        settings = self.config.train
        self.rate.assign(self.learning_rate(step))
        batch, parts = self.batches.batch(step), settings.accumulation_steps
        shares = [self.deal([batch.share(rank, self.devices, part, parts) for rank in range(self.devices)]) for part in range(parts)]
        loss, norm = self.train_step(shares, tf.constant(batch.targets))
        return loss, norm, batch.tokens

    def learning_rate(self, step: int) -> float:
        return learning_rate(self.config.schedule, self.config.optimizer.learning_rate, step, self.config.train.max_steps)

    def evaluate(self) -> dict[str, float]:
        """Mean loss of all validation targets, in nats, and the share of them that the model takes for the most probable."""
        validation = self.corpus.validation
        total, right = 0.0, 0
        for shares in zip(*(validation.batches(rank, self.devices) for rank in range(self.devices)), strict=True):
            loss, hits = self.evaluate_step(self.deal(shares))
            total, right = total + float(loss), right + int(hits)
        return {"validation_loss": total / validation.targets, "validation_accuracy": right / validation.targets}

    def deal(self, shares: Any) -> Any:
        """The devices' shares of a batch, each as its device takes it."""
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tensors(shares[context.replica_id_in_sync_group]),
        )

    def train(self, stop: Stop) -> int:
        """Run all steps that are left, and write metrics.jsonl as the PyTorch loop does. 0 when done, or the exit code of a signal,
        after everything was saved."""
        assert self.run is not None
        settings, state = self.config.train, self.state
        if self.corpus.tokenizer is not None:
            # Checkpoints need it before the run is finished.
            write_all_whole(self.run.path, self.corpus.tokenizer.save)
        watch = Watch(self.run, self.batches, read, state.get("first_loss"))
        trackers = Trackers(self.config, self.run, state["step"])
        log, before, began = MetricsLog(self.run.path, state["step"]), state["seconds"], time.monotonic()
        interval, paused, logged, signalled = began, 0.0, state["tokens"], 0

        def record(row: dict[str, Any]) -> None:
            log.write(row)
            trackers.write(row)

        with ProgressDisplay(True, state["step"], settings.max_steps) as display:
            if self.run.resumed and state["step"]:
                display.say(f"resuming after step {state['step']}")
            while state["step"] < settings.max_steps:
                loss, norm, tokens = self.step(state["step"])
                state["step"] += 1
                state["tokens"] += tokens
                step, is_last = state["step"], state["step"] == settings.max_steps
                watch.add(step, loss, norm)
                display.advance(step)

                if step % settings.log_every == 0 or is_last or step == 1:
                    mean_loss, gradient_norm = watch.look()
                    row = {"step": step, "tokens": state["tokens"], "loss": mean_loss, "gradient_norm": gradient_norm}
                    now = time.monotonic()
                    row |= {"learning_rate": self.learning_rate(step - 1)}
                    row |= {"tokens_per_second": (state["tokens"] - logged) / max(now - interval - paused, 1e-9)}
                    row |= {"elapsed_seconds": before + now - began}
                    interval, paused, logged = now, 0.0, state["tokens"]
                    record(row)
                    display.training(row)

                is_checked = step % settings.evaluate_every == 0 or is_last
                is_saved = step % settings.save_every == 0 or is_last
                if is_checked or is_saved:
                    # Waits for the steps that a GPU has still to compute, which is no pause.
                    watch.look()
                pause = time.monotonic()
                if is_checked:
                    row = {"step": step, **self.evaluate(), "elapsed_seconds": before + time.monotonic() - began}
                    record(row)
                    display.validation(row)
                paused += time.monotonic() - pause
                signalled = stop.agreed()
                pause = time.monotonic()
                if is_saved or signalled:
                    watch.look()
                    state["seconds"], state["first_loss"] = before + time.monotonic() - began, watch.first_loss
                    checkpoints.save(self.run.checkpoints, self.model, self.optimizer, state)
                    drop_old(self.config, self.run.path)
                paused += time.monotonic() - pause
                if signalled and not is_last:
                    display.say(f"stopped by a signal after step {step}; it is saved: go on with train.existing=resume")
                    break
        trackers.finish()
        return signalled if state["step"] < settings.max_steps else 0


def read(steps: Sequence[tuple[tf.Tensor, tf.Tensor]]) -> list[tuple[float, float]]:
    """Loss and gradient norm of each of some steps, fetched together."""
    losses, norms = (tf.stack(values).numpy().tolist() for values in zip(*steps, strict=True))
    return list(zip(losses, norms, strict=True))


def conditions(config: RunConfig, text: str, dtype: str = "float32") -> dict[str, str]:
    """What must be the same for a run to go on. text: the corpus's fingerprint."""
    kinds = sorted({device.device_type for device in tf.config.list_logical_devices()})
    precision = "bf16" if config.train.precision == "bf16" else dtype
    return {"framework": "tensorflow", "device": kinds[-1].lower(), "precision": precision, "text and tokenizer": text}


def program_note(xla: bool) -> str:
    """What train.compile=true changes."""
    compiled = "compiled by XLA" if xla else "a graph that XLA does not compile, because batches differ in shape or devices share them"
    return f"train.compile=true changes nothing: in TensorFlow every step is one program already, {compiled}"


def tensors(batch: Batch) -> dict[str, Any]:
    """A batch as TensorFlow takes it: numbers of a step must be tensors, or each would be a program of its own."""
    inputs: dict[str, np.ndarray] = batch.inputs
    constants = {name: tf.constant(values) for name, values in inputs.items()}
    return {"inputs": constants if set(constants) != {"input_ids"} else constants["input_ids"], "labels": tf.constant(batch.labels)}
