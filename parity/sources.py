"""A checkpoint, and each implementation that reads it. Frameworks are imported when they are asked for."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from configs import ModelConfig, UserError
from configs.quiet import quiet
from parity.findings import Tensors
from parity.implementation import Implementation
from weight_mapping import Checkpoint, canonical_tensors, convert, get_family, tied_tensors
from weight_mapping.checkpoint import HUGGING_FACE, read_json

# Keys of config.json that choose how Hugging Face computes or answers, and not what.
HOW = ("attn_implementation", "_attn_implementation", "return_dict", "chunk_size_feed_forward")
PACKAGES = {"Hugging Face": "transformers", "PyTorch": "torch", "TensorFlow": "tensorflow"}


@dataclass(frozen=True)
class Source:
    """An open checkpoint. hugging_face: its folder in Hugging Face's form, or None where `why_not` says why there is none."""

    name: str
    checkpoint: Checkpoint
    hugging_face: Path | None
    why_not: str = ""
    architecture: str | None = None

    @property
    def config(self) -> ModelConfig:
        return self.checkpoint.config

    @property
    def tensors(self) -> Tensors:
        shapes = {tensor.name: tensor.shape for tensor in canonical_tensors(self.config)}
        return Tensors(shapes, self.checkpoint.read, tied_tensors(self.config))

    def load(self, implementation: str, dtype: str) -> Implementation:
        """Hugging Face, PyTorch or TensorFlow with this checkpoint's weights, in float32 or float64."""
        return {"Hugging Face": _hugging_face, "PyTorch": _pytorch, "TensorFlow": _tensorflow}[implementation](self, dtype)


@contextmanager
def open_source(name: str, architecture: str | None = None) -> Iterator[Source]:
    """A Hugging Face folder or hub name, or a run, which is exported to a temporary folder. All names and shapes are checked.

    architecture: the Hugging Face class whose head is wanted.
    """
    with Checkpoint(name, architecture) as checkpoint, tempfile.TemporaryDirectory(prefix="parity-") as temporary:
        checkpoint.check()
        folder, why_not = checkpoint.folder, ""
        if not checkpoint.is_hugging_face:
            folder = Path(temporary) / "huggingface"
            try:
                convert(name, folder, "hf")
            except UserError as error:
                why_not = str(error)
        yield Source(name, checkpoint, None if why_not else folder, why_not, architecture)


def missing(implementation: str) -> str | None:
    """The package that an implementation lacks here."""
    package = PACKAGES[implementation]
    return package if find_spec(package) is None else None


def _hugging_face(source: Source, dtype: str) -> Implementation:
    import torch
    import transformers

    from parity.huggingface import HuggingFace, pooling

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    assert source.hugging_face
    # The class that our config was read as.
    family, values = get_family(source.config.family), read_json(source.hugging_face / HUGGING_FACE)
    kind, own = getattr(transformers, family.class_of(values, source.name, source.architecture)), family.own(values)
    own = {key: value for key, value in own.items() if key not in HOW}
    settings = None if own == values else kind.config_class(**own)
    # A file of float64 has more digits than float32 keeps.
    stored = torch.float64 if dtype == source.checkpoint.dtype() == "float64" else torch.float32
    options = {"config": settings, "dtype": stored, "output_loading_info": True, **pooling(kind, source.config.pooler is not None)}
    with refusals("Hugging Face", source.name):
        model, loading = kind.from_pretrained(str(source.hugging_face), **options)
    if wrong := {name: sorted(found) for name in ("missing_keys", "mismatched_keys") if (found := loading.get(name))}:
        raise UserError(f"{source.name}: Hugging Face does not load it whole: {wrong}")
    return HuggingFace(model.eval(), source.config, double=dtype == "float64")


@contextmanager
def refusals(who: str, name: str) -> Iterator[None]:
    """What Hugging Face says of a checkpoint that it cannot load or run, in one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # its own have no class in common
        if who != "Hugging Face":
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: Hugging Face cannot load or run it, and there is nothing to compare with: {said}") from None


@contextmanager
def hugging_faces_products() -> Iterator[None]:
    """Inside, our PyTorch model multiplies float32 as Hugging Face's does, whose rounding is what is allowed: not by
    `transformer_torch.products`, whose sums are rounded otherwise."""
    try:
        import torch
    except ModuleNotFoundError:
        yield
        return
    before, *_ = torch.backends.mkldnn.set_flags(_enabled=False)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before)


def _pytorch(source: Source, dtype: str) -> Implementation:
    import transformer_torch
    from parity.pytorch import PyTorch

    return PyTorch(transformer_torch.load(source.checkpoint.folder, dtype=dtype, architecture=source.architecture))


def _tensorflow(source: Source, dtype: str) -> Implementation:
    with quiet():
        import tensorflow

        import transformer_tf
        from parity.tensorflow import TensorFlow

        # All compute on the CPU, and TensorFlow would take the whole GPU just by looking at it.
        tensorflow.config.set_visible_devices([], "GPU")
    return TensorFlow(transformer_tf.load(source.checkpoint.folder, dtype=dtype, architecture=source.architecture))


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say on stderr what takes time now, and how long it took."""
    print(f"  {what} ... ", end="", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        yield
    except BaseException:
        print(file=sys.stderr)
        raise
    print(f"{time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
