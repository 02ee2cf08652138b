"""The class of an image (ViT, Dosovitskiy et al. 2021, 3.1). B images, C channels, H rows, W columns."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from configs import ModelConfig, RunConfig, UserError
from configs.objectives import ImageClassification
from configs.parts import PatchInputs
from train.batches import Batch, Collate, ExampleBatches, ExampleValidation
from train.draws import of_step
from train.objectives.corpus import Corpus, fingerprint
from train.sources.images import Images, move, read_images, scale


def prepare(config: RunConfig) -> Corpus:
    """Read the images. Training images are moved anew in each step, held-out ones never."""
    train, held_out, names = read_images(config.data)
    for images in (train, held_out):
        check(images, config.model)
    if unknown := set(held_out[1].tolist()) - set(train[1].tolist()):
        label = min(unknown)
        raise UserError(f"the label {names[label] if names else label!r} is in validation and not in training")
    if not config.train.batch_size:
        raise UserError("images all have one size; give train.batch_size in the place of train.batch_tokens")
    assert isinstance(config.objective, ImageClassification)
    if (config.objective.max_shift or config.objective.max_turn) and find_spec("scipy") is None:
        raise UserError("objective.max_shift and objective.max_turn move images with scipy, which is not installed; pip install scipy")
    return Corpus(
        None,
        ExampleBatches(len(train[1]), config.train.batch_size, config.seed, collator(train, config.model, config.objective, config.seed)),
        ExampleValidation(
            np.zeros(len(held_out[1])), config.train.evaluation_batch_size, len(held_out[1]), collator(held_out, config.model)
        ),
        fingerprint(*train, *held_out),
        (f"{len(train[1]):,} images of {len(set(train[1].tolist()))} classes, and {len(held_out[1]):,} held out",),
        # A model may have names of its own, or room for more classes.
        labels=() if config.model.head.labels or len(names) != config.model.head.num_labels else names,
    )


def check(images: Images, model: ModelConfig) -> None:
    """Raises UserError where the model takes other images, or has no output for a class."""
    images_BCHW, labels_B = images
    inputs, head = model.inputs, model.head
    assert isinstance(inputs, PatchInputs)
    size = (inputs.num_channels, inputs.image_size, inputs.image_size)
    if images_BCHW.shape[1:] != size:
        raise UserError(
            f"the images are {'x'.join(map(str, images_BCHW.shape[1:]))} (channels, rows, columns), and model.inputs says "
            f"{'x'.join(map(str, size))}; set model.inputs.num_channels and .image_size"
        )
    classes = head.num_labels or 0
    if labels_B.min() < 0 or labels_B.max() >= classes:
        raise UserError(f"the labels go from {labels_B.min()} to {labels_B.max()}, and model.head.num_labels is {classes}; make it larger")


def collator(images: Images, model: ModelConfig, moving: ImageClassification | None = None, seed: int = 0) -> Collate:
    """A function that makes a batch of the images with some numbers, moved as `moving` says."""
    images_NCHW, labels_N = images

    def collate(numbers_B: np.ndarray, step: int) -> Batch:
        images_BCHW = scale(images_NCHW[numbers_B])
        if moving and (moving.max_shift or moving.max_turn or moving.flip):
            images_BCHW = move(images_BCHW, of_step(seed, step), moving)
        return Batch({"pixel_values": images_BCHW}, labels_N[numbers_B], len(numbers_B) * model.max_length)

    return collate
