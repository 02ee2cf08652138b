"""What two files that mirror each other do not have in common, in the words of `git diff --word-diff`: [-PyTorch's-] {+TensorFlow's+}."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

# What the frameworks call differently, everywhere.
RENAMED = {"forward": "call", "nn.Module": "Module", "output_": "output"}
# What TensorFlow has no need of, everywhere: it knows where its tensors are, and records gradients where it is asked to.
NEEDLESS = {"device", "@torch.no_grad()"}

Described = tuple[list[str], str | None]


def differences(torch: str, tensorflow: str) -> dict[str, str]:
    """By dotted name, `differs` of each class and function of two source texts, and of "the file" itself; that of docstrings stands
    under "docstring of NAME". What one side alone defines is named, and neither compared nor entered."""
    ours, theirs = dict(definitions(torch)), dict(definitions(tensorflow))
    found: dict[str, str] = {}
    for side, names, others in (("PyTorch", ours, theirs), ("TensorFlow", theirs, ours)):
        found |= {name: f"only in {side}" for name in names if name not in others and (name.rpartition(".")[0] or "the file") in others}
    shared = [name for name in ours if name in theirs]
    found["order"] = differs(shared, [name for name in theirs if name in ours])
    for name in shared:
        (our_names, our_docstring), (their_names, their_docstring) = ours[name], theirs[name]
        found[name] = differs(our_names, their_names)
        found[f"docstring of {name}"] = differs(words(our_docstring), words(their_docstring))
    return {name: difference for name, difference in found.items() if difference}


def definitions(text: str) -> Iterator[tuple[str, Described]]:
    """Every class and function with its names and its docstring, in the order in which they stand there.

    Names: decorators, the bases of a class or the arguments of a function, and behind a colon all that is assigned: attributes of
    self, local names, the fields of a class. What has a default, or is a number or a text of the file's, has it behind a "=".
    """
    tree = ast.parse(text)
    yield "the file", (assigned(tree), ast.get_docstring(tree))
    yield from inside(tree, "")


def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, Described]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            name = prefix + RENAMED.get(child.name, child.name)
            decorators = [f"@{ast.unparse(decorator)}" for decorator in child.decorator_list]
            head = [ast.unparse(base) for base in child.bases] if isinstance(child, ast.ClassDef) else arguments(child.args)
            names = [RENAMED.get(each, each) for each in (*decorators, *head, ":", *assigned(child)) if each not in NEEDLESS]
            yield name, (names, ast.get_docstring(child))
            yield from inside(child, f"{name}.")
        elif not isinstance(child, ast.expr):
            yield from inside(child, prefix)


def arguments(given: ast.arguments) -> list[str]:
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    named = zip([*positional, *given.kwonlyargs], defaults, strict=True)
    starred = [f"{stars}{more.arg}" for stars, more in (("*", given.vararg), ("**", given.kwarg)) if more]
    return [argument.arg if default is None else f"{argument.arg}={ast.unparse(default)}" for argument, default in named] + starred


def assigned(scope: ast.Module | ast.ClassDef | ast.FunctionDef) -> list[str]:
    """Each once, in the order of the text; a value with it in a class or a file. What is defined inside is left out."""
    names: dict[str, None] = {}

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            return
        if isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(scope, ast.FunctionDef):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update({ast.unparse(target) + value_of(node.value): None for target in targets})
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = None
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            names[f"self.{RENAMED.get(node.attr, node.attr)}"] = None
        for child in ast.iter_child_nodes(node):
            visit(child)

    for statement in scope.body:
        visit(statement)
    return list(names)


def value_of(node: ast.expr | None) -> str:
    """What stands for a number or a text; other values are made of what the frameworks call differently."""
    try:
        return "" if node is None else f"={ast.literal_eval(node)!r}"
    except ValueError:
        return ""


def words(docstring: str | None) -> list[str]:
    """The frameworks stand for each other."""
    return re.sub("PyTorch|TensorFlow", "FRAMEWORK", re.sub("transformer_torch|transformer_tf", "package", docstring or "")).split()


def differs(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """What is left out of the one and put into the other, or an empty text."""
    parts = []
    for kind, first, last, their_first, their_last in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        gone, come = " ".join(ours[first:last]), " ".join(theirs[their_first:their_last])
        parts.append(" ".join([f"[-{gone}-]"] * bool(gone) + [f"{{+{come}+}}"] * bool(come)))
    return " ... ".join(parts)
