"""What a model would not look at is refused, and so is what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from configs import UserError, check_inputs, load_model_config


def refused(preset: str, **inputs: object) -> str:
    with pytest.raises(UserError) as caught:
        check_inputs(load_model_config(preset), **inputs)
    return str(caught.value)


def test_what_fits_is_let_through() -> None:
    check_inputs(load_model_config("gpt2"), input_ids=1, attention_mask=1, position_ids=1, cache=1, encoded=None)
    check_inputs(load_model_config("bert-base"), input_ids=1, token_type_ids=1)
    check_inputs(load_model_config("vit-base-patch16-224"), pixel_values=1)
    check_inputs(load_model_config("t5-small"), encoded=1, attention_mask=1, decoder_input_ids=1, cache=1)


def test_what_would_be_ignored() -> None:
    assert refused("gpt2", input_ids=1, decoder_input_ids=1).startswith(
        "this decoder has no use for decoder_input_ids; it takes, by name: input_ids,"
    )
    assert "no use for token_type_ids" in refused("distilbert-base", input_ids=1, token_type_ids=1)
    assert "no use for cache" in refused("bert-base", input_ids=1, cache=1)
    # A pooler would see the tokens of one call alone.
    assert "no use for cache" in refused("clip-text-base", input_ids=1, cache=1)
    assert "no use for input_ids" in refused("vit-base-patch16-224", input_ids=1, pixel_values=1)


def test_a_list_is_no_tensor() -> None:
    assert refused("gpt2", input_ids=[[1, 2]]) == "input_ids is a list; give a tensor"


def test_what_is_missing() -> None:
    assert "input_ids is missing" in refused("gpt2")
    assert "pixel_values is missing" in refused("vit-base-patch16-224")
    assert "needs decoder_input_ids" in refused("t5-small", input_ids=1)


def test_ids_are_rows() -> None:
    assert refused("gpt2", input_ids=np.zeros(5)) == "input_ids has shape (5,); expected (batch, length)"
    assert "attention_mask has shape (2, 1, 5)" in refused("gpt2", input_ids=np.zeros((2, 5), int), attention_mask=np.zeros((2, 1, 5)))
    assert "position_ids has shape (5,)" in refused("gpt2", input_ids=np.zeros((2, 5), int), position_ids=np.zeros(5))


def test_types_are_those_that_a_model_can_read() -> None:
    ids = np.zeros((2, 5), np.int64)
    assert refused("gpt2", input_ids=ids.astype(np.float32)) == "input_ids are of type float32; expected integers"
    assert refused("gpt2", input_ids=ids, position_ids=ids.astype(float)) == "position_ids are of type float64; expected integers"
    images = np.zeros((1, 3, 224, 224), np.uint8)
    assert refused("vit-base-patch16-224", pixel_values=images) == "pixel_values are of type uint8; expected normalized floats"
