"""What a generation begins from: what a caller gives, as NumPy arrays and checked, for both frameworks.

B batch, T query length (of the decoder's prompt), S key length (of what an encoder reads).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from configs.model import ModelConfig
from configs.parts import AudioInputs


class Prompts(NamedTuple):
    """Prompts that the model can read.

    prompt_BT: int64, what the decoder reads first; of an encoder-decoder decoder_start, unless the caller says more.
    source: what an encoder reads, int64 ids (B, S) or float32 features (B, mel bins, frames); None where there is no encoder.
    attended_BS: int64, 1 for tokens and 0 for padding, of the source, or of a decoder's prompt; None where nobody tells.
    """

    prompt_BT: np.ndarray
    source: np.ndarray | None
    attended_BS: np.ndarray | None

    @property
    def source_ids(self) -> np.ndarray:
        """The ids that an encoder reads (B, S); none (B, 0) where it reads something else, and where there is no encoder."""
        is_text = self.source is not None and self.source.dtype.kind == "i"
        return self.source if is_text else self.prompt_BT[:, :0]  # type: ignore[return-value]


def as_prompts(
    model: ModelConfig,
    input_ids: Any,
    attention_mask: Any = None,
    input_features: Any = None,
    decoder_input_ids: Any = None,
) -> Prompts:
    """The prompts that a caller gives, None for what is not given. Raises UserError for those that the model cannot read."""
    given = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "input_features": input_features,
        "decoder_input_ids": decoder_input_ids,
    }
    known = [model.inputs.name]
    known += ["attention_mask"] if model.inputs.kind == "tokens" else []
    known += ["decoder_input_ids"] if model.architecture == "encoder_decoder" else []
    for name, value in given.items():
        if value is not None and name not in known:
            raise UserError(f"this {model.architecture} has no use for {name}; it generates from: {', '.join(known)}")
    if given[model.inputs.name] is None:
        raise UserError(f"{model.inputs.name} is missing; this {model.architecture} generates from: {', '.join(known)}")
    if isinstance(model.inputs, AudioInputs):
        source = as_features(input_features, model.inputs)
        return Prompts(decoder_prompts(model, decoder_input_ids, len(source)), source, None)
    ids_BS = as_tokens(input_ids, "input_ids", model)
    attended_BS = None if attention_mask is None else as_mask(attention_mask, ids_BS, model)
    if model.architecture == "encoder_decoder":
        return Prompts(decoder_prompts(model, decoder_input_ids, len(ids_BS)), ids_BS, attended_BS)
    return Prompts(ids_BS, None, attended_BS)


def decoder_prompts(model: ModelConfig, decoder_input_ids: Any, batch: int) -> np.ndarray:
    """What an encoder-decoder's decoder reads first (B, T)."""
    start = model.special_tokens.decoder_start
    prompt_BT = as_tokens([[start]] if decoder_input_ids is None else decoder_input_ids, "decoder_input_ids", model)
    if start is not None and model.inputs.kind == "tokens" and (prompt_BT[:, 0] != start).all():
        # As Hugging Face does, but for Whisper.
        prompt_BT = np.pad(prompt_BT, ((0, 0), (1, 0)), constant_values=start)
    if len(prompt_BT) not in (1, batch):
        raise UserError(f"decoder_input_ids has {len(prompt_BT)} rows, and {model.inputs.name} {batch}; give one for each, or one for all")
    return np.repeat(prompt_BT, batch // len(prompt_BT), 0)


def as_tokens(ids: Any, name: str, model: ModelConfig) -> np.ndarray:
    """Ids of the vocabulary, as int64 (B, T)."""
    ids_BT = as_ids(ids, name)
    if ids_BT.ndim != 2 or 0 in ids_BT.shape or ids_BT.dtype.kind not in "iu":
        raise UserError(
            f"{name} is {ids_BT.dtype} of shape {list(ids_BT.shape)}; expected integers (batch, length) with at least one token each"
        )
    if (low := ids_BT.min()) < 0 or (high := ids_BT.max()) >= model.vocab_size:
        raise UserError(
            f"{name} has id {low if low < 0 else high}, outside the vocabulary of {model.vocab_size}; was the right tokenizer used?"
        )
    return ids_BT.astype(np.int64)


def as_ids(ids: Any, name: str) -> np.ndarray:
    """A list of rows, or an array, as an array."""
    try:
        return np.asarray(ids)
    except ValueError:
        advice = (
            "give rows of one length" if name == "decoder_input_ids" else "pad them, on the left for a decoder, and give attention_mask"
        )
        raise UserError(f"{name} has rows of different lengths; {advice}") from None


def as_mask(mask: Any, ids_BS: np.ndarray, model: ModelConfig) -> np.ndarray:
    """1 or 0 for each id, as int64 (B, S)."""
    mask_BS = as_ids(mask, "attention_mask")
    if mask_BS.shape != ids_BS.shape:
        raise UserError(f"attention_mask has shape {list(mask_BS.shape)}, and input_ids {list(ids_BS.shape)}; they must be equal")
    if len(odd := np.setdiff1d(mask_BS, (0, 1))):
        raise UserError(f"attention_mask has {odd[0]}; expected 1 for tokens and 0 for padding")
    if model.architecture == "decoder" and not mask_BS[:, -1].all():
        raise UserError("attention_mask ends in 0; pad prompts on the left, so that what is generated follows the prompt")
    return mask_BS.astype(np.int64)


def as_features(features: Any, inputs: AudioInputs) -> np.ndarray:
    """Log-mel spectra as float32 (B, mel bins, frames)."""
    expected = (inputs.num_mel_bins, inputs.num_frames)
    wanted = f"expected floats (batch, {', '.join(map(str, expected))})"
    try:
        found = np.asarray(features)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"input_features is no array of numbers ({error}); {wanted}") from None
    # TensorFlow's bfloat16 is a type that NumPy itself has not.
    if (found.dtype.kind != "f" and found.dtype.name != "bfloat16") or found.shape[1:] != expected or not len(found):
        raise UserError(f"input_features is {found.dtype} of shape {list(found.shape)}; {wanted}")
    spectra = found.astype(np.float32)
    if not np.isfinite(spectra).all():
        raise UserError("input_features holds numbers that are infinite or none; expected a log-mel spectrum")
    return spectra
