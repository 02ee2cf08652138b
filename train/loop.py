"""The training loop. R rows of one process in one accumulation step, T tokens of a sequence, V vocabulary or classes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.tensor import DTensor

from configs import RunConfig
from train import checkpoints, zero
from train.ahead import BatchesAhead
from train.batches import Batch
from train.diverged import Watch
from train.initial import starting_tensors
from train.launch import check_wrapped, told_if_left_alone
from train.loss import training_loss
from train.memory import keep_freed_memory
from train.metrics import MetricsLog
from train.objectives.corpus import Corpus
from train.progress import ProgressDisplay
from train.run_folder import RunFolder, saved, write_all_whole
from train.saved import drop_old
from train.schedule import learning_rate
from train.sharding import gather_for_cross_attention, sum_gradients_in_float32
from train.stop import Stop
from train.trackers import Trackers
from train.utilization import utilization_per_token
from transformer_torch import Transformer, cross_entropy
from transformer_torch.optimizer import build_optimizer, make_moments
from transformer_torch.weights import assign


class Trainer:
    """One run on one process: the model, its optimizer, and how far they are."""

    def __init__(self, config: RunConfig, accelerator: Accelerator, corpus: Corpus, run: RunFolder) -> None:
        self.config, self.accelerator, self.corpus, self.run = config, accelerator, corpus, run
        self.batches = BatchesAhead(corpus.train)
        # Arrays of ever new sizes do not fit where the last ones were, and what is kept would only grow.
        if accelerator.device.type == "cpu" and corpus.train.fixed:
            keep_freed_memory()
        # Every process drops out other values; the weights come from the config's seed alone.
        torch.manual_seed(config.seed * 1000 + accelerator.process_index)
        self.plain = Transformer(config.model, seed=None)
        has_checkpoint = bool(saved(run.checkpoints))
        assign(self.plain, starting_tensors(config, has_checkpoint))
        self.plain.to(accelerator.device)
        self.plain.set_gradient_checkpointing(config.train.gradient_checkpointing)
        if config.train.compile:
            self.plain.compile()
        sum_gradients_in_float32(accelerator)
        zero.prepare(accelerator, self.plain, config.optimizer.clip)
        self.model, wrapped = accelerator.prepare(self.plain, build_optimizer(self.plain, config.optimizer))
        check_wrapped(accelerator, self.model)
        # Replicas and shards exchange what they have layer by layer, and are compiled without the loss.
        self.loss: Any = torch.compile(training_loss) if config.train.compile and self.model is self.plain else training_loss
        gather_for_cross_attention(self.model)
        self.model.train()
        self.optimizer: torch.optim.Optimizer = wrapped.optimizer
        if zero.is_zero(accelerator):
            if not has_checkpoint:
                zero.assign(self.plain, starting_tensors(config))
            zero.make_moments(self.optimizer)
        else:
            make_moments(self.optimizer)
        precision, processes = str(accelerator.mixed_precision), accelerator.num_processes
        self.per_token = utilization_per_token(config, corpus, accelerator.device, precision, processes)
        conditions = checkpoints.conditions(precision, accelerator.device.type, corpus.fingerprint)
        self.progress = checkpoints.Progress(conditions=conditions, processes=processes)
        self.note = ""
        if run.resumed:
            self.note = checkpoints.load(run.checkpoints, accelerator, self.plain, self.optimizer, self.progress)

    def train(self, stop: Stop) -> int:
        """Run all steps that are left. 0 when done, or the exit code of a signal, after everything was saved."""
        settings, progress = self.config.train, self.progress
        is_main = self.accelerator.is_main_process
        if is_main and self.corpus.tokenizer is not None:
            # Checkpoints need it before the run is finished.
            write_all_whole(self.run.path, self.corpus.tokenizer.save)
        log = MetricsLog(self.run.path, progress.step) if is_main else None
        trackers = Trackers(self.config, self.run, progress.step) if is_main else None
        watch = Watch(self.run, self.batches, self.read, progress.first_loss, is_main)
        before, began, paused, logged = progress.seconds, time.monotonic(), 0.0, progress.tokens
        interval, signalled = began, 0

        def record(row: dict[str, Any]) -> None:
            if log:
                log.write(row)
            if trackers:
                trackers.write(row)

        alone = told_if_left_alone(self.accelerator, self.run.checkpoints)
        with alone, ProgressDisplay(is_main, progress.step, settings.max_steps) as display:
            if self.run.resumed and progress.step:
                display.say(f"resuming after step {progress.step}")
                if self.note:
                    display.say(self.note)
            while progress.step < settings.max_steps:
                rate = learning_rate(self.config.schedule, self.config.optimizer.learning_rate, progress.step, settings.max_steps)
                loss, norm, tokens = self.train_step(progress.step, rate)
                progress.step += 1
                progress.tokens += tokens
                watch.add(progress.step, loss, norm)
                is_last = progress.step == settings.max_steps
                display.advance(progress.step)

                if progress.step % settings.log_every == 0 or is_last or progress.step == 1:
                    mean_loss, gradient_norm = watch.look()
                    row = {"step": progress.step, "tokens": progress.tokens, "loss": mean_loss}
                    row |= {"gradient_norm": gradient_norm, "learning_rate": rate}
                    now = time.monotonic()
                    speed = (progress.tokens - logged) / max(now - interval - paused, 1e-9)
                    row |= {"tokens_per_second": speed, "elapsed_seconds": before + now - began}
                    if self.per_token is not None:
                        row["mfu"] = self.per_token * speed
                    interval, paused, logged = now, 0.0, progress.tokens
                    record(row)
                    display.training(row)

                is_checked = progress.step % settings.evaluate_every == 0 or is_last
                is_saved = progress.step % settings.save_every == 0 or is_last
                if is_checked or is_saved:
                    # Waits for the steps that a GPU has still to compute, which is no pause.
                    watch.look()
                pause = time.monotonic()
                if is_checked:
                    row = {"step": progress.step, **self.evaluate()}
                    record({**row, "elapsed_seconds": before + time.monotonic() - began})
                    display.validation(row)
                paused += time.monotonic() - pause
                signalled = stop.agreed()
                pause = time.monotonic()
                if is_saved or signalled:
                    watch.look()
                    progress.seconds, progress.first_loss = before + time.monotonic() - began, watch.first_loss
                    checkpoints.save(self.run.checkpoints, self.accelerator, self.plain.config, self.plain, self.optimizer, progress)
                    if is_main:
                        drop_old(self.config, self.run.path)
                paused += time.monotonic() - pause
                if signalled and not is_last:
                    display.say(f"stopped by a signal after step {progress.step}; it is saved: go on with train.existing=resume")
                    break
        if trackers:
            trackers.finish()
        return signalled if progress.step < settings.max_steps else 0

    def train_step(self, step: int, rate: float) -> tuple[torch.Tensor, torch.Tensor, int]:
        """One optimizer step on one global batch. This process's share of the mean loss, the norm of the whole gradient, and the
        tokens of the whole batch.

        The loss is divided by the targets of the whole batch, so that it does not matter how many processes and accumulation steps
        the batch is dealt out to.
        """
        accelerator, parts = self.accelerator, self.config.train.accumulation_steps
        batch, objective = self.batches.batch(step), self.config.objective
        targets = batch.targets
        loss, is_zero = torch.zeros((), device=accelerator.device), zero.is_zero(accelerator)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for part in range(parts):
            share = batch.share(accelerator.process_index, accelerator.num_processes, part, parts)
            # A sharded model sums the gradients of every part: to wait, each process would have to hold them whole.
            waits = part + 1 < parts and not accelerator.is_fsdp2 and not is_zero
            with accelerator.no_sync(self.model) if waits else nullcontext():
                part_loss = self.loss(self.model, *self.on_device(share), objective.label_smoothing, objective.r_drop) / targets
                # Replication averages the gradients of the processes; they are to be summed.
                summed = part_loss * accelerator.num_processes
                if is_zero:
                    zero.backward(accelerator, summed, part + 1 == parts)
                else:
                    accelerator.backward(summed)
            loss += part_loss.detach()
        if is_zero:
            return loss, zero.gradient_norm(accelerator), batch.tokens
        norm = accelerator.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip or math.inf)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, norm, batch.tokens

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean loss of all validation targets, in nats, and the share of them that the model takes for the most probable.

        A full pass, the same for any number of processes.
        """
        model = self.model if not isinstance(self.model, nn.parallel.DistributedDataParallel) else self.model.module
        model.eval()
        # In float64, which not every accelerator has.
        total, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for share in self.corpus.validation.batches(self.accelerator.process_index, self.accelerator.num_processes):
            inputs, labels_RT = self.on_device(share)
            logits_RTV = model(**inputs)
            total += cross_entropy(logits_RTV, labels_RT).cpu()
            right += (logits_RTV.argmax(-1) == labels_RT).sum().cpu()
        model.train()
        targets = self.corpus.validation.targets
        return {"validation_loss": self.sum(total) / targets, "validation_accuracy": self.sum(right) / targets}

    def on_device(self, batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """What the model is called with, and the labels (R, T) or (R,)."""
        return {name: self.to_device(values) for name, values in batch.inputs.items()}, self.to_device(batch.labels)

    def read(self, steps: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[float, float]]:
        """Loss and gradient norm of each of some steps, whose losses are this process's shares: in one exchange."""
        losses, norms = (torch.stack([value.detach() for value in values]) for values in zip(*steps, strict=True))
        if self.accelerator.num_processes > 1:
            losses = self.accelerator.reduce(losses, "sum")
        return list(zip(losses.tolist(), norms.tolist(), strict=True))

    def sum(self, value: torch.Tensor) -> float:
        """The sum over all processes."""
        if self.accelerator.num_processes == 1:
            return float(value)
        return float(self.accelerator.reduce(value.to(self.accelerator.device), "sum"))

    def to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if self.accelerator.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.accelerator.device, non_blocking=True)
