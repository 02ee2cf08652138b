"""The two packages have the same files, and in them the same classes, functions, arguments, defaults, names and docstrings, in one order.

What is compared is in tests/mirror.py. ALLOWED has every difference to the letter, each with its reason: whatever is added to one of
them, or goes from it, must be added to the list or go from it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mirror import differences

ROOT = Path(__file__).parent.parent
TORCH, TENSORFLOW = ROOT / "transformer_torch", ROOT / "transformer_tf"

# Files that one side alone has.
ONLY = {
    "module.py": "PyTorch's nn.Module on top of a Keras layer",
    "products.py": "XLA chooses its kernels by itself",
    "inference.py": "TensorFlow's products are XLA's",
    "packed.py": "the same",
    "memory.py": "TensorFlow packs nothing",
    "cuda_graphs.py": "XLA runs the whole loop on the device",
    "generation_ahead.py": "the same",
    "generation_graph.py": "PyTorch has no such graph",
    "generation_lookup.py": "XLA runs the whole loop, which PyTorch has in `speculate`",
    "generation_programs.py": "XLA compiles what PyTorch runs as it is",
}

# What differs, [-in PyTorch-] {+in TensorFlow+}, and why.
ALLOWED: dict[str, dict[str, tuple[str, str]]] = {
    "__init__.py": {
        "the file": (
            (
                "[-__all__=['Transformer', 'cross_entropy', 'for_inference', 'load', 'save']-] {+__all__=['Transformer', "
                "'cross_entropy', 'generation_graph', 'load', 'save']+}"
            ),
            "`for_inference` packs weights as PyTorch's kernels want them; a graph can be saved",
        ),
        "docstring of the file": ("[-FRAMEWORK.-] {+FRAMEWORK (Keras 3).+}", "Keras has versions of its own"),
    },
    "attention.py": {
        "fused_attention": ("only in PyTorch", "TensorFlow has no fused kernel"),
        "the file": ("[-SHORT=32-]", "what is short for the fused kernel"),
    },
    "cache.py": {
        "RollingCache.reorder": ("only in PyTorch", "the places of a graph's array are moved all the same"),
        "Cache.tensors": ("only in TensorFlow", "a graph takes and gives tensors, not objects"),
        "Cache.set_tensors": ("only in TensorFlow", "the same"),
        "docstring of the file": (
            "[-are written-] {+XLA writes+}",
            "PyTorch writes in place, and its shapes follow what is filled; a graph makes new arrays, and its shapes are fixed",
        ),
        "LayerCache.update": ("[-place_T end-] {+self.key_BGNK self.value_BGNK+}", "the same"),
        "docstring of LayerCache.update": ("[-are, or where `start` is a tensor all there-] ... [-its-] {+a graph's+}", "the same"),
        "LayerCache.reorder": ("[-shared length-] ... [-tensor_RGNK new_RGTK-] {+self.key_BGNK self.value_BGNK+}", "the same"),
        "docstring of LayerCache.reorder": ("[-r, from token `shared` on, where `length` tokens are in it.-] {+r.+}", "the same"),
        "RollingCache.update": ("[-is_beside held-] ... {+self.key_BGNK self.value_BGNK+}", "the same"),
        "RollingCache.write": ("[-place_T-] {+number_N written_BGNK+}", "the same"),
        "docstring of Cache.reorder": ("[-neither is moved.-] {+the latter are not moved, all tokens are.+}", "the same"),
        "LayerCache.positions": ("[-count-]", "in a compiled program the cache is read whole"),
        "RollingCache.held": ("[-count-]", "in a compiled program the cache is read whole"),
        "docstring of Cache": (
            (
                "[-In a compiled program `length` is a tensor, unless it `grows`.-] ... [-grows: whether a compiled program reads no more "
                "of it than is filled: on a CPU, which has little else to do, and without windows.-]"
            ),
            "XLA's shapes are fixed",
        ),
        "Cache.__init__": ("[-self.grows-]", "the same"),
    },
    "dropout.py": {
        "DropByBits": ("only in PyTorch", "PyTorch draws random numbers one by one on a CPU"),
        "Dropout": ("[-nn.Dropout-] {+keras.layers.Dropout+}", "the framework's own, and what it lacks"),
        "Dropout.call": ("[-hidden-] {+inputs training=False+}", "the same"),
        "docstring of Dropout": (
            (
                "[-On a CPU, FRAMEWORK draws a random number of 64 bits for each value, and that takes longer than the layer before it. "
                "Here one such number serves four values, so that p is a multiple of 1/65,536.-]"
            ),
            "the same",
        ),
        "Seeds": ("only in TensorFlow", "PyTorch's checkpoint keeps the state of the random numbers"),
        "fixed_seeds": ("only in TensorFlow", "the same"),
        "the file": ("[-LEVELS-]", "how finely PyTorch's random numbers are cut"),
    },
    "embeddings.py": {
        "PatchEmbeddings.__init__": ("{+has_class+}", "Keras's `add_weight` takes a line"),
    },
    "feed_forward.py": {
        "silu": ("only in TensorFlow", "PyTorch has it as F.silu"),
        "gelu_tanh": ("{+inner+}", "PyTorch has the formula as F.gelu"),
        "Experts.shares": ("{+best+}", "TensorFlow has no scatter along an axis"),
    },
    "generation.py": {
        "on_host": ("only in PyTorch", "NumPy reads TensorFlow's tensors from any device"),
        "programs": ("only in TensorFlow", "XLA compiles the loop, PyTorch runs it as it is"),
        "in_evaluation": ("only in PyTorch", "Keras has no training mode to set back"),
        "search": (
            (
                "[-@in_evaluation-] ... {+at_once+} ... {+room+} ... [-min_length processors ends logits_RV-] {+numbers number tables "
                "given+} ... [-tokens_RN strategy texts _-] {+first go_on program state chosen goes_on end return_scores source+} ... "
                "{+length tensors until now+}"
            ),
            "a graph may take all steps at once, PyTorch takes one at a time; Keras has no training mode to set back",
        ),
        "docstring of search": ("{+or after all of them,+}", "the same"),
    },
    "generation_beams.py": {
        "raised": ("only in TensorFlow", "a length is a number in PyTorch and a tensor in a graph"),
        "BeamSearch.end": ("{+is_out+}", "TensorFlow multiplies no booleans"),
        "pick": ("[-index-]", "`tf.gather` takes a third axis along"),
    },
    "generation_processors.py": {
        "last": ("only in TensorFlow", "PyTorch cuts the tokens where they end, a graph's tensors keep their length"),
        "docstring of the file": ("[-S key length (the tokens so far),-]", "the same"),
        "Processors.__call__": ("[-tokens_RS-]", "the same"),
        "penalize_repetition": ("[-tokens_RS-] {+tokens_RN length+} ... [-counts_RS-] {+place_N is_there_RN+}", "the same"),
        "repeating": ("[-tokens_RS-] {+tokens_RN length+} ... [-length-] {+windows+}", "the same"),
        "completing": ("[-tokens_RS-] {+tokens_RN length+} ... [-last-] {+end is_there+}", "the same"),
        "found": ("[-nothing-] {+rows place+}", "TensorFlow scatters by pairs of places"),
    },
    "generation_rows.py": {
        "decode.goes_on": ("only in TensorFlow", "the loop is a graph's, which takes and gives tensors"),
        "decode.advance": ("only in TensorFlow", "the same"),
        "reader": ("only in TensorFlow", "a graph reads prompts faster than operations one by one; PyTorch's are fast enough"),
        "read_prompts": ("only in TensorFlow", "the same"),
        "kept_programs": ("only in TensorFlow", "the same"),
        "the file": ("[-BUCKET=64-] {+(BUCKET, SOURCE_BUCKET)=(64, 32)+}", "the same"),
        "begin": (
            (
                "[-weight held-] ... [-mask_BN encoded_BSD encoder_mask_BS-] {+inputs length padding+} ... {+cache+} ... {+tensors "
                "logits_BV+}"
            ),
            "the same",
        ),
        "decode": (
            "[-logits_RV :-] ... [-logits_RV-] {+until : now state chosen tensors+}",
            "the loop is a graph's, which takes and gives tensors",
        ),
        "docstring of decode": (
            (
                "[-token-] {+token, in a loop of the graph's,+} ... {+the texts are `until` long or+} ... [-each time-] ... [-how "
                "long the texts are.-] {+what `Rows.next` is to read.+}"
            ),
            "the same",
        ),
        "Rows.continue_with": ("only in PyTorch", "PyTorch compiles a step, where it is asked to; TensorFlow the whole loop, always"),
        "Rows.place": ("only in PyTorch", "XLA runs the whole loop on the device"),
        "Rows.extend": (
            "[-start count read_S logits_RTV-] {+place_T positions_RT+}",
            "PyTorch compiles a step, where it is asked to; TensorFlow the whole loop, always",
        ),
        "Rows.__init__": ("[-self.memory-]", "the same"),
    },
    "generation_search.py": {
        "Search.advance": ("{+tokens_RN log_probs_RN+}", "PyTorch writes its tokens in place"),
        "candidates": ("{+order_RV+} ... [-order_RV-]", "PyTorch sorts values and order in one"),
        "truncate": ("{+nothing+}", "TensorFlow has no masked_fill"),
    },
    "generation_speculative.py": {
        "Assistant.propose.guess": (
            "only in TensorFlow",
            "a graph is given tensors, not objects; its guesses have a fixed number, of which some count",
        ),
        "speculate.check": ("only in TensorFlow", "the same"),
        "docstring of Drafter.propose": (
            (
                "[-At most `count` tokens-] {+Tokens+} ... {+And how many of them were guessed, at most `count`: a graph's shapes "
                "are fixed.+}"
            ),
            "the same",
        ),
        "docstring of the file": ("[-vocabulary.-] {+vocabulary, S key length (of what is looked through).+}", "the same"),
        "look_up": ("only in TensorFlow", "`configs.speculation.look_up` in a graph"),
        "PromptLookup.propose": ("[-seen found-] {+seen_S end+} ... {+is_found+}", "the same"),
        "Assistant.__init__": ("[-processors-] {+given+} ... [-self.processors-] {+self.given+}", "the same"),
        "Assistant.propose": (
            "{+model generation size longest+} ... [-logits_RV number scores_RV-] {+numbers run guessed_M tensors+}",
            "the same",
        ),
        "build_drafter": ("[-model-] ... [-processors-] {+given+}", "the same"),
        "docstring of build_drafter": (
            (
                "[-for. Prompt lookup looks through-] {+for, if it is a model: `generation_lookup` has+} ... [-encoder's input too.-] "
                "{+other one.+}"
            ),
            "XLA runs the whole loop of prompt lookup",
        ),
        "speculate": (
            "[-processors ends-] {+given+} ... {+model limit ends run longest+} ... {+fits+} ... {+new_length tensors+}",
            "the same",
        ),
        "verify": ("{+count size+} ... [-count-] ... {+goes_on is_new pad log_probs_RN log_probs+}", "the same"),
        "accept_best": ("{+count+}", "the same"),
        "accept": ("{+count+} ... [-count-] {+size+} ... {+was_guessed+} ... {+last+}", "the same"),
        "kept": ("{+count+} ... {+holds_M+}", "the same"),
        "docstring of accept": ("{+count: how many were guessed.+}", "the same"),
    },
    "heads.py": {
        "LanguageModelHead.__init__": ("[-self.product-]", "`for_inference` puts another product there"),
    },
    "layers.py": {
        "at_positions": ("only in TensorFlow", "TensorFlow reads a cache whole, beyond the mask"),
        "checkpoint": ("only in TensorFlow", "PyTorch has it as torch.utils.checkpoint"),
        "Stack.__init__": ("{+self.seeds+}", "PyTorch's checkpoint keeps the state of the random numbers"),
        "Stack.call": ("{+training=None+} ... {+seed+}", "the same; Keras hands `training` down"),
        "Stack.mask": ("[-start-] {+cache+}", "TensorFlow reads a cache whole"),
        "docstring of Stack.mask": (
            "[-padding), or nothing is hidden (one new token). Where `start` is a tensor a-] {+padding). A+}",
            "the same",
        ),
    },
    "linear.py": {
        "docstring of Linear": (
            "[-W^T-] {+W+} ... [-(outputs, inputs).-] {+(inputs, outputs): the transpose of FRAMEWORK's.+}",
            "Keras keeps a weight as (inputs, outputs)",
        ),
        "Linear.call": ("{+hidden+}", "TensorFlow adds the bias in a second line"),
        "docstring of PatchProjection": (
            "[-(D,-] {+(patch_size, patch_size,+} ... [-patch_size, patch_size).-] {+D).+}",
            "TensorFlow's convolution has its channels last",
        ),
        "PatchProjection.call": ("[-patches_BDP-] {+grid patches_BPD+}", "the same"),
        "docstring of Convolution": ("[-(outputs,-] {+(3,+} ... [-3).-] {+outputs).+}", "the same"),
        "Convolution.call": ("[-hidden_BDT-] {+padded+}", "the same"),
    },
    "loading.py": {
        "load_on_device": ("only in PyTorch", "TensorFlow takes a GPU by itself"),
        "the file": (
            "[-DTYPES-] {+DTYPES=('float64', 'float32', 'bfloat16', 'float16')+}",
            "types are PyTorch's objects and Keras's names",
        ),
        "load": ("[-attention='fused'-] {+attention='plain'+}", "TensorFlow has no fused kernel"),
        "save": ("[-dtype-]", "PyTorch's types must be named"),
    },
    "losses.py": {
        "CrossEntropy": ("only in PyTorch", "PyTorch computes loss and gradient in one; XLA makes one pass of the formula by itself"),
        "Disagreement": ("only in PyTorch", "the same"),
        "disagreement": ("{+both_BT+}", "the same"),
        "scaled": ("only in PyTorch", "the same"),
        "is_seen_through": ("only in PyTorch", "the same"),
        "docstring of cross_entropy": ("[-axes, and where a second derivative is asked for.-] {+axes.+}", "the same"),
        "parts": ("only in PyTorch", "the same"),
        "the file": ("[-ROWS=256-]", "the same"),
        "docstring of the file": ("[-vocabulary, I axes joined into one (batch and length).-] {+vocabulary.+}", "the same"),
        "cross_entropy": ("[-wide settings-] {+logits_BTV counted_BT losses_BT spread_BT+}", "the same"),
    },
    "generate.py": {
        "pack": ("only in PyTorch", "TensorFlow packs nothing"),
    },
    "model.py": {
        "the file": ("[-PROGRAMS=256-]", "TensorFlow has no limit of its own"),
        "Transformer._apply": ("only in PyTorch", "TensorFlow's weights stay where they are"),
        "Transformer.__getstate__": ("only in PyTorch", "TensorFlow's programs are no part of what is saved"),
        "Transformer.get_config": ("only in TensorFlow", "Keras saves models by their config"),
        "Transformer.from_config": ("only in TensorFlow", "the same"),
        "_dtype_policy": ("only in TensorFlow", "PyTorch casts a finished model"),
        "Transformer": (
            "[-Module-] {+@keras.saving.register_keras_serializable('transformer_tf') keras.Model+}",
            "what Keras trains and saves is a Model, which it finds by name when it loads it",
        ),
        "docstring of Transformer": (
            (
                "[-``fused`` for FRAMEWORK's kernel or ``plain`` for-] {+``plain``,+} ... [-the numbers are the same but for rounding and "
                "padding that sees nothing.-] {+FRAMEWORK has no fused kernel, XLA makes one of it. dtype: a Keras dtype policy, such "
                "as ``float32``, ``float64`` or ``mixed_bfloat16``.+}"
            ),
            "TensorFlow has no fused kernel, and Keras wants to know the type at once",
        ),
        "Transformer.__init__": (
            (
                "[-attention='fused'-] {+attention='plain' dtype='float32'+} ... "
                "[-self.compiled_continue self.step_memories self.packed-] {+self.built+}"
            ),
            "the same",
        ),
        "docstring of Transformer.call": (
            (
                "[-T).-] {+T), or a dict of all inputs.+} ... [-layer, by the names that the method `hidden_states` gives.-] {+layer; not "
                "a dict, which Keras would copy.+}"
            ),
            "Keras calls a model with one input, and copies dicts",
        ),
        "may_change": ("only in PyTorch", "a graph looks at nothing but its inputs"),
        "Transformer.compile": ("only in PyTorch", "PyTorch compiles a step, where it is asked to; TensorFlow the whole loop, always"),
    },
    "normalization.py": {
        "docstring of LayerNorm": (
            "[-`plain_layer_norm` by FRAMEWORK's fused-] {+`plain_layer_norm`, which XLA fuses into one+}",
            "PyTorch has a fused kernel",
        ),
        "LayerNorm.__init__": ("{+has_bias+}", "Keras's `add_weight` takes a line"),
        "LayerNorm.call": ("{+wide weight bias+}", "PyTorch has a fused kernel"),
        "docstring of RMSNorm": ("[-`plain_rms_norm` by FRAMEWORK's fused-] {+`plain_rms_norm`, which XLA fuses into one+}", "the same"),
    },
    "optimizer.py": {
        "make_moments": ("only in PyTorch", "Keras's optimizers are built with their variables"),
        "AdamW": ("only in TensorFlow", "Keras's own has another formula"),
        "build_optimizer": (
            "[-model-] ... {+learning_rate=None+} ... [-parameters parameter matrices vectors groups fused group-] {+rate+}",
            "PyTorch's optimizer is given its parameters when it is made, Keras's its rate",
        ),
        "docstring of build_optimizer": (
            (
                "[-FRAMEWORK's AdamW in one fused kernel; tables and matrices decay, norms and biases do not. w <- w - rate * (m / "
                "(1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon) + decay * w), m and v-] {+An optimizer as+} ... [-moving means "
                "of g and g^2.-] {+config asks for. learning_rate: a number, or a function that gives it for each step.+}"
            ),
            "the same",
        ),
    },
    "pooler.py": {
        "docstring of Transform": ("[-W^T-] {+W+}", "Keras keeps a weight as (inputs, outputs)"),
    },
    "positions.py": {
        "Table._apply": ("only in PyTorch", "a buffer that PyTorch moves and casts with the model, a constant of the graph in TensorFlow"),
        "Table": ("[-rows-]", "the same"),
        "ExactTable": ("only in PyTorch", "the same"),
        "RelativeBias.call": ("{+buckets_TS+}", "the same"),
        "Table.__init__": ("[-self.make-] {+self.rows+}", "the same"),
        "DynamicRotaryPositions": ("[-like-]", "the same"),
    },
    "weights.py": {
        "to_numpy": ("only in PyTorch", "PyTorch has bfloat16 and NumPy has not"),
        "to_torch": ("only in PyTorch", "the same"),
        "to_canonical": (
            "only in TensorFlow",
            "PyTorch names its parameters by itself, and has their layout; TensorFlow keeps linear weights transposed",
        ),
        "from_canonical": ("only in TensorFlow", "the same"),
        "_kinds": ("only in TensorFlow", "the same"),
        "_walk": ("only in TensorFlow", "the same"),
        "named_weights": ("{+weights name weight other+}", "the same"),
        "docstring of named_weights": (
            "[-name, which is FRAMEWORK's own name for it.-] {+name: the attributes on the way to it, joined by dots.+}",
            "the same",
        ),
        "reader": ("{+kinds+}", "the same"),
        "docstring of reader": ("[-layout, which is FRAMEWORK's own.-] {+layout.+}", "the same"),
        "assign": (
            "[-share=False-] ... {+kinds+} ... [-tensor is_transposed-]",
            "a PyTorch weight may lie in the mapped file, a TensorFlow variable has memory of its own",
        ),
        "docstring of assign": (
            ("[-share: a weight whose type is that of its array takes over the array's memory, as a mapped file is, and is not copied.-]"),
            "the same",
        ),
    },
}

FILES = sorted({path.name for path in TORCH.glob("*.py")} | {path.name for path in TENSORFLOW.glob("*.py")})


def compared(name: str, torch: str | None = None) -> dict[str, str]:
    """The differences of two files. torch: another text in PyTorch's place."""
    texts = [(folder / name).read_text(encoding="utf-8") for folder in (TORCH, TENSORFLOW)]
    return differences(torch or texts[0], texts[1])


