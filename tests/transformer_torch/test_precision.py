"""What half precision may not lose, in both frameworks."""

from __future__ import annotations

import torch

from configs import load_model_config

SIZES = ["num_layers=1", "width=64", "attention.num_heads=2", "feed_forward.width=32", "vocab_size=97", "special_tokens={}"]


def test_dynamic_angles_are_as_good_as_fixed_ones() -> None:
    """Within the original length nothing is scaled, and bfloat16's cosines are the rounded ones, thousands of positions on."""
    from transformer_torch.positions import build_rotary

    config = load_model_config("llama-character", ["max_length=3000", "positions={kind: rotary, scaling: {kind: dynamic, factor: 2.0}}"])
    plain = load_model_config("llama-character", ["max_length=3000"])
    positions = torch.arange(3000)[None]
    found, expected = (build_rotary(one, windowed=False).bfloat16()(positions) for one in (config, plain))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_gemmas_one_plus_w_keeps_its_digits() -> None:
    """bfloat16 has no number between 1 and 1.0078; the sum 1 + w is rounded after the product alone."""
    from transformer_torch.normalization import build_norm, plain_rms_norm

    config = load_model_config("gemma2-2b", [*SIZES, "attention.num_key_value_heads=2", "attention.head_size=32"])
    norm, generator = build_norm(config).bfloat16(), torch.Generator().manual_seed(0)
    norm.weight.data.copy_(torch.randn(64, generator=generator) * 0.01)
    hidden = torch.randn(4, 7, 64, generator=generator).bfloat16()
    expected = plain_rms_norm(hidden.float(), 1.0 + norm.weight.float(), config.norm.epsilon).bfloat16()
    assert torch.equal(norm(hidden), expected)


def test_a_tie_lets_no_expert_in_beyond_its_number() -> None:
    from transformer_torch import Transformer

    model = Transformer(load_model_config("mixtral-8x7b", [*SIZES, "attention.num_key_value_heads=2", "max_length=16"]))
    experts = model.decoder.layers[0].feed_forward
    torch.nn.init.zeros_(experts.router.weight)
    shares = experts.shares(torch.randn(2, 5, 64))
    assert ((shares > 0).sum(-1) == 2).all()


def test_images_and_spectra_come_in_float32_whatever_the_weights_are() -> None:
    from transformer_torch import Transformer

    vit = Transformer(load_model_config("vit-base-patch16-224", ["num_layers=1", "head.num_labels=3"])).bfloat16()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(vit(pixel_values=pixels), vit(pixel_values=pixels.bfloat16()))
    whisper = Transformer(load_model_config("whisper-tiny", ["num_layers=1", "inputs={kind: audio, length: 50}"])).bfloat16()
    spectra, ids = torch.randn(2, 80, 100, generator=torch.Generator().manual_seed(0)), torch.tensor([[50258], [50258]])
    found, expected = (whisper(input_features=each, decoder_input_ids=ids) for each in (spectra, spectra.bfloat16()))
    assert torch.equal(found, expected)
