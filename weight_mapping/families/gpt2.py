"""GPT-2 (Radford et al. 2019): the model for every other family's file.

Its linear layers are Conv1D, which keep weights as inputs x outputs; `c_attn` holds query, key and value in one. `attn.c_proj`
is square: a forgotten transpose passes every check of shapes, and only a test of the numbers sees it.
"""

from weight_mapping.family import Family
from weight_mapping.operations import SPLIT, TRANSPOSE
from weight_mapping.table import ACTIVATIONS, Field, Rule, special_tokens

LAYER = "transformer.h.{layer}"
ATTENTION = "decoder.layers.{layer}.self_attention"
FEED_FORWARD = "decoder.layers.{layer}.feed_forward"
QUERY_KEY_VALUE = (f"{ATTENTION}.query", f"{ATTENTION}.key", f"{ATTENTION}.value")

FAMILY = Family(
    name="gpt2",
    model_type="gpt2",
    architectures={
        "GPT2LMHeadModel": {"head.kind": "language_model"},
        "GPT2Model": {"head.kind": "none"},
    },
    prefix="transformer.",
    fields=(
        Field("vocab_size", "vocab_size", default=50257),
        Field("n_positions", "max_length", default=1024, old=("n_ctx",)),
        Field("n_embd", "width", default=768),
        Field("n_layer", "num_layers", default=12),
        Field("n_head", "attention.num_heads", default=12),
        Field("n_inner", "feed_forward.width", default=lambda source: 4 * source.get("n_embd", 768)),
        Field("activation_function", "feed_forward.activation", default="gelu_new", values=ACTIVATIONS),
        Field("layer_norm_epsilon", "norm.epsilon", default=1e-5),
        Field("embd_pdrop", "dropout.embedding", default=0.1),
        Field("attn_pdrop", "dropout.attention", default=0.1),
        Field("resid_pdrop", "dropout.residual", default=0.1),
        Field("initializer_range", "initialization.std", default=0.02),
        Field("tie_word_embeddings", "head.tied", default=True),
        *special_tokens(bos=None, eos=None, pad=None),
    ),
    constants={
        "architecture": "decoder",
        "positions.kind": "learned",
        "positions.offset": 0,
        "norm.kind": "layer",
        "norm.placement": "before",
        "norm.bias": True,
        "attention.bias": ("query", "key", "value", "output"),
        "feed_forward.bias": True,
        "feed_forward.gated": False,
        "head.bias": False,
        "initialization.scale_residual": True,
    },
    required={
        "add_cross_attention": False,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
    },
    other_names={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    rules=(
        Rule("transformer.wte.weight", ("decoder.embeddings.token.weight",)),
        Rule("transformer.wpe.weight", ("decoder.embeddings.position.weight",)),
        Rule(f"{LAYER}.ln_1.weight", (f"{ATTENTION}.norm.weight",)),
        Rule(f"{LAYER}.ln_1.bias", (f"{ATTENTION}.norm.bias",)),
        Rule(f"{LAYER}.attn.c_attn.weight", tuple(f"{path}.weight" for path in QUERY_KEY_VALUE), (TRANSPOSE, SPLIT)),
        Rule(f"{LAYER}.attn.c_attn.bias", tuple(f"{path}.bias" for path in QUERY_KEY_VALUE), (SPLIT,)),
        Rule(f"{LAYER}.attn.c_proj.weight", (f"{ATTENTION}.output.weight",), (TRANSPOSE,)),
        Rule(f"{LAYER}.attn.c_proj.bias", (f"{ATTENTION}.output.bias",)),
        Rule(f"{LAYER}.ln_2.weight", (f"{FEED_FORWARD}.norm.weight",)),
        Rule(f"{LAYER}.ln_2.bias", (f"{FEED_FORWARD}.norm.bias",)),
        Rule(f"{LAYER}.mlp.c_fc.weight", (f"{FEED_FORWARD}.up.weight",), (TRANSPOSE,)),
        Rule(f"{LAYER}.mlp.c_fc.bias", (f"{FEED_FORWARD}.up.bias",)),
        Rule(f"{LAYER}.mlp.c_proj.weight", (f"{FEED_FORWARD}.down.weight",), (TRANSPOSE,)),
        Rule(f"{LAYER}.mlp.c_proj.bias", (f"{FEED_FORWARD}.down.bias",)),
        Rule("transformer.ln_f.weight", ("decoder.norm.weight",)),
        Rule("transformer.ln_f.bias", ("decoder.norm.bias",)),
        Rule("lm_head.weight", ("head.weight",)),
    ),
    # Causal masks that versions before 4.31 saved as buffers.
    ignored=(f"{LAYER}.attn.bias", f"{LAYER}.attn.masked_bias"),
    revealing={
        "vocab_size": 83,
        "n_positions": 29,
        "n_embd": 20,
        "n_layer": 3,
        "n_head": 5,
        "n_inner": 37,
        "layer_norm_epsilon": 1e-2,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    },
    variants={"untied-relu": {"tie_word_embeddings": False, "activation_function": "relu"}},
)
