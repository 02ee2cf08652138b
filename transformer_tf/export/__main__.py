"""`python -m transformer_tf.export RUN_OR_CHECKPOINT DESTINATION`: what runs without this package."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from configs import UserError, run_command
from configs.quiet import quiet
from configs.reading import read_settings
from transformer_tf.export.check import Checked
from transformer_tf.export.litert import WEIGHTS, export_litert
from transformer_tf.export.saved_model import export_saved_model
from transformer_tf.export.web import export_web
from transformer_tf.loading import load
from weight_mapping.hub import local_folder

DESCRIPTION = """\
Write a model as a SavedModel (a folder), as LiteRT (one file) or as a web page around such a file, read it again, and say how far it is
from the model. What it is called with has the names of Hugging Face's arguments. Settings are those of `generate`, for models that
generate; max_length is 256 unless given.

  python -m transformer_tf.export path/or/hub-id saved
  python -m transformer_tf.export runs/gpt2_stdlib gpt2.tflite --to litert --weights int8 max_length=64
  python -m transformer_tf.export runs/gpt2_stdlib page --to web && python -m http.server --directory page
  python -m transformer_tf.export Helsinki-NLP/opus-mt-en-de saved --batch-size 8 num_beams=4
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m transformer_tf.export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="RUN_OR_CHECKPOINT", help="folder of a run, of a Hugging Face checkpoint, or a hub name")
    parser.add_argument("destination", metavar="DESTINATION", type=Path, help="a new folder, or for LiteRT a new file")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="of generate, such as max_length=128 num_beams=4")
    parser.add_argument("--to", choices=["saved_model", "litert", "web"], default="saved_model", help="the format (saved_model)")
    parser.add_argument("--weights", choices=WEIGHTS, default="float32", help="how LiteRT keeps weights (float32)")
    parser.add_argument("--batch-size", type=int, default=1, metavar="N", help="prompts that `generate` takes at once (1)")
    parser.add_argument("--static", action="store_true", help="LiteRT for one set of shapes, and integers of 32 bits")
    parser.add_argument("--length", type=int, metavar="N", help="with --static, and of a page: ids of each input")
    parser.add_argument("--runtime", type=Path, metavar="NODE_MODULES", help="packages that a page brings along, else it fetches them")
    parser.add_argument("--architecture", metavar="NAME", help="Hugging Face's class whose head is wanted (default: as config.json says)")
    options = parser.parse_intermixed_args(arguments)
    settings = read_settings(options.settings)
    refuse(options)
    folder = local_folder(options.source)
    model = load(folder, architecture=options.architecture)
    with quiet():
        if options.to == "web":
            page = options.length, options.runtime, Path(options.source).name
            found = export_web(model, folder, options.destination, options.weights, *page, **settings)
        elif options.to == "litert":
            shapes = options.batch_size, options.static, options.length
            found = export_litert(model, options.destination, options.weights, *shapes, **settings)
        else:
            found = export_saved_model(model, options.destination, options.batch_size, **settings)
    tell(options.destination, found)
    return 0


def refuse(options: argparse.Namespace) -> None:
    """Raise UserError for options that are another format's."""
    if options.to == "saved_model" and options.weights != "float32":
        raise UserError(f"--weights {options.weights} is for LiteRT; leave it out, or add --to litert")
    if options.to != "litert" and options.static:
        raise UserError("--static is for LiteRT, and a page is so always; leave it out, or add --to litert")
    if options.to == "saved_model" and options.length is not None:
        raise UserError(f"--length {options.length} is for fixed shapes; leave it out, or add --to litert --static, or --to web")
    if options.to != "web" and options.runtime is not None:
        raise UserError("--runtime is for a page; leave it out, or add --to web")
    if options.to == "web" and options.batch_size != 1:
        raise UserError(f"--batch-size {options.batch_size}: a page shows one text at a time; leave it out")


def tell(path: Path, found: Sequence[Checked]) -> None:
    """Print what was written: its size, what each signature is called with, and how far what it gives is from the model's."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    print(f"{path}  {sum(file.stat().st_size for file in files) / 1e6:,.1f} MB")
    for checked in found:
        print(checked.name)
        for name, spec in checked.inputs.items():
            print(f"  takes {name:20}{spec.dtype.name:8}({', '.join('any' if size is None else str(size) for size in spec.shape)})")
        for name, relative in checked.differences.items():
            if name in ("tokens", "length"):
                told = "the model's" if not relative else f"the model's but for {relative:.1%}"
            else:
                told = f"{relative:.1e} of the largest value from the model's"
            print(f"  gives {name:20}{told}")


if __name__ == "__main__":
    run_command(main)
