"""RoBERTa (Liu et al. 2019): BERT without segments that mean anything; positions count what is not padding.

The table of positions has a row for each position after those up to the padding token's id, and config.json counts all of them.
"""

from collections.abc import Mapping
from typing import Any

from configs import ModelConfig
from weight_mapping.families.bert import CONSTANTS, FIELDS, HEAD_DROPOUT, MASKED, POOLER, SENTENCES, TOKENS, dense, encoder, norm
from weight_mapping.families.bert import FAMILY as BERT
from weight_mapping.family import Family
from weight_mapping.table import Field, Part, Rule, special_tokens


def offset(source: Mapping[str, Any]) -> int:
    pad = source.get("pad_token_id")
    return (1 if pad is None else pad) + 1


def max_length(source: Mapping[str, Any]) -> int:
    return source.get("max_position_embeddings", 512) - offset(source)


def rows(config: ModelConfig) -> dict[str, Any]:
    return {"max_position_embeddings": config.max_length + offset({"pad_token_id": config.special_tokens.pad})}


FAMILY = Family(
    name="roberta",
    model_type="roberta",
    architectures={
        "RobertaForMaskedLM": {**MASKED, "head.transform": {"activation": "gelu", "norm": True}},
        "RobertaModel": {"head.kind": "none", "pooler": POOLER},
        "RobertaForSequenceClassification": {
            **SENTENCES,
            "pooler": {"kind": "first", "transform": None},
            "head.transform": {"activation": "tanh"},
        },
        "RobertaForTokenClassification": TOKENS,
    },
    prefix="roberta.",
    fields=(Field("vocab_size", "vocab_size", default=50265), *FIELDS, *special_tokens(bos=0, eos=2, pad=1)),
    parts=(Part("max_length", max_length, rows), Part("positions.offset", offset, lambda config: {}), HEAD_DROPOUT),
    constants={**CONSTANTS, "positions.counted": "not_padding"},
    required={"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"},
    rules=(
        *encoder("roberta."),
        *dense("roberta.pooler.dense", "pooler.transform"),
        *dense("lm_head.dense", "head.transform", when=MASKED),
        *norm("lm_head.layer_norm", "head.transform.norm"),
        Rule("lm_head.decoder.weight", ("head.weight",), when=MASKED),
        # As in BERT, one bias under two names, of which an untied head reads the second.
        Rule("lm_head.bias", ("head.bias",), old=("lm_head.decoder.bias",), when={**MASKED, "head.tied": True}),
        Rule("lm_head.decoder.bias", ("head.bias",), when={**MASKED, "head.tied": False}),
        *dense("classifier.dense", "head.transform", when=SENTENCES),
        *dense("classifier.out_proj", "head", when=SENTENCES),
        *dense("classifier", "head", when=TOKENS),
    ),
    ignored=("roberta.embeddings.position_ids",),
    pooled_by="roberta.pooler.dense.weight",
    revealing={**BERT.revealing, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1},
    variants={"relu": {"hidden_act": "relu"}, "another padding": {"pad_token_id": 4}, "one segment": {"type_vocab_size": 1}},
)
