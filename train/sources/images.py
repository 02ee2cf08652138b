"""Images and their classes, and small movements that leave an image what it is. B images, C channels, H rows, W columns."""

from __future__ import annotations

import numpy as np

from configs import UserError
from configs.data import Data, DigitsData, HubData
from configs.objectives import ImageClassification
from train.sources.hub import read_splits

Images = tuple[np.ndarray, np.ndarray]
BACKGROUND = -1.0


def read_images(data: Data) -> tuple[Images, Images, tuple[str, ...]]:
    """Training and held-out images (B, C, H, W), bytes or float32 from -1 to 1, and their classes, int64 (B,); and what classes are called,
    nothing where nobody says so."""
    if isinstance(data, DigitsData):
        return *read_digits(data), tuple(map(str, range(10)))
    if isinstance(data, HubData):
        splits = read_splits(data, data.columns[-1])
        train, validation, _ = splits.columns(data.columns, 2)
        names = splits.label_names(data.columns[-1])
        return to_arrays(train, data.columns), to_arrays(validation, data.columns), tuple(names or ())
    raise UserError(f"data.source={data.source!r} holds no images")


def read_digits(data: DigitsData) -> tuple[Images, Images]:
    """scikit-learn's digits (B, 1, 8, 8), a share of each class held out."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise UserError("data.source=digits needs scikit-learn: pip install scikit-learn") from None

    bunch = load_digits()
    images_BCHW = (bunch.images[:, None] / 8 - 1).astype(np.float32)
    labels_B = bunch.target.astype(np.int64)
    try:
        train, held_out = train_test_split(
            np.arange(len(labels_B)), test_size=data.validation_fraction, random_state=data.seed, stratify=labels_B
        )
    except ValueError:
        raise UserError(
            f"data.validation_fraction={data.validation_fraction} of {len(labels_B):,} images leaves a split without a class; change it"
        ) from None
    return (images_BCHW[train], labels_B[train]), (images_BCHW[held_out], labels_B[held_out])


def to_arrays(rows: list[tuple], columns: tuple[str, ...]) -> Images:
    """Images as `datasets` decodes them, all of one size, as bytes."""
    # The bytes of an image with a palette are places in it.
    arrays = [np.asarray(image.convert("RGB") if getattr(image, "mode", "") == "P" else image) for image, _ in rows]
    if not arrays:
        raise UserError(f"no image of column {columns[0]!r} is left for a split; change data.validation_fraction")
    shapes = {array.shape for array in arrays}
    if kinds := sorted({str(array.dtype) for array in arrays} - {"uint8"}):
        raise UserError(f"column {columns[0]!r} holds images of the types {', '.join(kinds)}; expected 8 bits a value, uint8")
    if len(shapes) != 1 or arrays[0].ndim not in (2, 3):
        raise UserError(f"column {columns[0]!r} holds arrays of the shapes {sorted(shapes)[:3]}; expected images of one size")
    if not all(isinstance(label, int) for _, label in rows):
        raise UserError(f"column {columns[1]!r} holds no numbers of classes; set data.columns")
    images_BHWC = np.stack(arrays)
    images_BHWC = images_BHWC[..., None] if images_BHWC.ndim == 3 else images_BHWC
    return np.ascontiguousarray(images_BHWC.transpose(0, 3, 1, 2)), np.array([label for _, label in rows], np.int64)


def scale(images_BCHW: np.ndarray) -> np.ndarray:
    """Bytes as float32 from -1 to 1, as ViT takes them."""
    return (images_BCHW / 127.5 - 1).astype(np.float32) if images_BCHW.dtype == np.uint8 else images_BCHW


def move(images_BCHW: np.ndarray, random: np.random.Generator, settings: ImageClassification) -> np.ndarray:
    """Each image turned about its middle by up to max_turn degrees and shifted by up to max_shift pixels, between pixels linearly;
    with `flip` half of them mirrored."""
    moved_BCHW = images_BCHW.copy()
    middle = (np.array(images_BCHW.shape[-2:]) - 1) / 2
    turns_B = np.radians(random.uniform(-settings.max_turn, settings.max_turn, len(images_BCHW)))
    shifts_B2 = random.uniform(-settings.max_shift, settings.max_shift, (len(images_BCHW), 2))
    flips_B = random.random(len(images_BCHW)) < 0.5 * settings.flip
    for moved_CHW, image_CHW, turn, shift in zip(moved_BCHW, images_BCHW, turns_B, shifts_B2, strict=True):
        if turn or shift.any():
            from scipy.ndimage import affine_transform

            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            offset = middle - rotation @ (middle + shift)
            for moved_HW, image_HW in zip(moved_CHW, image_CHW, strict=True):
                affine_transform(image_HW, rotation, offset, output=moved_HW, order=1, cval=BACKGROUND)
    moved_BCHW[flips_B] = moved_BCHW[flips_B, ..., ::-1]
    return moved_BCHW
