"""BART (Lewis et al. 2020): Marian's layers with learned positions, and a norm on the embeddings."""

from dataclasses import replace

from weight_mapping.families.marian import CONSTANTS, RULES, TEXT_FIELDS, fields
from weight_mapping.families.marian import FAMILY as MARIAN
from weight_mapping.table import Rule, special_tokens

FAMILY = replace(
    MARIAN,
    name="bart",
    model_type="bart",
    architectures={
        "BartForConditionalGeneration": {"head.kind": "language_model", "head.bias": True},
        "BartModel": {"head.kind": "none", "head.bias": False},
    },
    fields=(*fields(vocab_size=50265), *TEXT_FIELDS, *special_tokens(bos=0, eos=2, pad=1, decoder_start=2)),
    constants={**CONSTANTS, "positions.kind": "learned", "positions.offset": 2, "positions.counted": "all", "embedding.norm": True},
    required={"normalize_before": False, "normalize_embedding": True, "add_final_layer_norm": False, "tie_word_embeddings": True},
    rules=(
        *RULES,
        Rule("model.encoder.embed_positions.weight", ("encoder.embeddings.position.weight",)),
        Rule("model.decoder.embed_positions.weight", ("decoder.embeddings.position.weight",)),
        Rule("model.encoder.layernorm_embedding.weight", ("encoder.embeddings.norm.weight",)),
        Rule("model.encoder.layernorm_embedding.bias", ("encoder.embeddings.norm.bias",)),
        Rule("model.decoder.layernorm_embedding.weight", ("decoder.embeddings.norm.weight",)),
        Rule("model.decoder.layernorm_embedding.bias", ("decoder.embeddings.norm.bias",)),
    ),
    # Of fairseq.
    ignored=("model.encoder.version", "model.decoder.version"),
    revealing={
        **MARIAN.revealing,
        "activation_function": "gelu",
        "scale_embedding": False,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "decoder_start_token_id": 2,
    },
    variants={"scaled": {"scale_embedding": True}},
)
