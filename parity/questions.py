"""What a checkpoint is asked: a text, an image, a recording, or made-up inputs.

Arrays under Hugging Face's names, as `parity.implementation` says.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from configs import ModelConfig, UserError
from configs.audio import read_recording
from configs.parts import AudioInputs, PatchInputs
from parity.inputs import example_inputs, padded
from weight_mapping.images import read_pixel_settings

VOCABULARIES = ("vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "source.spm")
# Gray, gray with transparency, colour, colour with transparency: by the number of channels.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
MADE_UP = "leave it out to compare on made-up inputs"


def made_up(config: ModelConfig, batch: int, length: int, seed: int) -> tuple[dict[str, np.ndarray], str]:
    """Random inputs that a model of this config takes, and what they are in words. Where there are rows to spare, some is padding."""
    inputs = example_inputs(config, batch, min(length, config.longest or length), seed)
    if batch > 1:
        # A mask that is left out shows in a decoder only where padding comes first.
        inputs = padded(inputs, config, "left" if config.architecture == "decoder" else "right")
    shapes = ", ".join(f"{name} {'x'.join(map(str, array.shape))}" for name, array in inputs.items())
    return inputs, f"made up with seed {seed}: {shapes}"


def from_text(text: str, folder: Path, config: ModelConfig, name: str | None = None) -> dict[str, np.ndarray]:
    """A text through the checkpoint's own tokenizer: one row. A decoder beside an encoder is given the same text to continue. name: what
    whoever asked calls the folder."""
    if config.inputs.kind != "tokens":
        raise UserError(f"--text is for models of text, and this one takes {config.inputs.kind}; {MADE_UP}")
    name = name or str(folder)
    ids, types = _tokenize(text, folder, name)
    if not ids:
        raise UserError(f"--text {text!r} makes no token; write more of it, or {MADE_UP}")
    if max(ids) >= config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer makes id {max(ids)}, and the model has {config.vocab_size}; it is another model's tokenizer"
        )
    if config.longest is not None and len(ids) > config.longest:
        raise UserError(f"--text makes {len(ids)} tokens, and the model takes {config.longest}; shorten it")
    ids_1T = np.array([ids], np.int64)
    inputs = {"input_ids": ids_1T}
    if config.embedding.token_types:
        inputs["token_type_ids"] = np.array([types], np.int64)
    if config.architecture == "encoder_decoder":
        start = config.special_tokens.decoder_start
        start = start if start is not None else config.special_tokens.pad or 0
        inputs["decoder_input_ids"] = np.concatenate([np.full_like(ids_1T[:, :1], start), ids_1T[:, :-1]], 1)
    return inputs


def from_image(path: str | os.PathLike[str], folder: Path, config: ModelConfig) -> dict[str, np.ndarray]:
    """A picture, resized to the model's square and normalized as the checkpoint's preprocessor_config.json says: (1, C, H, W)."""
    if not isinstance(config.inputs, PatchInputs):
        raise UserError(f"--image is for models of images, and this one takes {config.inputs.kind}; {MADE_UP}")
    from PIL import Image, UnidentifiedImageError

    size, channels = config.inputs.image_size, config.inputs.num_channels
    if channels not in MODES:
        raise UserError(f"--image: the model takes {channels} channels, and pictures have 1 to 4; {MADE_UP}")
    try:
        with Image.open(path) as image:
            pixels_HWC = np.asarray(image.convert(MODES[channels]).resize((size, size)), np.float32)
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"--image {path}: not readable as an image ({error})") from None
    pixels_HWC = pixels_HWC.reshape(size, size, -1)
    scale, *shift = read_pixel_settings(folder, channels)
    mean, deviation = (np.array(values, np.float32) for values in shift)
    pixels_HWC = (pixels_HWC * np.float32(scale) - mean) / deviation
    return {"pixel_values": np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1)[None])}


def from_audio(path: str | os.PathLike[str], config: ModelConfig) -> dict[str, np.ndarray]:
    """A WAV file as a log-mel spectrum, of which a decoder is to say something: what it says first, and made-up tokens behind."""
    if not isinstance(config.inputs, AudioInputs):
        raise UserError(f"--audio is for models of audio, and this one takes {config.inputs.kind}; {MADE_UP}")
    inputs = example_inputs(config, 1, 12)
    inputs["decoder_input_ids"][:, 0] = config.special_tokens.decoder_start or 0
    return inputs | {"input_features": read_recording(path, config.inputs)[None]}


def _tokenize(text: str, folder: Path, name: str) -> tuple[list[int], list[int]]:
    """Ids and segment ids, special tokens included."""
    try:
        if (folder / "tokenizer.json").is_file():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            # What the file was last used with is no part of the text.
            tokenizer.no_padding()
            tokenizer.no_truncation()
            encoding = tokenizer.encode(text)
            return list(encoding.ids), list(encoding.type_ids)
        # AutoTokenizer makes an empty one where there are no files.
        if not any((folder / name).is_file() for name in VOCABULARIES):
            raise FileNotFoundError("no file of one")
        from transformers import AutoTokenizer

        ids = [int(token) for token in AutoTokenizer.from_pretrained(str(folder))(text)["input_ids"]]
        return ids, [0] * len(ids)
    except Exception as error:  # tokenizers raises bare Exceptions
        found = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{name}: no tokenizer for --text ({found[0]}); {MADE_UP}") from None
