"""Whisper (Radford et al. 2022): speech to text. An encoder of audio, and BART's layers with norms before them and keys without bias."""

from weight_mapping.families.marian import CONSTANTS, OTHER_NAMES, REVEALING_SIZES, fields, layer_rules, widths
from weight_mapping.family import Family
from weight_mapping.table import Field, Rule, special_tokens

FAMILY = Family(
    name="whisper",
    model_type="whisper",
    architectures={
        "WhisperForConditionalGeneration": {"head.kind": "language_model"},
        "WhisperModel": {"head.kind": "none"},
    },
    prefix="model.",
    fields=(
        *fields(vocab_size=51865, d_model=384, encoder_layers=4, decoder_layers=4, dropout=0.0),
        Field("max_target_positions", "max_length", default=448),
        Field("max_source_positions", "inputs.length", default=1500),
        Field("num_mel_bins", "inputs.num_mel_bins", default=80),
        Field("tie_word_embeddings", "head.tied", default=True),
        *special_tokens(bos=50256, eos=50256, pad=50256, decoder_start=50257),
    ),
    parts=widths(heads=6, feed_forward=1536),
    constants={
        **{target: value for target, value in CONSTANTS.items() if target != "head.tied"},
        "inputs.kind": "audio",
        "positions.kind": "learned",
        "positions.offset": 0,
        "positions.counted": "all",
        "norm.placement": "before",
        "attention.bias": ("query", "value", "output"),
        "embedding.scale": False,
        "embedding.norm": False,
        "head.bias": False,
    },
    other_names={**OTHER_NAMES, "num_key_value_heads": "encoder_attention_heads"},
    rules=(
        Rule("model.encoder.conv1.weight", ("encoder.embeddings.convolution1.weight",)),
        Rule("model.encoder.conv1.bias", ("encoder.embeddings.convolution1.bias",)),
        Rule("model.encoder.conv2.weight", ("encoder.embeddings.convolution2.weight",)),
        Rule("model.encoder.conv2.bias", ("encoder.embeddings.convolution2.bias",)),
        # Sines, but the file has them.
        Rule("model.encoder.embed_positions.weight", ("encoder.embeddings.position.weight",)),
        *layer_rules("encoder"),
        Rule("model.encoder.layer_norm.weight", ("encoder.norm.weight",)),
        Rule("model.encoder.layer_norm.bias", ("encoder.norm.bias",)),
        Rule("model.decoder.embed_tokens.weight", ("decoder.embeddings.token.weight",)),
        Rule("model.decoder.embed_positions.weight", ("decoder.embeddings.position.weight",)),
        *layer_rules("decoder"),
        Rule("model.decoder.layer_norm.weight", ("decoder.norm.weight",)),
        Rule("model.decoder.layer_norm.bias", ("decoder.norm.bias",)),
        Rule("proj_out.weight", ("head.weight",)),
    ),
    revealing={
        **REVEALING_SIZES,
        "num_mel_bins": 6,
        "max_source_positions": 23,
        "max_target_positions": 29,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "pad_token_id": 82,
        "decoder_start_token_id": 81,
        "begin_suppress_tokens": None,
    },
    variants={"relu, untied": {"activation_function": "relu", "tie_word_embeddings": False}},
)
