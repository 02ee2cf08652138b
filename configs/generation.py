"""How text is generated: settings that both frameworks read, checked before anything is computed."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from configs.base import Config
from configs.errors import UserError
from configs.model import ModelConfig


def as_ids(ids: Any, name: str) -> np.ndarray:
    """A list of rows, or an array, as an array."""
    try:
        return np.asarray(ids)
    except ValueError:
        raise UserError(f"{name} has rows of different lengths; pad them, on the left for a decoder, and give attention_mask") from None


class GenerationConfig(Config):
    """Settings of `generate`.

    do_sample: draw from the softmax of logits / temperature over the `top_k` best tokens, instead of taking the best; one `seed`
    gives the same tokens in both frameworks. eos_token_id: ids at which a sequence ends; default the model's, () for none.
    pad_token_id: what fills up a sequence that has ended; default (-1) the model's, else its first end, else 0.
    """

    max_new_tokens: PositiveInt = 20
    do_sample: bool = False
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None
    seed: NonNegativeInt = 0
    eos_token_id: Annotated[tuple[int, ...] | None, Field(strict=False)] = None
    pad_token_id: int = -1

    @field_validator("eos_token_id", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    def complete(self, model: ModelConfig) -> GenerationConfig:
        """The same settings with the model's own special tokens in place of None."""
        eos = model.special_tokens.eos if self.eos_token_id is None else self.eos_token_id
        pads = (self.pad_token_id, model.special_tokens.pad, *eos, 0)
        return self.model_copy(update={"eos_token_id": eos, "pad_token_id": next(pad for pad in pads if pad is not None and pad >= 0)})

    def check(self, model: ModelConfig, input_ids: np.ndarray, attention_mask: np.ndarray | None) -> None:
        """Refuse prompts and settings that the model cannot serve."""
        if model.head.kind != "language_model":
            raise UserError(f"this model has head.kind={model.head.kind!r}; only a language-model head generates")
        if input_ids.ndim != 2 or 0 in input_ids.shape or input_ids.dtype.kind not in "iu":
            raise UserError(
                f"input_ids is {input_ids.dtype} of shape {list(input_ids.shape)}; "
                f"expected integers (batch, length) with at least one token each"
            )
        if (low := input_ids.min()) < 0 or (high := input_ids.max()) >= model.vocab_size:
            raise UserError(
                f"input_ids has id {low if low < 0 else high}, outside the vocabulary of {model.vocab_size}; was the right tokenizer used?"
            )
        if model.architecture == "encoder_decoder":
            self._check_source(model, input_ids)
        elif model.longest is not None and input_ids.shape[1] + self.max_new_tokens > model.longest:
            raise UserError(
                f"a prompt of {input_ids.shape[1]} tokens and max_new_tokens={self.max_new_tokens} exceed the model's "
                f"max_length of {model.longest}; shorten one of them"
            )
        pads = [self.pad_token_id] if self.pad_token_id >= 0 else []
        if outside := [token for token in (*(self.eos_token_id or ()), *pads) if not 0 <= token < model.vocab_size]:
            raise UserError(f"eos_token_id or pad_token_id is {outside[0]}, outside the vocabulary of {model.vocab_size}")
        if self.top_k is not None and self.top_k > model.vocab_size:
            raise UserError(f"top_k={self.top_k} is more than the vocabulary of {model.vocab_size}")
        if attention_mask is not None:
            if attention_mask.shape != input_ids.shape:
                raise UserError(
                    f"attention_mask has shape {list(attention_mask.shape)}, and input_ids {list(input_ids.shape)}; they must be equal"
                )
            if model.architecture == "decoder" and not attention_mask[:, -1].all():
                raise UserError("attention_mask ends in 0; pad prompts on the left, so that what is generated follows the prompt")

    def _check_source(self, model: ModelConfig, input_ids: np.ndarray) -> None:
        if model.special_tokens.decoder_start is None:
            raise UserError("this model has no special_tokens.decoder_start, and the decoder cannot begin; set it in the model's config")
        for name, length in (("the input's length", input_ids.shape[1]), ("1 + max_new_tokens", 1 + self.max_new_tokens)):
            if model.longest is not None and length > model.longest:
                raise UserError(f"{name} of {length} exceeds the model's max_length of {model.longest}; shorten it")