@pytest.mark.parametrize("name", FILES)
def test_the_twin_files_differ_as_the_list_says(name: str) -> None:
    if name in ONLY:
        assert (TORCH / name).exists() != (TENSORFLOW / name).exists()
        return
    found, allowed = compared(name), {key: difference for key, (difference, _) in ALLOWED.get(name, {}).items()}
    changed = "\n".join(f"  {key!r}: {found.get(key)!r}" for key in found | allowed if found.get(key) != allowed.get(key))
    assert found == allowed, f"the differences of {name} are not those that are allowed; they are now\n{changed}"


def test_no_difference_is_allowed_without_a_file_and_a_reason() -> None:
    assert set(ONLY) | set(ALLOWED) <= set(FILES)
    assert all(reason for allowed in ALLOWED.values() for _, reason in allowed.values())


@pytest.mark.parametrize(
    ("file", "old", "new", "where"),
    [
        ("attention.py", "is_causal: bool = False", "is_causal: bool = True", "Attention.call"),
        ("attention.py", "start: int | torch.Tensor = 0", "start: int | torch.Tensor = 7", "Attention.call"),
        ("attention.py", "rotary: tuple[torch.Tensor, torch.Tensor] | None = None", "*rotary: torch.Tensor", "Attention.call"),
        ("attention.py", "self.query = ", "self.asking = ", "Attention.__init__"),
        ("attention.py", "groups, key_length =", "sets, key_length =", "plain_attention"),
        ("attention.py", "batch, heads, length, head_size =", "batch, heads, length, size =", "Attention.merge_heads"),
        ("attention.py", "Attention(nn.Module)", "Attention(nn.Linear)", "Attention"),
        ("attention.py", "Keys and values (B, G, S, K)", "Nonsense (B, G, S, K)", "docstring of Attention.key_value"),
        ("attention.py", "Attention (B, T, D) of hidden states", "Sleep (B, T, D) of hidden states", "docstring of Attention.call"),
        ("attention.py", "T query length, S key length", "T key length, S query length", "docstring of the file"),
        ("attention.py", "    def split_heads(", "    def divide_heads(", "Attention.split_heads"),
        ("attention.py", "    def merge_heads(", "    @staticmethod\n    def merge_heads(", "Attention.merge_heads"),
        ("cache.py", "AHEAD = 32", "AHEAD = 33", "the file"),
        # What may differ may not differ otherwise.
        (
            "cache.py",
            "        end = start + key_BGTK.shape[2]\n",
            "        end = number = start + key_BGTK.shape[2]\n",
            "LayerCache.update",
        ),
        ("cache.py", "behind the `start` old ones", "behind the old ones", "docstring of LayerCache.update"),
        ("generation_search.py", "log_probs_RN: torch.Tensor\n    state_R", "state_R: torch.Tensor\n    log_probs_RN", "Texts"),
        ("loading.py", 'dtype: str = "float32"', 'dtype: str = "float64"', "load"),
    ],
)
def test_a_change_on_one_side_is_seen(file: str, old: str, new: str, where: str) -> None:
    text = (TORCH / file).read_text(encoding="utf-8")
    assert old in text
    before, after = compared(file), compared(file, text.replace(old, new))
    assert after.get(where) != before.get(where)


def test_another_order_is_seen() -> None:
    text = (TORCH / "masks.py").read_text(encoding="utf-8")
    head, first, second, *others = text.split("\n\n\ndef ")
    assert "order" in compared("masks.py", "\n\n\ndef ".join([head, second, first, *others]))
