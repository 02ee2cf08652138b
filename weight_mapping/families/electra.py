"""ELECTRA (Clark et al. 2020): BERT with tables narrower than its layers.

The generator fills in masked tokens, and the discriminator tells which tokens it has replaced.
"""

from weight_mapping.families.bert import CONSTANTS, FIELDS, HEAD_DROPOUT, MASKED, SENTENCES, TOKENS, dense, encoder, norm, transform
from weight_mapping.families.bert import FAMILY as BERT
from weight_mapping.family import Family
from weight_mapping.table import Field, special_tokens

JUDGE = {**TOKENS, "head.transform.norm": False}
CLASSIFY = {**TOKENS, "head.transform": None}


FAMILY = Family(
    name="electra",
    model_type="electra",
    architectures={
        "ElectraForMaskedLM": {**MASKED, "head.transform": {"activation": "gelu", "norm": True}},
        # One number for each token: whether the generator replaced it.
        "ElectraForPreTraining": {**TOKENS, "head.num_labels": 1, "head.transform": transform(norm=False), "dropout.head": 0.0},
        "ElectraModel": {"head.kind": "none"},
        "ElectraForSequenceClassification": {
            **SENTENCES,
            "pooler": {"kind": "first", "transform": None},
            "head.transform": {"activation": "gelu", "norm": False},
        },
        "ElectraForTokenClassification": CLASSIFY,
    },
    prefix="electra.",
    fields=(
        Field("vocab_size", "vocab_size", default=30522),
        Field("max_position_embeddings", "max_length", default=512),
        Field("embedding_size", "embedding.width", default=128),
        *FIELDS,
        *special_tokens(pad=0),
    ),
    parts=(HEAD_DROPOUT,),
    constants={**CONSTANTS, "positions.offset": 0},
    required=BERT.required,
    rules=(
        *encoder("electra."),
        *dense("electra.embeddings_project", "encoder.embeddings.projection"),
        *dense("generator_predictions.dense", "head.transform", when=MASKED),
        *norm("generator_predictions.LayerNorm", "head.transform.norm"),
        *dense("generator_lm_head", "head", when=MASKED),
        *dense("discriminator_predictions.dense", "head.transform", when=JUDGE),
        *dense("discriminator_predictions.dense_prediction", "head", when=JUDGE),
        *dense("classifier.dense", "head.transform", when=SENTENCES),
        *dense("classifier.out_proj", "head", when=SENTENCES),
        *dense("classifier", "head", when=CLASSIFY),
    ),
    ignored=("electra.embeddings.position_ids",),
    revealing={**BERT.revealing, "embedding_size": 14},
    variants={
        "relu": {"hidden_act": "relu"},
        "as wide as the layers": {"embedding_size": 30},
        "untied": {"tie_word_embeddings": False},
    },
)
