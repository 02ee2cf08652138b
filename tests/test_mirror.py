"""The two packages have the same files, classes, functions, arguments and local names, in the same order.

ALLOWED is the whole list of differences, each with its reason. A difference that has gone must leave the list too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH, TENSORFLOW = ROOT / "transformer_torch", ROOT / "transformer_tf"

# Files that one side alone has.
ONLY = {
    "module.py": "PyTorch's nn.Module on top of a Keras layer",
    "inference.py": "TensorFlow's products are XLA's",
    "generation_programs.py": "XLA compiles what PyTorch runs as it is",
    "generation_graph.py": "PyTorch has no such graph",
}

# What the frameworks call differently.
SAME = {"forward": "call", "device": "", "training": "", "dtype": ""}

# Definitions that one side alone has.
ALLOWED_DEFINITIONS = {
    "attention.py": {"fused_attention": "TensorFlow has no fused kernel"},
    "cache.py": {
        "RollingCache.reorder": "the places of a graph's array are moved all the same",
        "is_zero": "a length is a number in PyTorch and may be a tensor in a graph",
        "Cache.tensors": "a graph takes and gives tensors, not objects",
        "Cache.set_tensors": "a graph takes and gives tensors, not objects",
    },
    "dropout.py": {
        "DropByBits": "PyTorch draws random numbers one by one on a CPU",
        "DropByBits.call": "the same",
        "DropByBits.backward": "the same",
        "Seeds": "PyTorch's checkpoint keeps the state of the random numbers",
        "Seeds.__init__": "the same",
        "Seeds.next": "the same",
        "fixed_seeds": "the same",
    },
    "feed_forward.py": {"silu": "PyTorch has it as F.silu"},
    "generation.py": {
        "programs": "XLA compiles the loop, PyTorch runs it as it is",
        "on_host": "NumPy reads TensorFlow's tensors from any device",
    },
    "generation_beams.py": {"raised": "a length is a number in PyTorch and a tensor in a graph"},
    "generation_processors.py": {"last": "a graph's tensors have a fixed length, of which a part is filled"},
    "generation_rows.py": {
        "reader": "a graph reads prompts faster than operations one by one; PyTorch's are fast enough",
        "rounded_up": "XLA compiles every length anew",
    },
    "layers.py": {
        "checkpoint": "PyTorch has it as torch.utils.checkpoint",
        "at_positions": "TensorFlow reads a cache whole, beyond the mask",
    },
    "losses.py": {
        "CrossEntropy": "XLA makes one pass of the formula by itself",
        "CrossEntropy.call": "the same",
        "CrossEntropy.backward": "the same",
        "parts": "the same",
    },
    "model.py": {
        "Transformer.get_config": "Keras saves models by their config",
        "Transformer.from_config": "Keras saves models by their config",
        "_dtype_policy": "PyTorch casts a finished model",
    },
    "optimizer.py": {
        "make_moments": "Keras's optimizers are built with their variables",
        "AdamW": "Keras's own has another formula",
        "AdamW.__init__": "the same",
        "AdamW.build": "the same",
        "AdamW.update_step": "the same",
        "AdamW.get_config": "the same",
    },
    "positions.py": {"Table._apply": "PyTorch casts a finished model"},
    "weights.py": {
        "to_numpy": "PyTorch has bfloat16 and NumPy has not",
        "to_torch": "PyTorch has bfloat16 and NumPy has not",
        "to_canonical": "TensorFlow keeps linear weights transposed",
        "from_canonical": "TensorFlow keeps linear weights transposed",
        "_kinds": "TensorFlow keeps linear weights transposed",
        "_walk": "PyTorch names its parameters by itself",
    },
}

# Definitions whose arguments or local names differ.
ALLOWED_NAMES = {
    "weights.py": {"assign": "a PyTorch weight may lie in the mapped file, a TensorFlow variable has memory of its own"},
    "cache.py": {
        "LayerCache.reorder": "PyTorch moves what is filled and not shared, a graph makes new arrays",
        "RollingCache.write": "the same",
    },
    "dropout.py": {"Dropout.call": "PyTorch draws its own random numbers on a CPU, TensorFlow those of a seed where it computes again"},
    "generation.py": {
        "search": "a graph may take all steps at once, PyTorch takes one at a time",
    },
    "generation_rows.py": {"begin": "a graph reads the prompts", "decode": "the same"},
    "generation_speculative.py": {
        "Assistant.__init__": "a graph is given tensors, not objects",
        "Assistant.propose": "the same",
        "build_drafter": "the same",
        "speculate": "the same",
        "verify": "a graph's guesses have a fixed number, of which some count",
        "accept": "the same",
    },
    "generation_processors.py": {
        "Processors.__call__": "PyTorch cuts the tokens where they end, a graph's tensors keep their length",
        "penalize_repetition": "the same",
        "repeating": "the same",
        "completing": "the same",
    },
    "generation_search.py": {
        "Search.advance": "PyTorch writes its tokens in place",
        "candidates": "PyTorch sorts values and order in one",
    },
    "layers.py": {"Stack.mask": "TensorFlow reads a cache whole"},
    "linear.py": {
        "PatchProjection.call": "TensorFlow's convolution has its channels last",
    },
    "losses.py": {"cross_entropy": "PyTorch's kernel leaves out ignored labels by itself"},
    "optimizer.py": {"build_optimizer": "PyTorch's optimizer is given its parameters when it is made"},
}


def definitions(path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Every class and function by its dotted name, with its arguments and the local names that it assigns, in order."""
    found: dict[str, tuple[list[str], list[str]]] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                found[prefix + child.name] = ([], [])
                visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                arguments = [argument.arg for argument in [*child.args.args, *child.args.kwonlyargs]]
                name = prefix + SAME.get(child.name, child.name)
                found[name] = ([argument for argument in arguments if argument not in SAME], assigned(child))

    visit(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def assigned(function: ast.FunctionDef) -> list[str]:
    """Names that end in their axes, in the order in which they are first assigned: what a reader follows."""
    names: list[str] = []
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in names and is_suffixed(node.id):
            names.append(node.id)
    return names


def is_suffixed(name: str) -> bool:
    suffix = name.rpartition("_")[2]
    return "_" in name and suffix.isupper() and suffix.isalnum()


FILES = sorted({path.name for path in TORCH.glob("*.py")} | {path.name for path in TENSORFLOW.glob("*.py")})


@pytest.mark.parametrize("name", FILES)
def test_the_twin_files_define_the_same_things_in_the_same_order(name: str) -> None:
    if name in ONLY:
        assert (TORCH / name).exists() != (TENSORFLOW / name).exists()
        return
    torch, tensorflow = definitions(TORCH / name), definitions(TENSORFLOW / name)
    allowed = ALLOWED_DEFINITIONS.get(name, {})
    assert set(torch) ^ set(tensorflow) == set(allowed), "the list of allowed differences is not the list of differences"
    shared = [definition for definition in torch if definition in tensorflow]
    assert shared == [definition for definition in tensorflow if definition in torch]
    for definition in shared:
        differ = torch[definition] != tensorflow[definition]
        assert differ == (definition in ALLOWED_NAMES.get(name, {})), f"{name}: {definition}"


def test_the_twin_files_say_the_same() -> None:
    """Most docstrings are equal to the letter: whoever changes one side is reminded of the other."""
    equal = total = 0
    for name in FILES:
        if name in ONLY:
            continue
        docstrings = [
            {node.name: ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)}
            for tree in (ast.parse((folder / name).read_text(encoding="utf-8")) for folder in (TORCH, TENSORFLOW))
        ]
        for definition in set(docstrings[0]) & set(docstrings[1]):
            total += 1
            equal += docstrings[0][definition] == docstrings[1][definition]
    assert equal / total > 0.8, f"{equal} of {total}"
