"""DistilBERT (Sanh et al. 2019): BERT without segments and pooler, every second layer left. Its epsilon is in no config.json."""

from weight_mapping.families.bert import CONSTANTS, MASKED, SENTENCES, TOKENS, dense, norm, transform
from weight_mapping.family import Family
from weight_mapping.table import ACTIVATIONS, Field, Rule, special_tokens

LAYER = "distilbert.transformer.layer.{layer}"
ATTENTION = "encoder.layers.{layer}.self_attention"
FEED_FORWARD = "encoder.layers.{layer}.feed_forward"


FAMILY = Family(
    name="distilbert",
    model_type="distilbert",
    architectures={
        "DistilBertForMaskedLM": {**MASKED, "head.transform": transform(norm=True, key="activation")},
        "DistilBertModel": {"head.kind": "none"},
        "DistilBertForSequenceClassification": {**SENTENCES, "pooler": {"kind": "first", "transform": {"activation": "relu"}}},
        "DistilBertForTokenClassification": {**TOKENS, "dropout.head": lambda source: source.get("dropout", 0.1)},
    },
    prefix="distilbert.",
    fields=(
        Field("vocab_size", "vocab_size", default=30522),
        Field("max_position_embeddings", "max_length", default=512),
        Field("dim", "width", default=768),
        Field("n_layers", "num_layers", default=6),
        Field("n_heads", "attention.num_heads", default=12),
        Field("hidden_dim", "feed_forward.width", default=3072),
        Field("activation", "feed_forward.activation", default="gelu", values=ACTIVATIONS),
        Field("dropout", "dropout.embedding", default=0.1),
        Field("dropout", "dropout.residual", default=0.1),
        Field("attention_dropout", "dropout.attention", default=0.1),
        Field("seq_classif_dropout", "dropout.head", default=0.2),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=True),
        *special_tokens(pad=0),
    ),
    constants={**CONSTANTS, "positions.offset": 0, "embedding.token_types": 0, "norm.epsilon": 1e-12},
    other_names={"hidden_size": "dim", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"},
    rules=(
        Rule("distilbert.embeddings.word_embeddings.weight", ("encoder.embeddings.token.weight",)),
        Rule("distilbert.embeddings.position_embeddings.weight", ("encoder.embeddings.position.weight",)),
        *norm("distilbert.embeddings.LayerNorm", "encoder.embeddings.norm"),
        *dense(f"{LAYER}.attention.q_lin", f"{ATTENTION}.query"),
        *dense(f"{LAYER}.attention.k_lin", f"{ATTENTION}.key"),
        *dense(f"{LAYER}.attention.v_lin", f"{ATTENTION}.value"),
        *dense(f"{LAYER}.attention.out_lin", f"{ATTENTION}.output"),
        *norm(f"{LAYER}.sa_layer_norm", f"{ATTENTION}.norm"),
        *dense(f"{LAYER}.ffn.lin1", f"{FEED_FORWARD}.up"),
        *dense(f"{LAYER}.ffn.lin2", f"{FEED_FORWARD}.down"),
        *norm(f"{LAYER}.output_layer_norm", f"{FEED_FORWARD}.norm"),
        *dense("vocab_transform", "head.transform"),
        *norm("vocab_layer_norm", "head.transform.norm"),
        *dense("vocab_projector", "head", when=MASKED),
        *dense("pre_classifier", "pooler.transform"),
        *dense("classifier", "head", when=SENTENCES),
        *dense("classifier", "head", when=TOKENS),
    ),
    ignored=("distilbert.embeddings.position_ids",),
    revealing={
        "vocab_size": 83,
        "max_position_embeddings": 29,
        "dim": 30,
        "n_layers": 3,
        "n_heads": 5,
        "hidden_dim": 37,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "seq_classif_dropout": 0.0,
    },
    variants={"relu": {"activation": "relu"}, "untied": {"tie_word_embeddings": False}},
)
