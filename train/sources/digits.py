"""scikit-learn's real digits, and small movements that leave a digit what it is. B images, C channels, H rows, W columns."""

from __future__ import annotations

import numpy as np

from configs.data import DigitsData

Images = tuple[np.ndarray, np.ndarray]


def read_digits(data: DigitsData) -> tuple[Images, Images]:
    """Training and held-out images, float32 (B, 1, 8, 8) from -1 to 1, and their classes, int64 (B,). Both have all classes alike."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    images_BCHW = (bunch.images[:, None] / 8 - 1).astype(np.float32)
    labels_B = bunch.target.astype(np.int64)
    train, held_out = train_test_split(
        np.arange(len(labels_B)), test_size=data.validation_fraction, random_state=data.seed, stratify=labels_B
    )
    return (images_BCHW[train], labels_B[train]), (images_BCHW[held_out], labels_B[held_out])


def move(images_BCHW: np.ndarray, random: np.random.Generator, max_shift: float, max_turn: float, background: float) -> np.ndarray:
    """Each image turned about its middle by up to max_turn degrees and shifted by up to max_shift pixels, between pixels linearly."""
    from scipy.ndimage import affine_transform

    moved_BCHW = np.empty_like(images_BCHW)
    middle = (np.array(images_BCHW.shape[-2:]) - 1) / 2
    turns_B = np.radians(random.uniform(-max_turn, max_turn, len(images_BCHW)))
    shifts_B2 = random.uniform(-max_shift, max_shift, (len(images_BCHW), 2))
    for moved_CHW, image_CHW, turn, shift in zip(moved_BCHW, images_BCHW, turns_B, shifts_B2, strict=True):
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = middle - rotation @ (middle + shift)
        for moved_HW, image_HW in zip(moved_CHW, image_CHW, strict=True):
            affine_transform(image_HW, rotation, offset, output=moved_HW, order=1, cval=background)
    return moved_BCHW
