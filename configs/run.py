"""What a training run is: model, tokenizer, data, optimizer, schedule, loop, and the figure it should reach."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from configs.base import Config, UserPath
from configs.data import Data, Fraction
from configs.model import ModelConfig
from configs.objectives import AnyObjective, CausalLM

# Objectives that read running text, cut into blocks.
IN_BLOCKS = ("causal_lm", "masked_lm", "span_corruption")
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "cls_token", "sep_token")


class Tokenizer(Config):
    """How text becomes ids.

    kind: ``bpe``: byte-level byte-pair encoding, trained on the training text (Sennrich et al. 2016; GPT-2, Radford et al. 2019, 2.2).
        ``word_bpe``: byte-pair encoding within words, which spaces separate (Sennrich et al. 2016, 3.2). ``character``: every character
        of the text. ``file``: a tokenizer.json that exists. ``initial``: that of the checkpoint that the run starts from.
    vocab_size: tokens that `bpe` and `word_bpe` are trained to; the model must have at least as many rows.
    path: of `file`: a tokenizer.json, or the folder that holds one.
    special_tokens: tokens that stand in no text, by the names that `transformers` gives them (eos_token, unk_token, pad_token, mask_token,
        cls_token, sep_token ...); they get the first ids, in this order. Default: an end-of-text token for `bpe`, else none.
    sentinels: so many tokens `<extra_id_0>`, `<extra_id_1>` ... after them, which stand for spans that are left out (T5).
    """

    kind: Literal["bpe", "word_bpe", "character", "file", "initial"] = "bpe"
    vocab_size: PositiveInt | None = None
    path: UserPath | None = None
    special_tokens: dict[str, str] | None = None
    sentinels: NonNegativeInt = 0

    @model_validator(mode="after")
    def _complete(self) -> Tokenizer:
        if self.kind in ("bpe", "word_bpe") and self.vocab_size is None:
            raise ValueError(f"kind '{self.kind}' needs vocab_size")
        if self.kind == "file" and self.path is None:
            raise ValueError("kind 'file' needs path, a tokenizer.json or its folder")
        if self.kind in ("file", "initial") and (self.special_tokens or self.sentinels):
            raise ValueError(f"special_tokens and sentinels are for a tokenizer that is made here; one of kind '{self.kind}' has its own")
        if unknown := set(self.special_tokens or ()) - set(SPECIAL_TOKENS):
            raise ValueError(f"special_tokens has {min(unknown)!r}; the names are {', '.join(SPECIAL_TOKENS)}")
        if self.kind == "word_bpe" and "unk_token" not in (self.special_tokens or {}):
            raise ValueError("kind 'word_bpe' needs special_tokens.unk_token, for characters that the training text has not")
        return self


class Optimizer(Config):
    """AdamW (Loshchilov and Hutter 2019, algorithm 2): weight decay is decoupled from the gradient, and acts on matrices and tables only.

    learning_rate: the highest of the schedule.
    beta1: decay rate of the moving mean of gradients.
    beta2: decay rate of the moving mean of their squares.
    epsilon: added to the root of the latter.
    weight_decay: times learning rate and weight, taken from each weight in each step.
    clip: the gradient of all weights is scaled down to this norm where it is larger (Pascanu et al. 2013, algorithm 1). None: it is not.
    """

    learning_rate: PositiveFloat = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.95
    epsilon: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.1
    clip: PositiveFloat | None = 1.0


class Schedule(Config):
    """The learning rate, from step to step.

    kind: what follows the warm-up: ``cosine`` (half a period: Loshchilov and Hutter 2017, equation 5) or ``linear``, both down to `final`;
        ``constant``; or ``inverse_sqrt``, in proportion to 1 / sqrt(step) ("Attention Is All You Need", equation 3).
    warmup_steps: first steps, in which it rises linearly to the optimizer's learning_rate.
    final: where cosine and linear end, as a share of learning_rate.
    """

    kind: Literal["cosine", "linear", "constant", "inverse_sqrt"] = "cosine"
    warmup_steps: NonNegativeInt = 0
    final: NonNegativeFloat = 0.1


class Train(Config):
    """The loop. All sizes are of the whole run: they do not change with the number of processes.

    max_steps: optimizer steps of the run.
    batch_size: sequences in one optimizer step, over all processes and accumulation steps.
    batch_tokens: in place of batch_size, for sequences of different lengths: the most tokens in one optimizer step, padding included, of
        the source and of the target each.
    accumulation_steps: parts of a batch whose gradients are added up before the step.
    block_size: tokens in a sequence; default the model's max_length.
    precision: of the arithmetic in matrix products; ``auto`` takes what `accelerate launch` says.
    num_processes: how many are expected; default any number.
    cpu_threads: threads of each process on a CPU; default the cores divided by the processes.
    compile: compile the model by `torch.compile`, with one process the loss too.
    gradient_checkpointing: keep only the layers' inputs for the backward pass and compute the rest again (Chen et al. 2016).
    evaluate_every: steps between two full passes over the validation data.
    evaluation_batch_size: sequences read at once in such a pass.
    log_every: steps between two rows of metrics.
    save_every: steps between two checkpoints.
    keep_checkpoints: how many of the last checkpoints are kept.
    final_weights: those that the finished run has: of its ``last`` step, or of the ``best``, at which the validation loss was lowest; its
        checkpoint is kept too, so save_every must divide evaluate_every.
    trackers: where the metrics go besides the run's folder.
    existing: what to do where the run's folder exists: ``refuse``, ``resume`` an unfinished run, take a ``new`` numbered folder, or
        ``auto`` (resume what is unfinished, else new).
    output: the folder below which the run's folder lies.
    cross_check: compare the finished run in PyTorch, TensorFlow and Hugging Face.
    sample_prompt: what the sample at the end continues.
    """

    max_steps: PositiveInt
    batch_size: PositiveInt | None = None
    batch_tokens: PositiveInt | None = None
    accumulation_steps: PositiveInt = 1
    block_size: PositiveInt | None = None
    precision: Literal["auto", "float32", "bf16"] = "auto"
    num_processes: PositiveInt | None = None
    cpu_threads: PositiveInt | None = None
    compile: bool = False
    gradient_checkpointing: bool = False
    evaluate_every: PositiveInt = 250
    evaluation_batch_size: PositiveInt = 32
    log_every: PositiveInt = 10
    save_every: PositiveInt = 250
    keep_checkpoints: PositiveInt = 2
    final_weights: Literal["last", "best"] = "last"
    trackers: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Field(strict=False)] = ()
    existing: Literal["refuse", "resume", "new", "auto"] = "refuse"
    output: UserPath = "runs"
    cross_check: bool = False
    sample_prompt: str | None = None

    @model_validator(mode="after")
    def _batches_divide(self) -> Train:
        if (self.batch_size is None) == (self.batch_tokens is None):
            raise ValueError("give one of batch_size (sequences in a step) and batch_tokens (tokens in a step), and null for the other")
        if self.batch_size and self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"accumulation_steps={self.accumulation_steps} does not divide batch_size={self.batch_size}; "
                f"batch_size counts all sequences of one optimizer step"
            )
        if self.final_weights == "best" and self.evaluate_every % self.save_every:
            raise ValueError(
                f"final_weights='best' needs a checkpoint at every pass over the validation data; save_every={self.save_every} must divide "
                f"evaluate_every={self.evaluate_every}"
            )
        return self


class Figures(Config):
    """Figures of a run, by their names in its summary.json.

    validation_loss: in nats per target, at the end.
    best_validation_loss: the lowest of all passes over the validation data.
    validation_accuracy: share of targets that are predicted, from 0 to 1.
    exact_match: share of answers that are right as a whole, from 0 to 1.
    bleu: in points, from 0 to 100.
    """

    validation_loss: PositiveFloat | None = None
    best_validation_loss: PositiveFloat | None = None
    validation_accuracy: PositiveFloat | None = None
    exact_match: PositiveFloat | None = None
    bleu: PositiveFloat | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Those that are given."""
        return {name: value for name in Figures.model_fields if (value := getattr(self, name)) is not None}


