"""A LiteRT file: one flatbuffer, which runs on phones, in browsers and on microcontrollers, with LiteRT's own operators alone."""

from __future__ import annotations

import os
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import tensorflow as tf

from configs import UserError
from transformer_tf.export.check import Checked, check
from transformer_tf.export.saved_model import write
from transformer_tf.export.signatures import signatures
from transformer_tf.model import Transformer
from weight_mapping.text_files import whole_file

WEIGHTS = ("float32", "float16", "int8")
# Of a flatbuffer, whose offsets are numbers of 32 bits with a sign.
LARGEST = 2**31


def export_litert(
    model: Transformer,
    destination: str | os.PathLike[str],
    weights: str = "float32",
    batch_size: int = 1,
    static: bool = False,
    length: int | None = None,
    **settings: Any,
) -> list[Checked]:
    """Write a model as one new file, with the signatures that `signatures` names; it appears when it has been read again, and in float32
    gives what the model gives.

    weights: ``float32``; ``float16``, half as large; or ``int8``, a quarter to a third, with scales for matrices or their rows and
    activations rounded as they come (dynamic range quantization). Arithmetic is float32 in the first two.
    batch_size, settings: as in `export_saved_model`; sampling is refused, since LiteRT has no random numbers.
    static, length: one set of shapes, with `length` ids, as in `signatures`: what browsers and accelerators need.

    Returns its signatures, and how far they are from the model. Raises UserError for what `signatures` refuses, for a file that exists, and
    for a model that is larger than such a file may be.
    """
    if weights not in WEIGHTS:
        raise UserError(f"weights={weights!r} is not known; choose one of: {', '.join(WEIGHTS)}")
    if settings.get("do_sample") or ((model.generation_config or {}).get("do_sample") and settings.get("do_sample") is not False):
        raise UserError("do_sample=true: LiteRT has no random numbers; set do_sample=false, or draw from the logits of serving_default")
    size = sum(prod(weight.shape) for weight in model.weights) * {"float32": 4, "float16": 2, "int8": 1}[weights]
    if size >= LARGEST:
        raise UserError(f"the weights take {size / 1e9:.1f} GB in {weights}, and a LiteRT file holds less than 2.1; choose fewer bits")
    if Path(destination).exists():
        raise UserError(f"{destination} exists; name another file or remove it")
    functions = signatures(model, batch_size, settings, static, length)
    try:
        Path(destination).absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{destination} cannot be written: {error}; name a file where you may write") from None
    with tempfile.TemporaryDirectory(prefix="litert-") as temporary:
        write(model, functions, Path(temporary))
        converter = tf.lite.TFLiteConverter.from_saved_model(temporary, signature_keys=list(functions))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        content = converter.convert()
    with whole_file(Path(destination)) as path:
        path.write_bytes(content)
        return check(functions, path, model.config, is_float32=weights == "float32")