class Expected(Figures):
    """The figures that this run has reached and should reach again, under the conditions that `note` tells.

    goal: figures to be measured by, such as published ones, whether they have been reached or not.
    note: under what conditions they were reached.
    """

    goal: Figures | None = None
    note: str = ""


class Evaluation(Config):
    """How a sequence-to-sequence run is tested at its end, and by `python -m train.evaluate`.

    num_beams: beams of the search; 1 is greedy.
    length_penalty: as in `GenerationConfig`.
    average_checkpoints: the mean of the last so many checkpoints is tested ("Attention Is All You Need", 6.1).
    extra_tokens: an answer may have so many tokens more than the longest source that is read with it.
    batch_size: sources that are read at once.
    """

    num_beams: PositiveInt = 1
    length_penalty: float = 1.0
    average_checkpoints: PositiveInt = 1
    extra_tokens: PositiveInt = 50
    batch_size: PositiveInt = 64


class RunConfig(Config):
    """A whole training run.

    name: of the run, and of its folder.
    seed: of the weights, the order of the data, and dropout.
    objective: what the model learns.
    model: the model, or a preset's name with what differs from it.
    initial: a checkpoint to take weights from: a Hugging Face folder, a run, or a hub name. What it lacks, such as the head of a new
        task, is drawn from `seed`. Default: all weights are.
    tokenizer: how text becomes ids; left out where images go in.
    data: where the examples come from.
    optimizer: how weights change.
    schedule: how fast they do, from step to step.
    train: the loop.
    evaluation: how a sequence-to-sequence run is tested.
    expected: the figures that it should reach.
    """

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    objective: AnyObjective = CausalLM()
    model: ModelConfig
    initial: UserPath | None = None
    tokenizer: Tokenizer | None = None
    data: Data
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    train: Train
    evaluation: Evaluation = Evaluation()
    expected: Expected | None = None

    @model_validator(mode="after")
    def _parts_fit(self) -> RunConfig:
        self.objective.check(self.model, self.data.source)
        if self.block_size > self.model.max_length:
            raise ValueError(
                f"train.block_size={self.block_size} is longer than model.max_length={self.model.max_length}; "
                f"the model has no positions beyond it"
            )
        if (self.tokenizer is None) == (self.objective.inputs == "tokens"):
            what = "needs a tokenizer, such as {kind: character}" if self.tokenizer is None else "takes no tokenizer; leave it out"
            raise ValueError(f"objective '{self.objective.kind}' {what}")
        if self.tokenizer and self.tokenizer.kind == "character" and getattr(self.data, "streaming", False):
            raise ValueError("tokenizer.kind 'character' needs all of the text, and data.streaming reads it piece by piece; choose one")
        for name in ("cross_check", "sample_prompt"):
            if getattr(self.train, name) and self.objective.kind != "causal_lm":
                raise ValueError(f"train.{name} continues a prompt, which objective '{self.objective.kind}' does not learn; leave it out")
        if self.train.block_size and self.objective.kind not in IN_BLOCKS:
            raise ValueError(f"train.block_size cuts running text, which objective '{self.objective.kind}' does not read; leave it out")
        asked = {name: value for name, value in self.evaluation if value != Evaluation.model_fields[name].default}
        if asked and self.objective.kind != "seq2seq":
            name, value = next(iter(asked.items()))
            raise ValueError(f"evaluation.{name}={value} is for answers; objective '{self.objective.kind}' gives none, so leave it out")
        if self.evaluation.length_penalty != 1.0 and self.evaluation.num_beams == 1:
            raise ValueError("evaluation.length_penalty acts in beam search alone, and evaluation.num_beams is 1; set that or leave it out")
        if 1 < self.evaluation.num_beams > self.model.vocab_size // (1 + max(1, len(self.model.special_tokens.eos))):
            raise ValueError(
                f"evaluation.num_beams={self.evaluation.num_beams} is too much for model.vocab_size={self.model.vocab_size}; lower it"
            )
        if self.tokenizer and self.tokenizer.kind == "initial" and self.initial is None:
            raise ValueError("tokenizer.kind 'initial' is that of a checkpoint; set initial, or another kind")
        if self.tokenizer and self.tokenizer.vocab_size and self.tokenizer.vocab_size > self.model.vocab_size:
            raise ValueError(
                f"tokenizer.vocab_size={self.tokenizer.vocab_size} is more than model.vocab_size={self.model.vocab_size}; "
                f"every token needs a row of the embedding table"
            )
        if self.schedule.warmup_steps >= self.train.max_steps and self.schedule.warmup_steps:
            raise ValueError(
                f"schedule.warmup_steps={self.schedule.warmup_steps} leaves nothing of train.max_steps={self.train.max_steps}; "
                f"make it smaller"
            )
        if self.evaluation.average_checkpoints > self.train.keep_checkpoints:
            raise ValueError(
                f"evaluation.average_checkpoints={self.evaluation.average_checkpoints} is more than "
                f"train.keep_checkpoints={self.train.keep_checkpoints}; keep as many as are averaged"
            )
        if self.evaluation.average_checkpoints > 1 and self.train.final_weights == "best":
            raise ValueError(
                f"evaluation.average_checkpoints={self.evaluation.average_checkpoints} is of the last checkpoints, and "
                f"train.final_weights='best' of one; choose"
            )
        if self.evaluation.average_checkpoints > (written := -(-self.train.max_steps // self.train.save_every)):
            raise ValueError(
                f"evaluation.average_checkpoints={self.evaluation.average_checkpoints}, and train.max_steps={self.train.max_steps} with "
                f"train.save_every={self.train.save_every} make {written}; save more often or average fewer"
            )
        return self

    @property
    def block_size(self) -> int:
        return self.train.block_size or self.model.max_length
